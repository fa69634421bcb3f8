"""bfloat16 kept as its bits where a compiler can't move it: XLA's CPU backend.

That backend multiplies bfloat16, but to slice, gather or update it, it first converts the whole
array to float32: for weights stacked by layer that is a second and a third copy of the model. So
there, weights and cache are uint16 arrays, which are moved as they are, and become numbers once
they have been cut down to what is multiplied. Elsewhere nothing is done.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

SLICED = {"kernel", "w", "gating_einsum", "linear", "input_embedding", "output_embedding"}
"""Parameters that are large and sliced: all go through `numbers` before they are multiplied."""


def needs_bits(dtype: DTypeLike, platform: str) -> bool:
    """Whether numbers of this type are to be moved as bits on this platform ('cpu', 'tpu' …)."""
    return jnp.dtype(dtype) == jnp.bfloat16 and platform == "cpu"


def bits(x: jax.Array) -> jax.Array:
    """bfloat16 as uint16, bit for bit; costs nothing in a compiled program."""
    return jax.lax.bitcast_convert_type(x, jnp.uint16)


def numbers(x: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Numbers of `dtype`, of an array of numbers or of bfloat16's bits."""
    if x.dtype == jnp.uint16:
        x = jax.lax.bitcast_convert_type(x, jnp.bfloat16)
    return x.astype(dtype)


def weights_as_bits(params: dict) -> dict:
    """The tree with its large weights as bits, in the same memory where that is the host's.

    Done outside a program, since the CPU backend copies what it reinterprets.
    """

    def reinterpret(path: tuple, leaf: jax.Array) -> jax.Array:
        if path[-1].key not in SLICED:
            return leaf
        return jax.device_put(np.asarray(leaf).view(np.uint16), leaf.sharding)

    return jax.tree_util.tree_map_with_path(reinterpret, params)
