"""The loss: cross-entropy of the answer and its EOS, given picture, prompt and what came before."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from model.paligemma import PaliGemma
from model.training.batching import Batch

Weighting = Literal["token", "example"]


def answer_loss(
    model: PaliGemma,
    variables: dict,
    batch: Batch,
    answer: int,
    weighting: Weighting,
) -> tuple[jax.Array, jax.Array]:
    """Weighted sum of the answers' cross-entropies in nats, and the sum of the weights.

    batch: one microbatch, its arrays [B, …].
    answer: tokens of the longest answer, EOS included.
    weighting: every token counts the same, or every example, whatever its answer's length.
    """
    images, text, prompt_length, length = map(jnp.asarray, batch)
    # What follows the last token isn't asked for, so the network needn't read it.
    place = jnp.arange(text.shape[1] - 1)
    valid = place < length[:, None] - 1
    autoregressive = (place >= prompt_length[:, None]).astype(jnp.int32)
    target = prompt_length[:, None] + jnp.arange(answer)
    weights = answer_weights(prompt_length, length, answer, weighting)
    target = jnp.minimum(target, text.shape[1] - 1)
    logits = model.apply(
        variables, images, text[:, :-1], valid, autoregressive, target - 1, method="predict"
    )
    wanted = jnp.take_along_axis(text, target, axis=1)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, wanted)
    return jnp.sum(losses * weights), jnp.sum(weights)


def answer_weights(
    prompt_length: jax.Array, length: jax.Array, answer: int, weighting: Weighting
) -> jax.Array:
    """float32[B, answer]: 0 behind an answer's EOS."""
    tokens = (length - prompt_length)[:, None]
    weights = (jnp.arange(answer) < tokens).astype(jnp.float32)
    return weights / jnp.maximum(tokens, 1) if weighting == "example" else weights
