"""PaliGemma 1 and 2 on one screen: SigLIP's tokens in front of a prompt, Gemma behind.

    variables = {"params": params}
    tokens = model.apply(variables, images, method="encode")
    logits, cache, valid = model.apply(variables, tokens, text, text_valid, 32, method="prefill")
    logits, cache = model.apply(variables, next_token, 0, valid, cache, method="extend")

Beyer et al., 2024, https://arxiv.org/abs/2407.07726; Steiner et al., 2024,
https://arxiv.org/abs/2412.03555.
"""

from __future__ import annotations

from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from model.config import PaliGemmaConfig
from model.gemma import AnyCache, Gemma, slots_of
from model.masks import extend_mask, positions_of, prefix_mask
from model.vision import SigLIP


class PaliGemma(nn.Module):
    """Letters in shapes: B rows, F frames, S pixels a side, N image tokens of a row (all its
    frames), T text tokens, P = N + T, D width, V vocabulary.

    dtype: of the computation; weights are cast to it where they are used.
    remat: a layer's insides are computed again for its gradient, instead of being kept.
    cache_dtype: of the cache where it isn't dtype: uint16 keeps it as bits (see model.bits).
    """

    config: PaliGemmaConfig
    dtype: DTypeLike = jnp.float32
    remat: bool = False
    cache_dtype: DTypeLike | None = None

    def setup(self):
        width = self.config.language.width
        self.img = SigLIP(self.config.vision, width, self.dtype, self.remat)
        self.llm = Gemma(self.config.language, self.dtype, self.remat)

    def encode(self, images: jax.Array) -> jax.Array:
        """Pictures or clips to image tokens: uint8[B, S, S, 3] or [B, F, S, S, 3] -> [B, N, D].

        Several pictures of a row, or frames, are encoded apart and follow each other in order.
        """
        flat = images.reshape(-1, *images.shape[-3:])
        return self.img(flat).reshape(images.shape[0], -1, self.config.language.width)

    def __call__(
        self,
        images: jax.Array,
        text: jax.Array,
        text_valid: jax.Array,
        text_autoregressive: jax.Array,
    ) -> jax.Array:
        """One pass over picture, prompt and answer.

        images: uint8[B, (F,) S, S, 3]. text: int32[B, T]. text_valid: bool[B, T], False on padding.
        text_autoregressive: int32[B, T], 0 on the prompt and 1 on the answer (see model.masks).
        Returns float32 logits [B, P, V]; those at padding mean nothing.
        """
        return self.llm.logits(self._read(images, text, text_valid, text_autoregressive))

    def predict(
        self,
        images: jax.Array,
        text: jax.Array,
        text_valid: jax.Array,
        text_autoregressive: jax.Array,
        where: jax.Array,
    ) -> jax.Array:
        """The same pass, and logits only of what follows the text tokens at `where`.

        Training wants the answer's alone, and a token's logits are a hundred times its hidden
        state. where: int32[B, M], places in the text. Returns float32 [B, M, V].
        """
        hidden = self._read(images, text, text_valid, text_autoregressive)
        places = where + (hidden.shape[1] - text.shape[1])
        return self.llm.logits(jnp.take_along_axis(hidden, places[..., None], axis=1))

    def prefill(
        self, image_tokens: jax.Array, text: jax.Array, text_valid: jax.Array, new_tokens: int
    ) -> tuple[jax.Array, AnyCache, jax.Array]:
        """Reads picture and prompt, and leaves room for `new_tokens` of an answer.

        image_tokens: [B, N, D] of `encode`. text: int32[B, T], padded on the right.
        Returns float32 logits [B, V] of the answer's first token, the cache with P + new_tokens
        slots, and which of the prompt's slots are valid: bool[B, P].
        """
        x, valid = self._join(image_tokens, text, text_valid)
        slots = x.shape[1] + new_tokens
        cache_dtype = self.cache_dtype or self.dtype
        cache = self.llm.empty_cache(x.shape[0], slots, cache_dtype)
        mask = prefix_mask(valid, jnp.zeros_like(valid, jnp.int32))
        positions = positions_of(valid)
        # The last valid token is the first of those with the highest position.
        last = jnp.argmax(positions, axis=1)
        hidden, cache = self.llm(x, positions, mask, cache, last=last)
        return self.llm.logits(hidden[:, 0]), cache, valid

    def extend(
        self, tokens: jax.Array, step: jax.Array | int, prompt_valid: jax.Array, cache: AnyCache
    ) -> tuple[jax.Array, AnyCache]:
        """Goes on by one token a row.

        tokens: int32[B], the answer's token number `step` (from 0). prompt_valid: bool[B, P].
        Returns float32 logits [B, V] of token number step + 1, and the cache.
        """
        slot = prompt_valid.shape[1] + jnp.asarray(step, jnp.int32)
        mask = extend_mask(prompt_valid, slots_of(cache), slot)
        positions = jnp.sum(prompt_valid, axis=1, dtype=jnp.int32)[:, None] + step
        hidden, cache = self.llm(self.llm.embed(tokens[:, None]), positions, mask, cache, slot)
        return self.llm.logits(hidden[:, 0]), cache

    def _read(self, images, text, text_valid, text_autoregressive):
        """Final hidden states [B, P, D]; see `__call__`."""
        x, valid = self._join(self.encode(images), text, text_valid)
        image_tokens = x.shape[1] - text.shape[1]
        autoregressive = jnp.pad(text_autoregressive, ((0, 0), (image_tokens, 0)))
        hidden, _ = self.llm(x, positions_of(valid), prefix_mask(valid, autoregressive), None)
        return hidden

    def _join(self, image_tokens, text, text_valid):
        """Image tokens, then text: [B, P, D] and validity bool[B, P]."""
        x = jnp.concatenate([image_tokens.astype(self.dtype), self.llm.embed(text)], axis=1)
        image_valid = jnp.ones(image_tokens.shape[:2], bool)
        return x, jnp.concatenate([image_valid, text_valid], axis=1)


def init_random(config: PaliGemmaConfig, seed: int) -> dict:
    """Random float32 parameters, as training starts from; the same for the same seed."""
    size = config.vision.image_size

    def init() -> dict:
        return PaliGemma(config).init(
            jax.random.key(seed),
            jnp.zeros((1, size, size, 3), jnp.uint8),
            jnp.zeros((1, 1), jnp.int32),
            jnp.ones((1, 1), bool),
            jnp.zeros((1, 1), jnp.int32),
        )["params"]

    return jax.jit(init)()


def abstract_params(config: PaliGemmaConfig) -> dict:
    """The parameter tree of a config as shapes, without computing or allocating it."""
    return jax.tree.map(lambda leaf: leaf, _abstract_params(config))


@cache
def _abstract_params(config: PaliGemmaConfig) -> dict:
    """Loading asks half a dozen times, and tracing the network takes longer than all else in it."""
    return jax.eval_shape(lambda: init_random(config, 0))
