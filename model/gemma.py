"""Gemma 1 and 2: the decoder, with rotary positions, grouped queries and a cache of keys.

Module and parameter names are those of the research release, so that its checkpoints load by
identity; layers are stacked on a leading axis and run by a scan. All layers attend globally, as
in the research release: Gemma 2's window of 4096 on every other layer would only differ past 4096
tokens.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from model.bits import bits, numbers
from model.config import GemmaConfig
from model.layers import LOW_RANK, adapted_project, attend, fan_in, project, soft_cap, unrolled
from model.packed import PACKED, Packed, is_gated, on_kernels, weight

RMS_NORM_EPSILON = 1e-6
ROPE_MAX_WAVELENGTH = 10_000


class Cache(NamedTuple):
    """Keys (rotated) and values of every layer, or their bits: two arrays [L, B, S, K, H]."""

    k: jax.Array
    v: jax.Array

    @classmethod
    def empty(cls, config: GemmaConfig, rows: int, slots: int, dtype: DTypeLike) -> Cache:
        shape = (config.depth, rows, slots, config.num_kv_heads, config.head_dim)
        return cls(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

    def write(self, layer: jax.Array, slot: jax.Array | int, k: jax.Array, v: jax.Array) -> Cache:
        """k, v [B, T, K, H] put into one layer from `slot` on.

        The cache is carried through the scan over layers and the loop over tokens whole, so that
        the compiler updates it in place; as an input and output of the scan it would be copied at
        every token.
        """
        if self.k.dtype == jnp.uint16:
            k, v = bits(k), bits(v)
        at = (layer, 0, slot, 0, 0)
        return Cache(
            jax.lax.dynamic_update_slice(self.k, k[None], at),
            jax.lax.dynamic_update_slice(self.v, v[None], at),
        )

    def read(self, layer: jax.Array, dtype: DTypeLike) -> tuple[jax.Array, jax.Array]:
        """One layer's keys and values, each [B, S, K, H]."""
        k, v = (jax.lax.dynamic_index_in_dim(a, layer, keepdims=False) for a in self)
        return numbers(k, dtype), numbers(v, dtype)


OptionalCache = TypeVar("OptionalCache", Cache, None)


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + 1e-6) · (1 + scale), in float32 and back."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.zeros, (x.shape[-1],))
        x32 = x.astype(jnp.float32)
        mean_square = jnp.mean(jnp.square(x32), axis=-1, keepdims=True)
        normed = x32 * jax.lax.rsqrt(mean_square + RMS_NORM_EPSILON)
        return (normed * (1 + scale.astype(jnp.float32))).astype(x.dtype)


def rotary_frequencies(channels: int) -> jax.Array:
    """float32[channels]: radians a position, 10000^(-i / channels)."""
    return ROPE_MAX_WAVELENGTH ** (-jnp.arange(channels, dtype=jnp.float32) / channels)


def rotate(x: jax.Array, positions: jax.Array) -> jax.Array:
    """Rotary position embedding of x [B, T, N, H] at positions [B, T].

    Channel i of the first half turns with channel i of the second, by position times frequency;
    in float32, since an angle of hundreds has no fraction left in bfloat16.
    Su et al., 2021, https://arxiv.org/abs/2104.09864.
    """
    frequencies = rotary_frequencies(x.shape[-1] // 2)
    angle = (positions[..., None].astype(jnp.float32) * frequencies)[:, :, None, :]
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    x1, x2 = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1).astype(x.dtype)


class Einsum(nn.Module):
    """A product with a weight named `w`, whose inputs run over `in_axes`; layer: its number."""

    equation: str
    shape: tuple[int, ...]
    in_axes: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array, layer: jax.Array) -> jax.Array:
        w = weight(self, "w", fan_in(*self.in_axes), self.shape, layer)
        return adapted_project(self, "w", self.equation, x, w)


class Attention(nn.Module):
    """Grouped-query attention; see `Gemma.__call__` for the arguments."""

    config: GemmaConfig

    @nn.compact
    def __call__(self, x, positions, mask, cache, layer, slot):
        c = self.config
        q_shape = (c.num_heads, c.width, c.head_dim)
        kv_shape = (2, c.num_kv_heads, c.width, c.head_dim)
        q = Einsum("BTD,NDH->BTNH", q_shape, (1,), name="q_einsum")(x, layer)
        k, v = Einsum("BTD,CKDH->CBTKH", kv_shape, (2,), name="kv_einsum")(x, layer)
        q = rotate(q, positions) * c.query_scale
        k = rotate(k, positions)
        if cache is not None:
            cache = cache.write(layer, 0 if slot is None else slot, k, v)
            if slot is not None:
                k, v = cache.read(layer, x.dtype)
        out = attend(q, k, v, mask, c.attention_cap, on_kernels(self))
        out_shape = (c.num_heads, c.head_dim, c.width)
        out = Einsum("BTNH,NHD->BTD", out_shape, (0, 1), name="attn_vec_einsum")(out, layer)
        return out, cache


