"""What encoding, prefill and a token of PaliGemma must multiply, and must move through memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import jax

from benchmarks.tpu_layers import layers
from model.config import CONFIGS


@dataclass(frozen=True)
class Part:
    """flops: of its products. bytes: read and written if each layer touches everything once."""

    name: str
    flops: float
    bytes: float


def parts(model: str, batch: int, device: jax.Device) -> Iterator[Part]:
    """Of a batch in bfloat16, with an 8-token prompt and 16 new tokens."""
    kinds = {layer.kind: layer for layer in layers(CONFIGS[model], batch, device)}
    depth = CONFIGS[model].language.depth
    vision = kinds["vision block"]
    read, finished = kinds["decoder block, prefill"], kinds["decoder block, last of the prefill"]
    written, logits = kinds["decoder block, one token"], kinds["unembed"]
    for name, counts in (
        ("encoding", [(vision, vision.times)]),
        ("prefill", [(read, read.times), (finished, 1), (logits, 1)]),
        ("a token", [(written, depth), (logits, 1)]),
    ):
        yield Part(
            name,
            sum(layer.flops * times for layer, times in counts),
            sum(layer.bytes * times for layer, times in counts),
        )
