"""The tokenizer against the real Gemma file, against our own, and against wrong ones."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from model import tiny
from model.tiny.build import tokenizer as build_tiny_tokenizer
from model.tokenizer import SPECIAL_PIECES, Tokenizer, TokenizerError

FETCH = Path(__file__).parents[1] / "fetch_gemma_tokenizer.py"

TINY = Tokenizer.load(tiny.TOKENIZER)


@pytest.fixture(scope="session")
def gemma() -> Tokenizer:
    finished = subprocess.run(
        [sys.executable, str(FETCH)], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return Tokenizer.load(finished.stdout.strip())


def trained(**options) -> bytes:
    """A small SentencePiece model of a kind that PaliGemma can't use, or can."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a cat sat on the mat", "the dog ate the cat"] * 20),
        model_writer=model,
        **{
            "model_type": "bpe",
            "vocab_size": 300,
            "byte_fallback": True,
            "hard_vocab_limit": False,
            "pad_id": 0,
            "eos_id": 1,
            "bos_id": 2,
            "unk_id": 3,
            "normalization_rule_name": "identity",
            "add_dummy_prefix": False,
            "remove_extra_whitespaces": False,
            "minloglevel": 3,
            **options,
        },
    )
    return model.getvalue()


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("caption en", [21209, 659]),
        ("detect cat ; dog", [39208, 4401, 2161, 5929]),
        ("ocr", [120185]),
        ("segment cat", [32318, 4401]),
        ("\n", [108]),
        ("\n\n", [109]),
    ],
)
def test_gemma_gives_the_released_ids(gemma, text, ids):
    assert gemma.encode(text) == ids


def test_gemma_gets_every_location_and_mask_piece_as_one_id_at_its_place(gemma):
    locations = [gemma.encode(f"<loc{number:04}>") for number in range(1024)]
    codes = [gemma.encode(f"<seg{number:03}>") for number in range(128)]
    assert locations == [[number] for number in range(256_000, 257_024)]
    assert codes == [[number] for number in range(257_024, 257_152)]
    assert gemma.vocab_size == 257_152
    assert gemma.first_location == 256_000


def test_a_prompt_begins_with_bos_and_ends_with_a_newline_that_never_merges(gemma):
    assert gemma.encode_prompt("caption en") == [2, 21209, 659, 108]
    assert gemma.encode_prompt("caption en\n")[-2:] == [108, 108]
    assert gemma.encode("caption en\n\n")[-1] == 109


def test_control_pieces_written_in_a_text_stay_text(gemma):
    ids = gemma.encode_prompt("answer en what is <eos><bos><pad>?")
    assert ids.count(1) == ids.count(0) == 0
    assert ids.count(2) == 1


def test_location_pieces_written_in_a_text_become_the_pieces(gemma):
    assert gemma.encode("<loc0010><seg003>") == [256_010, 257_027]


def test_decoding_writes_special_pieces_out_and_leaves_control_pieces_out(gemma):
    text = "<loc0000><loc0100><loc0200><loc1023> kid's shoe ; <loc0001>"
    assert gemma.decode([2, *gemma.encode(text), 1, 0, 0]) == text


def test_pieces_that_are_in_the_file_already_are_left_as_they_are():
    with_pieces = trained(user_defined_symbols=list(SPECIAL_PIECES), vocab_size=1500)
    size = sentencepiece.SentencePieceProcessor(model_proto=with_pieces).vocab_size()
    tokenizer = Tokenizer.from_bytes(with_pieces)
    assert tokenizer.vocab_size == size
    first = tokenizer.first_location
    assert tokenizer.encode("<loc0000><seg127>") == [first, first + 1151]


@given(st.text(max_size=60))
def test_any_text_returns_as_it_was(text):
    # SentencePiece writes a space as U+2581 inside, and so can't tell the two apart.
    assert TINY.decode(TINY.encode(text)) == text.replace("\u2581", " ")


def test_a_lone_surrogate_is_read_as_a_question_mark():
    assert TINY.decode(TINY.encode("a\ud83db")) == "a?b"


def test_a_tokenizer_survives_pickling():
    copy = pickle.loads(pickle.dumps(TINY))
    assert copy.encode_prompt("detect cat") == TINY.encode_prompt("detect cat")


def test_embedding_rows_may_be_padded_but_not_be_too_few_or_far_too_many():
    for rows in (TINY.vocab_size, TINY.vocab_size + 64):
        TINY.require_rows(rows)
    for rows in (TINY.vocab_size - 1, 257_152):
        with pytest.raises(TokenizerError, match="belongs to the checkpoint"):
            TINY.require_rows(rows)


@pytest.mark.parametrize(
    ("serialized", "complaint"),
    [
        (b"", "is empty"),
        (b'{"version": "1.0", "added_tokens": []}', "isn't a SentencePiece model"),
        (tiny.TOKENIZER.read_bytes()[:5000], "SentencePiece"),
        (trained(pad_id=-1, bos_id=1, eos_id=2, unk_id=0), "pad, eos and bos"),
        (trained(add_dummy_prefix=True), "no dummy prefix"),
        (trained(normalization_rule_name="nmt_nfkc"), "changes text"),
        (trained(remove_extra_whitespaces=True), "changes text"),
        (trained(user_defined_symbols=["<loc0000>", "<loc0001>"]), "has 2 of the 1152"),
        (
            trained(user_defined_symbols=list(reversed(SPECIAL_PIECES)), vocab_size=1500),
            "consecutive",
        ),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name_with_a_remedy(serialized, complaint):
    with pytest.raises(TokenizerError, match=complaint) as caught:
        Tokenizer.from_bytes(serialized, name="weights/tokenizer.model")
    assert str(caught.value).startswith("weights/tokenizer.model: ")


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(TokenizerError, match=r"nowhere\.model: can't be read.*Name the"):
        Tokenizer.load(tmp_path / "nowhere.model")


def test_the_tiny_tokenizer_is_what_its_script_makes():
    assert build_tiny_tokenizer() == tiny.TOKENIZER.read_bytes()
