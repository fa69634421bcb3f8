"""Gemma 1 and 2: the decoder, with rotary positions, grouped queries and a cache of keys.

Module and parameter names are those of the research release, so that its checkpoints load by
identity; layers are stacked on a leading axis and run by a scan, but for GPUs (see model.apart).
All layers attend globally, as in the research release: Gemma 2's window of 4096 on every other
layer would only differ past 4096 tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from model.apart import APART, layer_of
from model.bits import bits, numbers
from model.config import GemmaConfig
from model.layers import (
    LOW_RANK,
    adapted_project,
    attend_layer,
    fan_in,
    project,
    soft_cap,
    unrolled,
)
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


AnyCache = Cache | tuple[Cache, ...]
"""Of all layers in one, or one of each: where layers are apart, so are their caches."""


def slots_of(cache: AnyCache) -> int:
    """Tokens that there is room for."""
    return jax.tree.leaves(cache)[0].shape[2]


class Seen(NamedTuple):
    """Keys and values that queries see: one layer of a stack."""

    stack: Cache
    layer: jax.Array | int


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


class Turn(NamedTuple):
    """By how much positions turn the channels of a head: float32[B, T, 1, H / 2] each.

    The same for every layer and head, so that it is computed once.
    """

    sin: jax.Array
    cos: jax.Array

    @classmethod
    def at(cls, positions: jax.Array, head_dim: int) -> Turn:
        """positions: int32[B, T]. Position times frequency, in float32, since an angle of hundreds
        has no fraction left in bfloat16."""
        angle = positions[..., None].astype(jnp.float32) * rotary_frequencies(head_dim // 2)
        return cls(jnp.sin(angle)[:, :, None], jnp.cos(angle)[:, :, None])


def rotate(x: jax.Array, turn: Turn) -> jax.Array:
    """Rotary position embedding of x [B, T, N, H].

    Channel i of the first half turns with channel i of the second.
    Su et al., 2021, https://arxiv.org/abs/2104.09864.
    """
    sin, cos = turn
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
    """Grouped-query attention of rows x [B, T, D], turned by `turn`, to what they see.

    mask: bool[B, T, S]. layer: its number.
    """

    config: GemmaConfig

    def setup(self):
        c = self.config
        q_shape = (c.num_heads, c.width, c.head_dim)
        kv_shape = (2, c.num_kv_heads, c.width, c.head_dim)
        out_shape = (c.num_heads, c.head_dim, c.width)
        self.q_einsum = Einsum("BTD,NDH->BTNH", q_shape, (1,))
        self.kv_einsum = Einsum("BTD,CKDH->CBTKH", kv_shape, (2,))
        self.attn_vec_einsum = Einsum("BTNH,NHD->BTD", out_shape, (0, 1))

    def remember(self, x, turn, cache, layer, slot):
        """What x and those behind it see, and the cache with keys and values of x."""
        k, v = self.kv_einsum(x, layer)
        k = rotate(k, turn)
        if cache is not None:
            cache = cache.write(layer, 0 if slot is None else slot, k, v)
        return Seen(Cache(k[None], v[None]), 0) if slot is None else Seen(cache, layer), cache

    def __call__(self, x, turn, mask, seen, layer):
        c = self.config
        q = rotate(self.q_einsum(x, layer), turn) * c.query_scale
        k, v = seen.stack
        out = attend_layer(q, k, v, seen.layer, mask, c.attention_cap, on_kernels(self))
        return self.attn_vec_einsum(out, layer)


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
    """One layer, in the form a scan wants: carry and the layer's number, and no output.

    The carry is x [B, T, D] and the cache; for all else see `Gemma.__call__`. With `last` the last
    layer gives that place's row alone, as the first of x; the others mean nothing.
    """

    config: GemmaConfig

    def setup(self):
        self.pre_attention_norm = RMSNorm()
        self.attn = Attention(self.config)
        self.pre_ffw_norm = RMSNorm()
        self.mlp = FeedForward(self.config)
        if self.config.post_norms:
            self.post_attention_norm = RMSNorm()
            self.post_ffw_norm = RMSNorm()

    def __call__(self, carry, layer, turn, mask, slot, last=None):
        return self.one(carry, layer, turn, mask, slot, last, layer == self.config.depth - 1), None

    def one(self, carry, layer, turn, mask, slot, last, is_last):
        """The carry behind this layer. is_last: of all layers, bool or a traced one."""
        x, cache = carry
        normed = self.pre_attention_norm(x)
        seen, cache = self.attn.remember(normed, turn, cache, layer, slot)

        def whole(block: Block) -> jax.Array:
            return block._go_on((x, normed, turn, mask), seen, layer)

        def only_last(block: Block) -> jax.Array:
            rows = jax.tree.map(lambda each: _row(each, last), (x, normed, turn, mask))
            return x.at[:, :1].set(block._go_on(rows, seen, layer))

        if last is None or is_last is False:
            return whole(self), cache
        if is_last is True:
            return only_last(self), cache
        return nn.cond(is_last, only_last, whole, self), cache

    def _go_on(self, rows, seen, layer):
        x, normed, turn, mask = rows
        read = self.attn(normed, turn, mask, seen, layer)
        x = x + self._post_norm("post_attention_norm", read)
        fed = self.mlp(self.pre_ffw_norm(x), layer)
        return x + self._post_norm("post_ffw_norm", fed)

    def _post_norm(self, name: str, x: jax.Array) -> jax.Array:
        return getattr(self, name)(x) if self.config.post_norms else x


def _row(x: jax.Array, index: jax.Array) -> jax.Array:
    """x [B, T, ...] and int32[B] -> [B, 1, ...]."""
    return jnp.take_along_axis(x, index.reshape(-1, *[1] * (x.ndim - 1)), axis=1)


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
            in_axes=(0, nn.broadcast, nn.broadcast, nn.broadcast, nn.broadcast),
            length=self.config.depth,
            unroll=unrolled(self.config.depth, self.remat),
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
        cache: AnyCache | None,
        slot: jax.Array | None = None,
        last: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        """Runs all layers.

        x: [B, T, D]. positions: int32[B, T]. mask: bool[B, T, S].
        cache: where keys and values are written; None where nobody will go on from here.
        slot: None for x that starts its row, seeing itself alone (S = T); else the slot of the
            cache that x begins at, seeing what the cache holds (S = the cache's slots).
        last: int32[B], the only place whose final state is wanted: of the others the last layer
            needs no more than keys and values, a hundredth of its work in Gemma 1 2B and a
            thirtieth to a thirteenth in Gemma 2.
        Returns final hidden states [B, T, D], or [B, 1, D] of `last`, and the cache.
        """
        turn = Turn.at(positions, self.config.head_dim)
        if self.has_variable(APART, "layers"):
            x, cache = self._one_by_one((x, cache), turn, mask, slot, last)
        else:
            layers = jnp.arange(self.config.depth)
            (x, cache), _ = self.layers((x, cache), layers, turn, mask, slot, last)
        return self.final_norm(x if last is None else x[:, :1]), cache

    def _one_by_one(self, carry, turn, mask, slot, last):
        """The layers that are apart, one written out behind the other."""
        x, caches = carry
        layers: dict = self.get_variable(APART, "layers")
        block = Block(self.config, parent=None)
        after = []
        for number in range(self.config.depth):
            carry = (x, None if caches is None else caches[number])
            is_last = number == self.config.depth - 1
            x, cache = block.apply(
                {"params": layer_of(layers, number)},
                *(carry, 0, turn, mask, slot, last, is_last),
                method="one",
            )
            after.append(cache)
        return x, None if caches is None else tuple(after)

    def empty_cache(self, rows: int, slots: int, dtype: DTypeLike) -> AnyCache:
        """For so many rows and tokens, in the form in which the layers are."""
        if not self.has_variable(APART, "layers"):
            return Cache.empty(self.config, rows, slots, dtype)
        one = replace(self.config, depth=1)
        return tuple(Cache.empty(one, rows, slots, dtype) for _ in range(self.config.depth))

    def logits(self, x: jax.Array) -> jax.Array:
        """Hidden states [..., D] to float32 logits [..., V], capped where the config says so."""
        logits = self.embedder.decode(x)
        cap = self.config.final_cap
        return logits if cap is None else soft_cap(logits, cap)
