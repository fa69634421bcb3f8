"""The small model's shape, and the tokenizer that goes with it."""

from __future__ import annotations

from examples.garments.scenes import SIZE
from examples.garments.words import vocabulary
from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig
from model.tokenizer import SPECIAL_PIECES
from model.tokenizer_training import train_tokenizer

# 4 control pieces, 256 bytes, every word of the corpus and what byte-pair merging passes through.
PIECES = 480

CONFIG = PaliGemmaConfig(
    vision=VisionConfig(
        image_size=SIZE, patch_size=14, width=128, depth=4, mlp_dim=384, num_heads=4
    ),
    language=GemmaConfig(
        width=128,
        depth=3,
        mlp_dim=192,
        num_heads=4,
        num_kv_heads=1,
        head_dim=32,
        query_scale=32**-0.5,
        vocab_size=PIECES + len(SPECIAL_PIECES),
    ),
)


def tokenizer() -> bytes:
    """A serialised SentencePiece model of Gemma's kind in which each word is one piece."""
    return train_tokenizer(vocabulary(), PIECES)
