"""Makes the files of the tiny checkpoint: `python -m model.tiny.build`."""

from __future__ import annotations

import io

import sentencepiece

from model.tiny import TOKENIZER
from model.tiny.captions import sentences

# 4 control pieces, 256 bytes, the characters and the commonest words of the captions.
PIECES = 640


def tokenizer() -> bytes:
    """A serialised SentencePiece model of Gemma's kind; the same bytes each time.

    Location and mask pieces aren't in the file: `Tokenizer` appends them, as it does to Gemma's.
    """
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences(),
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


if __name__ == "__main__":
    TOKENIZER.write_bytes(tokenizer())
