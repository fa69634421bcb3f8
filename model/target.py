"""What the devices do best that a program is traced for, where the network can't tell by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """fused_channels: attention of heads that are no wider is cuDNN's (see model.fused_attention).

    narrow_products: a product's sums, kept in float32, are rounded to its inputs' type by the
        product itself. On a GPU a library's call takes the rounding in, and bias, GELU or the
        addition behind it, only if it is asked for so; on a CPU it would be three times slower.
        Over several GPUs each one's part of a sum is rounded before they are added.
    """

    fused_channels: int = 0
    narrow_products: bool = False


ANY = Target()
"""Whatever the device."""

_target: ContextVar[Target] = ContextVar("target")


def target() -> Target:
    """Of what is being traced."""
    return _target.get(ANY)


@contextmanager
def traced_for(target: Target) -> Iterator[None]:
    """Programs that are traced within are for this target."""
    token = _target.set(target)
    try:
        yield
    finally:
        _target.reset(token)
