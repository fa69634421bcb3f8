"""The decoder's layers as an array each instead of a stack, as GPUs want them.

A layer of a stack has to be taken out of it before it is multiplied. On a GPU XLA does so by a
copy, for each token anew, so that decoding moves each weight three times; TPUs and the CPU kernels
read a layer where it lies. How that was found, and what it costs: docs/performance.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

APART = "apart"
"""The collection of variables that holds such layers: a tree whose leaves are tuples of arrays."""

PLATFORMS = ("gpu",)
"""Where they are held so."""

STACK = "llm/layers/"
"""How the names of a stack's parameters begin."""

HALVES = "mlp/gating_einsum"
"""The parameter whose two halves are multiplied, and so held, apart too."""

SUMMED_AXIS = {"attn/q_einsum/w": 1, "attn/kv_einsum/w": 2}
"""Of a layer's parameters, the axis that products sum over, where it isn't among the first: it is
made the first, or XLA would do so for each token."""


def is_apart(name: str) -> bool:
    """Whether the parameter of this name (`llm/layers/mlp/linear`) is one of a stack."""
    return name.startswith(STACK)


def axes_apart(name: str) -> int:
    """How many of a parameter's first axes become tuples: layers, and halves where there are."""
    return 2 if name == STACK + HALVES else 1


def axes_left(name: str, number: int) -> list[int]:
    """Those of its axes that an array keeps, as they lie in it; number: of all its axes."""
    axes = list(range(axes_apart(name), number))
    summed = SUMMED_AXIS.get(name.removeprefix(STACK), 0)
    return [axes.pop(summed), *axes]


def split(name: str, array: Any, place: Callable[[Any], Any]) -> Any:
    """A parameter [L, …] as a tuple of L arrays, or [L, 2, …] of pairs, each put into its place."""
    apart = axes_apart(name)
    left = [axis - apart for axis in axes_left(name, array.ndim)]

    def parts(array: Any, axes: int) -> Any:
        if not axes:
            return place(array.transpose(left))
        return tuple(parts(part, axes - 1) for part in array)

    return parts(array, apart)


def repeated(shape: tuple[int, ...], part: Any) -> Any:
    """What `split` makes of the first axes' lengths, with the same in each place."""
    if not shape:
        return part
    return (repeated(shape[1:], part),) * shape[0]


def layer_of(layers: dict, number: int) -> dict:
    """One layer's parameters of the tree of all, with the axes that the network knows."""
    return unflatten_dict(
        {
            path: jnp.moveaxis(parts[number], 0, SUMMED_AXIS[name])
            if (name := "/".join(path)) in SUMMED_AXIS
            else parts[number]
            for path, parts in flatten_dict(layers).items()
        }
    )
