"""How programs are traced for GPUs: with cuDNN's attention where it gives what XLA's gives."""

from __future__ import annotations

import logging
from functools import cache

import jax
import jax.numpy as jnp

from model.fused_attention import fused_attend
from model.layers import attend
from model.sharding import Placement
from model.target import ANY, Target

WIDTHS = ((16, 16, 72), (8, 1, 256))
"""Heads, heads of keys and channels of SigLIP and of Gemma, on which it is tried; GPUs older than
Hopper have it for the first alone."""

LENGTH = 261
"""Of the rows that it is tried on: over a kernel's tiles, and odd as a picture's and a prompt's may
be together."""

TOLERANCE = 0.02
"""Of the outputs' size: four times what rounding to bfloat16 makes."""


DECODING_OPTIONS: dict[str, str | bool] = {"xla_gpu_dot_merger_threshold_mb": "0"}
"""Of the compiler, which would otherwise copy the weights of two products of the same rows behind
each other, for each token anew, to have a single product."""


def decoding_options(placement: Placement) -> dict[str, str | bool] | None:
    """The compiler's, for the program that prefills and decodes on these devices."""
    return DECODING_OPTIONS if placement.device.platform == "gpu" else None


def target_of(placement: Placement, dtype: str) -> Target:
    """What programs for these devices are traced for.

    cuDNN's attention is for bfloat16 and whole heads on each GPU. Where it can't be had, the log
    says why.
    """
    if placement.device.platform != "gpu":
        return ANY
    channels = 0
    if dtype == "bfloat16" and placement.tensor_parallel == 1:
        channels = fused_channels(placement.device)
    return Target(fused_channels=channels, narrow_products=True)


@cache
def fused_channels(device: jax.Device) -> int:
    """The widest heads for which a GPU has cuDNN's attention and it gives what XLA's gives."""
    widest = 0
    for heads, kv_heads, channels in WIDTHS:
        why_not = missing(device, heads, kv_heads, channels)
        if why_not is not None:
            expected = widest > 0 and float(device.compute_capability) < 9  # before Hopper
            level = logging.INFO if expected else logging.WARNING
            message = "attention of %d channels is left to XLA: %s"
            logging.getLogger(__name__).log(level, message, channels, why_not)
            break
        widest = channels
    return widest


def missing(device: jax.Device, heads: int, kv_heads: int, channels: int) -> str | None:
    """Why a GPU lacks cuDNN's attention of such heads; None where it is as good as XLA's."""
    shapes = ((2, LENGTH, heads, channels), *[(2, LENGTH, kv_heads, channels)] * 2)
    q, k, v = (
        jax.device_put(jax.random.normal(jax.random.key(seed), shape, jnp.bfloat16), device)
        for seed, shape in enumerate(shapes)
    )
    q = q * jnp.bfloat16(channels**-0.5)
    # The last queries see nothing at all, as padding does.
    mask = jnp.tril(jnp.ones((2, LENGTH, LENGTH), bool)).at[:, -3:].set(False)
    mask = jax.device_put(mask, device)
    for seen in (None, mask):
        try:
            given = jax.jit(fused_attend)(q, k, v, seen).astype(jnp.float32).block_until_ready()
        except Exception as error:  # whatever JAX, XLA or cuDNN says of what it lacks
            return f"cuDNN's can't be used: {repr(error).splitlines()[0]}"
        expected = attend(q, k, v, seen).astype(jnp.float32)
        off = float(jnp.linalg.norm(given - expected) / jnp.linalg.norm(expected))
        if not off < TOLERANCE:
            return f"cuDNN's is off by {off:.1%}"
    return None
