"""Work on a batch in turns, so that what it leaves between steps stays in a chip's fast memory."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

TOKENS_AT_ONCE = 4096
"""Of images, that a device encodes in a turn: 16 pictures of 224 px, 4 of 448 or one of 896.

Enough that multiplying takes twenty times as long as reading a layer's weights anew for each turn,
and few enough that a layer's activations stay in the 128 MiB that a TPU v5e has beside its units.
"""


def turns_of(rows: int, tokens: int) -> int:
    """Turns in which rows of so many tokens each are encoded: the fewest of equal size."""
    return next(
        turns
        for turns in range(1, rows + 1)
        if rows % turns == 0 and (turns == rows or rows // turns * tokens <= TOKENS_AT_ONCE)
    )


def in_turns(f: Callable[[jax.Array], jax.Array], x: jax.Array, turns: int) -> jax.Array:
    """f(x) for an f that treats the rows of [B, ...] apart, B / turns rows at a time.

    A turn takes every turns-th row, so that devices that hold consecutive rows all work in each.
    """
    if turns == 1:
        return f(x)
    groups = x.reshape(-1, turns, *x.shape[1:])
    results = jax.lax.map(f, jnp.moveaxis(groups, 1, 0))
    return jnp.moveaxis(results, 0, 1).reshape(x.shape[0], *results.shape[2:])