class FeedForward(nn.Module):
    """gelu(x · W[0]) · (x · W[1]) · W_linear, with a tanh-approximated GELU and no biases."""

    config: GemmaConfig

    @nn.compact
    def __call__(self, x: jax.Array, layer: jax.Array) -> jax.Array:
        c = self.config
        gating = weight(self, "gating_einsum", fan_in(1), (2, c.width, c.mlp_dim), layer)
        linear = weight(self, "linear", fan_in(0), (c.mlp_dim, c.width), layer)
        if isinstance(gating, Packed) and is_gated(c.mlp_dim):
            hidden = gating.gated_product(x)
        else:
            gate, up = self._halves(x, gating)
            hidden = nn.gelu(gate, approximate=True) * up
        return adapted_project(self, "linear", "BTF,FD->BTD", hidden, linear)

    def _halves(self, x: jax.Array, gating: jax.Array | Packed) -> tuple[jax.Array, jax.Array]:
        if isinstance(gating, Packed):
            both = project("BTD,CDF->BTCF", x, gating)
            return both[:, :, 0], both[:, :, 1]
        gate = adapted_project(self, "gate", "BTD,DF->BTF", x, gating[0])
        return gate, adapted_project(self, "up", "BTD,DF->BTF", x, gating[1])


class Block(nn.Module):
    """One layer, in the form a scan wants: carry and the layer's number, and no output."""

    config: GemmaConfig

    @nn.compact
    def __call__(self, carry, layer, positions, mask, slot):
        x, cache = carry
        attention, cache = Attention(self.config, name="attn")(
            RMSNorm(name="pre_attention_norm")(x), positions, mask, cache, layer, slot
        )
        x = x + self._post_norm("post_attention_norm", attention)
        fed = FeedForward(self.config, name="mlp")(RMSNorm(name="pre_ffw_norm")(x), layer)
        return (x + self._post_norm("post_ffw_norm", fed), cache), None

    def _post_norm(self, name: str, x: jax.Array) -> jax.Array:
        return RMSNorm(name=name)(x) if self.config.post_norms else x


class Embedder(nn.Module):
    """Token ids to vectors, and hidden states to logits by the same table."""

    config: GemmaConfig
    dtype: DTypeLike

    def setup(self):
        shape = (self.config.vocab_size, self.config.width)
        init = nn.initializers.normal(self.config.width**-0.5)
        self.input_embedding = weight(self, "input_embedding", init, shape, None)
        if not self.config.tied:
            self.output_embedding = weight(self, "output_embedding", init, shape, None)

    def encode(self, tokens: jax.Array) -> jax.Array:
        """int32[B, T] -> [B, T, D], times sqrt(D) in the embedding's own dtype.

        In bfloat16 sqrt(2048) is 45.25, which is what the released weights were trained with.
        """
        table = self.input_embedding
        if isinstance(table, Packed):
            x = table.rows(tokens, self.dtype)
        else:
            x = numbers(jnp.take(table, tokens, axis=0), self.dtype)
        return x * jnp.asarray(self.config.width**0.5, self.dtype)

    def decode(self, x: jax.Array) -> jax.Array:
        """[..., D] -> float32 logits [..., V]."""
        table = self.input_embedding if self.config.tied else self.output_embedding
        if isinstance(table, Packed):
            flat = x.reshape(-1, x.shape[-1])
            return project("BD,VD->BV", flat, table).reshape(*x.shape[:-1], -1)
        return jnp.einsum(
            "...D,VD->...V", x, numbers(table, x.dtype), preferred_element_type=jnp.float32
        )


class Gemma(nn.Module):
    """The decoder over a sequence that is already embedded, and the two ends of the embedder.

    remat: a layer's insides are computed again for its gradient, instead of being kept.
    """

    config: GemmaConfig
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    def setup(self):
        self.embedder = Embedder(self.config, self.dtype)
        self.layers = nn.scan(
            # In a scan nothing is there that could be merged with what is computed again.
            nn.remat(Block, prevent_cse=False) if self.remat else Block,
            variable_axes={"params": 0, LOW_RANK: 0},
            variable_broadcast=PACKED,
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast),
            length=self.config.depth,
            unroll=unrolled(self.config.depth),
        )(self.config)
        self.final_norm = RMSNorm()

    def embed(self, tokens: jax.Array) -> jax.Array:
        """int32[B, T] -> [B, T, D]."""
        return self.embedder.encode(tokens)

    def __call__(
        self,
        x: jax.Array,
        positions: jax.Array,
        mask: jax.Array,
        cache: OptionalCache,
        slot: jax.Array | None = None,
    ) -> tuple[jax.Array, OptionalCache]:
        """Runs all layers.

        x: [B, T, D]. positions: int32[B, T]. mask: bool[B, T, S].
        cache: where keys and values are written; None where nobody will go on from here.
        slot: None for x that starts its row, seeing itself alone (S = T); else the slot of the
            cache that x begins at, seeing what the cache holds (S = the cache's slots).
        Returns final hidden states [B, T, D] and the cache.
        """
        layers = jnp.arange(self.config.depth)
        (x, cache), _ = self.layers((x, cache), layers, positions, mask, slot)
        return self.final_norm(x), cache

    def logits(self, x: jax.Array) -> jax.Array:
        """Hidden states [..., D] to float32 logits [..., V], capped where the config says so."""
        logits = self.embedder.decode(x)
        cap = self.config.final_cap
        return logits if cap is None else soft_cap(logits, cap)
