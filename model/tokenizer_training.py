"""Makes tokenizers of Gemma's kind for models of one's own."""

from __future__ import annotations

import io
from collections.abc import Iterable

import sentencepiece


def train_tokenizer(sentences: Iterable[str], pieces: int) -> bytes:
    """A serialised SentencePiece model with so many pieces; the same bytes for the same sentences.

    Of them 4 are control pieces and 256 bytes. Location and mask pieces aren't in the file:
    `Tokenizer` appends them, as it does to Gemma's.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        model_type="bpe",
        vocab_size=pieces,
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
