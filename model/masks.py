"""Who may attend to whom, and where a token stands.

PaliGemma is a prefix language model: picture and prompt see each other in full, the answer sees
them and what it has already said. With two image tokens, a prompt of two tokens, an answer of two
and one token of padding:

    token          img img  p1  p2  a1  a2  pad
    valid            1   1   1   1   1   1   0
    autoregressive   0   0   0   0   1   1   0

    may see        img img  p1  p2  a1  a2  pad
      img            x   x   x   x   .   .   .
      img            x   x   x   x   .   .   .
      p1             x   x   x   x   .   .   .
      p2             x   x   x   x   .   .   .
      a1             x   x   x   x   x   .   .
      a2             x   x   x   x   x   x   .
      pad            .   .   .   .   .   .   .

A mark in `autoregressive` says: those before may not see from here on. So all 0 is full
attention, all 1 is causal.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def prefix_mask(valid: jax.Array, autoregressive: jax.Array) -> jax.Array:
    """bool[B, T], integers [B, T] -> bool[B, T, T]: query (axis 1) may see key (axis 2)."""
    block = jnp.cumsum(autoregressive, axis=1)
    allowed = block[:, None, :] <= block[:, :, None]
    return allowed & valid[:, None, :] & valid[:, :, None]


def extend_mask(prompt_valid: jax.Array, slots: int, slot: jax.Array) -> jax.Array:
    """What the answer's token in cache slot `slot` may see: bool[B, P] -> bool[B, 1, slots].

    The prompt (image tokens included) has the first P slots, padding and all; the answer follows
    from slot P in every row, whatever the prompt's length.
    """
    B, P = prompt_valid.shape
    index = jnp.arange(slots)
    answer = jnp.broadcast_to((index >= P) & (index <= slot), (B, slots))
    prompt = jnp.pad(prompt_valid, ((0, 0), (0, slots - P)))
    return (prompt | answer)[:, None, :]


def positions_of(valid: jax.Array) -> jax.Array:
    """Position of each token among the valid ones of its row: bool[B, T] -> int32[B, T]."""
    return jnp.cumsum(valid, axis=1, dtype=jnp.int32) - 1
