"""One layer of each kind, compiled alone for a TPU: what it must do, and what is estimated.

A layer is compiled apart because a whole program's cost analysis counts a loop's body once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from benchmarks.tpu_compiler import WITHOUT_PREFETCH, Chip, scheduled_seconds
from model import gemma, vision
from model.config import PaliGemmaConfig
from model.masks import extend_mask
from model.paligemma import abstract_params
from model.turns import turns_of

PROMPT, NEW = 8, 16
"""Tokens of a prompt and of an answer."""


@dataclass(frozen=True)
class Layer:
    """A part of the network at a batch. times: how often it runs for the batch.

    flops: of its products, nothing else. bytes: weights and inputs read, results written, and the
    cache that is read: what must move whatever the program.
    """

    kind: str
    times: int
    flops: float
    bytes: float
    run: Callable[..., Any]
    arguments: tuple[Any, ...]
    donated: tuple[int, ...] = ()

    def floor(self, chip: Chip) -> float:
        """Seconds below which a chip can't be."""
        return max(self.flops / chip.flops, self.bytes / chip.bandwidth)


@dataclass(frozen=True)
class Estimate:
    """Seconds for one run. optimal: the cost analysis's; scheduled: the schedule's own cycles."""

    optimal: float
    scheduled: float


def estimate(layer: Layer, chip: Chip) -> Estimate:
    """What the compiler says of a layer."""
    lowered = jax.jit(layer.run, donate_argnums=layer.donated).lower(*layer.arguments)
    analysis = lowered.compile(compiler_options=WITHOUT_PREFETCH).cost_analysis()
    hlo = lowered.compile().as_text()
    return Estimate(analysis["optimal_seconds"], scheduled_seconds(hlo, chip, steps=1))


def layers(config: PaliGemmaConfig, batch: int, device: jax.Device) -> Iterator[Layer]:
    """The kinds of which the network consists, on one chip in bfloat16."""
    at = SingleDeviceSharding(device)

    def shape(*sizes: int, dtype: Any = jnp.bfloat16) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, dtype, sharding=at)

    params = jax.tree.map(lambda leaf: shape(*leaf.shape), abstract_params(config))
    v, g = config.vision, config.language
    steps = NEW - 1

    block = _one(params["img"]["Transformer"]["encoderblock"])
    turns = turns_of(batch, v.tokens)
    rows = batch // turns
    x = shape(rows, v.tokens, v.width)
    yield Layer(
        "vision block",
        v.depth * turns,
        2 * rows * v.tokens * _size(block) + 4 * rows * v.tokens**2 * v.width,
        _bytes(block, x, x),
        lambda p, x: vision.Block(v).apply({"params": p}, x, 0)[0],
        (block, x),
        donated=(1,),
    )

    block = _one(params["llm"]["layers"])
    read = v.tokens + PROMPT
    slots = read + NEW
    kv = shape(1, batch, slots, g.num_kv_heads, g.head_dim)
    cache = gemma.Cache(kv, kv)
    x = shape(batch, read, g.width)
    valid = shape(batch, read, dtype=jnp.bool_)

    def turn(tokens: int) -> gemma.Turn:
        angles = shape(batch, tokens, 1, g.head_dim // 2, dtype=jnp.float32)
        return gemma.Turn(angles, angles)

    def prefill(p, x, turn, valid, cache):
        mask = valid[:, None, :] & valid[:, :, None]
        return gemma.Block(g).apply({"params": p}, (x, cache), 0, turn, mask, None)[0]

    def finish(p, x, turn, valid, cache, last):
        mask = valid[:, None, :] & valid[:, :, None]
        carry = x, cache
        (x, cache), _ = gemma.Block(g).apply(
            {"params": p}, carry, g.depth - 1, turn, mask, None, last
        )
        return x[:, :1], cache

    heads = g.num_heads * g.head_dim
    written = _bytes(cache) * read / slots
    yield Layer(
        "decoder block, prefill",
        g.depth - 1,
        2 * batch * read * _size(block) + 4 * batch * read**2 * heads,
        _bytes(block, x, x) + written,
        prefill,
        (block, x, turn(read), valid, cache),
        donated=(1, 4),
    )
    of_keys = _size(block["attn"]["kv_einsum"])
    yield Layer(
        "decoder block, last of the prefill",
        1,
        2 * batch * (read * of_keys + _size(block) - of_keys) + 4 * batch * read * heads,
        _bytes(block, x) + written,
        finish,
        (block, x, turn(read), valid, cache, shape(batch, dtype=jnp.int32)),
        donated=(4,),
    )

    def extend(p, x, turn, valid, cache, slot):
        mask = extend_mask(valid, slots, slot)
        return gemma.Block(g).apply({"params": p}, (x, cache), 0, turn, mask, slot)[0]

    x = shape(batch, 1, g.width)
    yield Layer(
        "decoder block, one token",
        g.depth * steps,
        2 * batch * _size(block) + 4 * batch * slots * heads,
        _bytes(block, x, x, cache),
        extend,
        (block, x, turn(1), valid, cache, shape(dtype=jnp.int32)),
        donated=(1, 4),
    )

    embedder = gemma.Embedder(g, jnp.bfloat16)
    table = params["llm"]["embedder"]
    tokens = shape(batch, 1, dtype=jnp.int32)
    yield Layer(
        "embed",
        steps,
        0,
        2 * _bytes(x),
        lambda p, tokens: embedder.apply({"params": p}, tokens, method="encode"),
        (table, tokens),
    )
    logits = shape(batch, g.vocab_size, dtype=jnp.float32)
    yield Layer(
        "unembed",
        NEW,
        2 * batch * g.vocab_size * g.width,
        _bytes(table, logits),
        lambda p, x: embedder.apply({"params": p}, x, method="decode"),
        (table, shape(batch, g.width)),
    )


def _one(stack: Any) -> Any:
    """A layer's parameters, of those of all layers."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, sharding=leaf.sharding),
        stack,
    )


def _size(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _bytes(*trees: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(trees))
