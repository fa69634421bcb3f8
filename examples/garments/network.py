"""The small model's shape, and the tokenizer that goes with it."""

from __future__ import annotations

import io

import sentencepiece

from examples.garments.scenes import SIZE
from examples.garments.words import vocabulary
from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig
from model.tokenizer import SPECIAL_PIECES

# 4 control pieces, 256 bytes, every word of the corpus and what byte-pair merging passes through.
PIECES = 480

CONFIG = PaliGemmaConfig(
    vision=VisionConfig(
        image_size=SIZE, patch_size=14, width=128, depth=4, mlp_dim=256, num_heads=4
    ),
    language=GemmaConfig(
        width=128,
        depth=3,
        mlp_dim=256,
        num_heads=4,
        num_kv_heads=1,
        head_dim=32,
        query_scale=32**-0.5,
        vocab_size=PIECES + len(SPECIAL_PIECES),
    ),
)


def tokenizer() -> bytes:
    """A serialised SentencePiece model of Gemma's kind in which each word is one piece.

    Location and mask pieces aren't in the file: `Tokenizer` appends them, as it does to Gemma's.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(vocabulary()),
        model_writer=model,
        model_type="bpe",
        vocab_size=PIECES,
        byte_fallback=True,
        character_coverage=1.0,
        split_digits=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()
