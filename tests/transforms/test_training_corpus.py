"""A corpus prepared for training: each picture once, nothing cut, everything left out counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpus import encode, photograph

from model.preprocess import resize
from model.tasks import TaskError
from model.tiny import TOKENIZER
from model.tokenizer import Tokenizer
from transforms.errors import UserError
from transforms.planning import plan
from transforms.readers import ReaderOptions
from transforms.training_corpus import Corpus, CorpusSpec, prepare

SIZE = 28
SPEC = CorpusSpec(
    reader=ReaderOptions(),
    pairs=(("{prefix}", "{suffix}"),),
    size=SIZE,
    resize="bilinear",
    max_pixels=10**8,
    max_tokens=32,
    tokenizer="",
)
TOKENS = Tokenizer.load(TOKENIZER)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("coffee", "rocket"):
        image = photograph(f"{name}.png" if name == "coffee" else "rocket.jpg", (80, 80))
        (tmp_path / f"{name}.png").write_bytes(encode(image, "PNG"))
    whole = (tmp_path / "coffee.png").read_bytes()
    (tmp_path / "broken.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path


def prepared(folder: Path, rows: list[dict], spec: CorpusSpec = SPEC) -> Corpus:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return prepare(folder / "p", plan([str(path)]), spec, TOKENS, 2, lambda records, size: None)


def texts(corpus: Corpus) -> list[tuple[str, str]]:
    pairs = map(corpus.examples.pair, range(len(corpus.examples)))
    return [
        (TOKENS.decode(p.tokens[: p.prompt_length]), TOKENS.decode(p.tokens[p.prompt_length :]))
        for p in pairs
    ]


def test_a_picture_asked_about_twice_is_kept_once_as_annotate_would_show_it(folder: Path):
    corpus = prepared(
        folder,
        [
            {"image": "coffee.png", "prefix": "caption en", "suffix": "a cup"},
            {"image": "rocket.png", "prefix": "caption en", "suffix": "a rocket"},
            {"image": "coffee.png", "prefix": "ocr", "suffix": "one\ntwo"},
        ],
    )
    assert texts(corpus) == [
        ("caption en\n", "a cup"),
        ("caption en\n", "a rocket"),
        ("ocr\n", "one\ntwo"),
    ]
    assert corpus.examples.picture.tolist() == [0, 1, 0]
    assert corpus.examples.pictures.shape == (2, SIZE, SIZE, 3)
    shown = np.asarray(photograph("coffee.png", (80, 80)))
    np.testing.assert_array_equal(corpus.examples.pictures[0], resize(shown, SIZE))


def test_what_cannot_be_learned_from_is_counted_by_reason_and_never_cut(folder: Path):
    corpus = prepared(
        folder,
        [
            {"image": "coffee.png", "prefix": "caption en", "suffix": "a cup"},
            {"image": "coffee.png", "prefix": "caption en", "suffix": "a cup " * 50},
            {"image": "coffee.png", "prefix": "caption en"},
            {"image": "coffee.png", "prefix": "caption en", "suffix": ["a", "b"]},
            {"image": "broken.png", "prefix": "caption en", "suffix": "a cup"},
            {"image": "missing.png", "prefix": "caption en", "suffix": "a cup"},
            {"image": "rocket.png", "prefix": "detect cup", "suffix": ""},
        ],
    )
    assert texts(corpus) == [("caption en\n", "a cup"), ("detect cup\n", "")]
    assert corpus.skipped == {
        "examples: longer than 32 tokens": 1,
        "examples: without suffix": 1,
        "examples: neither text nor a number": 1,
        "records: truncated_image": 1,
        "records: missing_file": 1,
    }


def test_a_corpus_is_read_once_and_again_where_it_changed(folder: Path):
    row = {"image": "coffee.png", "prefix": "caption en", "suffix": "a cup"}
    first = prepared(folder, [row])
    (folder / "coffee.png").unlink()  # so that reading it again would show
    again = prepared(folder, [row])
    assert texts(again) == texts(first)
    np.testing.assert_array_equal(again.examples.pictures, first.examples.pictures)
    changed = {**row, "image": "rocket.png", "suffix": "a rocket"}
    assert texts(prepared(folder, [changed])) == [("caption en\n", "a rocket")]


def test_a_corpus_to_learn_nothing_from_is_refused_with_the_reasons(folder: Path):
    with pytest.raises(UserError, match="2 examples: without suffix"):
        prepared(folder, [{"image": "coffee.png", "prefix": "caption en"}] * 2)


def test_answers_to_choose_from_are_refused_where_the_data_has_them():
    spec = replace(SPEC, pairs=(("answer en {prefix} => yes | no", "{suffix}"),))
    with pytest.raises(TaskError, match="what is learned are the answers in the data"):
        spec.templates()
