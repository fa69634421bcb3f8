"""The loss: cross-entropy of the answer and its EOS, given picture, prompt and what came before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from model.boxes import LOCATION_SCALE
from model.paligemma import PaliGemma
from model.tokenizer import LOCATIONS
from model.training.batching import Batch

Weighting = Literal["token", "example"]

_REACH = 3
"""Standard deviations to either side of a location that have a share in its label."""


@dataclass(frozen=True)
class LocationBlur:
    """Labels of locations that leave a share to the locations around the right one.

    A model that starts from nothing has to learn that locations have neighbours; from the right
    token alone it learns so very slowly. sigma: in locations, of a normal distribution.
    first: the id of `<loc0000>`. steps: from one edge of the picture to the other; of the
    locations only those that a step ends at have shares, and a label between them is moved to the
    nearest. With the pictures' side in pixels a corpus of whole pixels keeps to its locations;
    what lies between would be as likely as they are, and which is likeliest a matter of rounding.
    """

    sigma: float
    first: int
    steps: int = LOCATION_SCALE

    def __post_init__(self):
        if not 1 <= self.steps <= LOCATION_SCALE:
            raise ValueError(f"{self.steps} steps; locations make room for 1 to {LOCATION_SCALE}")

    def locations(self, places: jax.Array | np.ndarray) -> jax.Array:
        """Ids of the locations that so many steps from the first edge end at."""
        return self.first + jnp.round(places * (LOCATION_SCALE / self.steps)).astype(jnp.int32)

    def labels(self, wanted: jax.Array) -> tuple[jax.Array, jax.Array]:
        """int32[...] -> tokens int32[..., R] and their shares float32[..., R], which sum to 1.

        The shares of what is no location are 0 but for the token itself.
        """
        step = LOCATION_SCALE / self.steps
        sigma = self.sigma / step
        reach = max(int(_REACH * sigma), 1)
        offsets = np.arange(-reach, reach + 1)
        places = jnp.round((wanted - self.first) / step)[..., None] + offsets
        locations = self.locations(places)
        normal = jnp.where(self._is_location(locations), np.exp(-0.5 * (offsets / sigma) ** 2), 0)
        is_location = self._is_location(wanted)[..., None]
        tokens = jnp.where(is_location, locations, wanted[..., None])
        shares = jnp.where(is_location, normal, offsets == 0)
        return tokens, shares / jnp.sum(shares, axis=-1, keepdims=True)

    def _is_location(self, tokens: jax.Array) -> jax.Array:
        return (tokens >= self.first) & (tokens < self.first + LOCATIONS)


class Asked(NamedTuple):
    """What the network reads of B texts and what it should answer, the longest in M tokens.

    valid, autoregressive: of the text without its last token, as `PaliGemma` takes them.
    where: int32[B, M], the places whose next token is asked for. wanted: int32[B, M], that token;
    means nothing behind an answer's EOS.
    """

    text: jax.Array
    valid: jax.Array
    autoregressive: jax.Array
    where: jax.Array
    wanted: jax.Array

    @classmethod
    def of(cls, text: jax.Array, prompt_length: jax.Array, length: jax.Array, answer: int) -> Asked:
        """text: int32[B, T], prompt, answer, EOS, padding. answer: M."""
        # What follows the last token isn't asked for, so the network needn't read it.
        place = jnp.arange(text.shape[1] - 1)
        target = jnp.minimum(prompt_length[:, None] + jnp.arange(answer), text.shape[1] - 1)
        return cls(
            text[:, :-1],
            place < length[:, None] - 1,
            (place >= prompt_length[:, None]).astype(jnp.int32),
            target - 1,
            jnp.take_along_axis(text, target, axis=1),
        )


def answer_loss(
    model: PaliGemma,
    variables: dict,
    batch: Batch,
    answer: int,
    weighting: Weighting,
    blur: LocationBlur | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Weighted sum of the answers' cross-entropies in nats, and the sum of the weights.

    batch: one microbatch, its arrays [B, …].
    answer: tokens of the longest answer, EOS included.
    weighting: every token counts the same, or every example, whatever its answer's length.
    """
    images, text, prompt_length, length = map(jnp.asarray, batch)
    *read, wanted = Asked.of(text, prompt_length, length, answer)
    logits = jnp.asarray(model.apply(variables, images, *read, method="predict"))
    weights = answer_weights(prompt_length, length, answer, weighting)
    return jnp.sum(token_losses(logits, wanted, blur) * weights), jnp.sum(weights)


def token_losses(
    logits: jax.Array, wanted: jax.Array, blur: LocationBlur | None = None
) -> jax.Array:
    """Cross-entropies in nats: logits [B, M, V] and wanted int32[B, M] -> float32[B, M].

    With blur, less the entropy of the labels, so that 0 is reached as without it.
    """
    if blur is None:
        return optax.softmax_cross_entropy_with_integer_labels(logits, wanted)
    tokens, shares = blur.labels(wanted)
    named = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens, axis=-1, mode="clip")
    return jnp.sum(shares * (jnp.log(jnp.maximum(shares, 1e-20)) - named), axis=-1)


def answer_weights(
    prompt_length: jax.Array, length: jax.Array, answer: int, weighting: Weighting
) -> jax.Array:
    """float32[B, answer]: 0 behind an answer's EOS."""
    tokens = (length - prompt_length)[:, None]
    weights = (jnp.arange(answer) < tokens).astype(jnp.float32)
    return weights / jnp.maximum(tokens, 1) if weighting == "example" else weights
