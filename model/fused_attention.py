"""cuDNN's attention, as JAX offers it: logits never leave the GPU's registers for its memory.

Of what a vision tower moves through it they are half. Where it is used: model.gpu.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

from model.target import target

IMPLEMENTATION: Literal["cudnn", "xla"] = "cudnn"
"""As `jax.nn.dot_product_attention` calls it."""


def fits(q: jax.Array, cap: float | None) -> bool:
    """Whether it is to be used, and can be: for several queries in bfloat16 without a soft cap.

    cuDNN wants channels by eights.
    """
    _, queries, _, channels = q.shape
    usable = q.dtype == jnp.bfloat16 and cap is None and queries > 1
    return usable and channels % 8 == 0 and channels <= target().fused_channels


def fused_attend(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None
) -> jax.Array:
    """`model.layers.attend` by cuDNN, of arrays that `fits`."""
    pairs = None if mask is None else mask[:, None]
    return jax.nn.dot_product_attention(
        q, k, v, mask=pairs, scale=1.0, implementation=IMPLEMENTATION
    )
