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
"""Heads, heads of keys and channels of SigLIP and of Gemma, on which it is tried."""

TOLERANCE = 0.02
"""Of the outputs' size: four times what rounding to bfloat16 makes."""


def target_of(placement: Placement, dtype: str) -> Target:
    """What programs for these devices are traced for.

    cuDNN's attention is for bfloat16 and whole heads on each GPU. Where it can't be had, the log
    says why.
    """
    if placement.device.platform != "gpu":
        return ANY
    fused = dtype == "bfloat16" and placement.tensor_parallel == 1
    why_not = missing(placement.device) if fused else None
    if why_not is not None:
        logging.getLogger(__name__).warning("attention is left to XLA: %s", why_not)
    return Target(fused_attention=fused and why_not is None, narrow_products=True)


@cache
def missing(device: jax.Device) -> str | None:
    """Why a GPU lacks cuDNN's attention; None where it has it, and it gives what XLA's gives."""
    for heads, kv_heads, channels in WIDTHS:
        shapes = ((2, 24, heads, channels), *[(2, 24, kv_heads, channels)] * 2)
        q, k, v = (
            jax.device_put(jax.random.normal(jax.random.key(seed), shape, jnp.bfloat16), device)
            for seed, shape in enumerate(shapes)
        )
        mask = jax.device_put(jnp.tril(jnp.ones((2, 24, 24), bool)), device)
        q = q * jnp.bfloat16(channels**-0.5)
        try:
            given = jax.jit(fused_attend)(q, k, v, mask).astype(jnp.float32)
        except Exception as error:  # whatever JAX, XLA or cuDNN says of what it lacks
            return f"cuDNN's can't be used: {str(error).splitlines()[0]}"
        expected = attend(q, k, v, mask).astype(jnp.float32)
        off = float(jnp.linalg.norm(given - expected) / jnp.linalg.norm(expected))
        if not off < TOLERANCE:
            return f"cuDNN's is off by {off:.1%} with {channels} channels"
    return None
