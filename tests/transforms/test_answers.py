"""What the model wrote for a picture is taken over where the very same is asked again."""

import json

import pyarrow.parquet as pq
import pytest
from corpus import encode, photograph
from runs import annotate_here, commits, here, rows

from examples.build import Picture, write_webdataset
from model.annotator import Annotator
from transforms.answers import index_answers
from transforms.configuration import open_claimed
from transforms.ledger import Ledger

REUSE = ("--reuse-answers", "--on-changed", "redo", "--progress", "none")


@pytest.fixture
def asked(monkeypatch):
    """The prompts of every picture that reached the model."""
    seen = []
    whole = Annotator.annotate

    def annotate(self, pixels, prompts, sizes):
        seen.extend([prompt.text for prompt in each] for each in prompts)
        return whole(self, pixels, prompts, sizes)

    monkeypatch.setattr(Annotator, "annotate", annotate)
    return seen


@pytest.fixture(scope="module")
def china():
    return photograph("china.jpg")


@pytest.fixture
def shard(tmp_path, china):
    def write(name, numbers, text="a crop", **metadata):
        def picture(number):
            crop = china.crop((9 * number, 5 * number, 9 * number + 48, 5 * number + 48))
            return Picture(f"{number:03}", "jpg", encode(crop, "JPEG"), text, metadata)

        write_webdataset(tmp_path / name, [picture(number) for number in numbers])
        return str(tmp_path / "*.tar")

    return write


def by_key(output, shard):
    return {r["source"]["key"]: r for r in rows(output) if r["source"]["shard"].endswith(shard)}


def test_a_picture_in_another_shard_keeps_its_answers_and_says_where_from(shard, tmp_path, asked):
    inputs, out = shard("0.tar", [1, 2]), tmp_path / "out"
    assert annotate_here(inputs, out, *REUSE) == 0
    shard("1.tar", [2, 3])
    asked.clear()
    assert annotate_here(inputs, out, *REUSE) == 0
    assert len(asked) == 1
    first, second = by_key(out, "0.tar"), by_key(out, "1.tar")
    assert second["002"]["annotations"] == first["002"]["annotations"]
    assert second["002"]["id"] != first["002"]["id"]
    assert second["002"]["taken_from"] == {
        "id": first["002"]["id"],
        "shard": first["002"]["source"]["shard"],
        "edition": commits(out)[0]["data"].split("/")[1].removesuffix(".parquet"),
    }
    assert second["003"]["taken_from"] is None
    assert commits(out)[1]["taken_over"] == 1
    assert here("verify", out) == 0


def test_one_that_left_a_shard_and_comes_back_is_not_asked_about_again(shard, tmp_path, asked):
    inputs, out = shard("0.tar", [1, 2]), tmp_path / "out"
    annotate_here(inputs, out, *REUSE)
    before = by_key(out, "0.tar")
    shard("0.tar", [3])
    annotate_here(inputs, out, *REUSE)
    assert list(by_key(out, "0.tar")) == ["003"]
    asked.clear()
    shard("0.tar", [1, 2])
    annotate_here(inputs, out, *REUSE)
    after = by_key(out, "0.tar")
    assert asked == []
    assert [r["annotations"] for r in after.values()] == [r["annotations"] for r in before.values()]
    assert {r["taken_from"]["id"] for r in after.values()} == {r["id"] for r in before.values()}


def test_where_answers_went_through_several_shards_the_first_is_named(shard, tmp_path):
    inputs, out = shard("0.tar", [1]), tmp_path / "out"
    annotate_here(inputs, out, *REUSE)
    for name in ("1.tar", "2.tar"):
        shard(name, [1])
        annotate_here(inputs, out, *REUSE)
    source = by_key(out, "0.tar")["001"]["id"]
    assert by_key(out, "2.tar")["001"]["taken_from"]["id"] == source


def test_the_same_picture_asked_something_else_is_asked(shard, tmp_path, asked):
    out, task = tmp_path / "out", ("--task", "answer en {question}")
    inputs = shard("0.tar", [1], question="what is it?")
    annotate_here(inputs, out, *REUSE, *task)
    shard("1.tar", [1], question="where is it?")
    shard("2.tar", [1], question="what is it?")
    asked.clear()
    annotate_here(inputs, out, *REUSE, *task)
    assert asked == [["answer en where is it?"]]
    (taken,) = by_key(out, "2.tar").values()
    assert json.loads(taken["metadata"]) == {"question": "what is it?"}
    assert taken["taken_from"]["shard"].endswith("0.tar")


def test_without_the_option_everything_is_asked_and_no_former_rows_are_kept(shard, tmp_path, asked):
    inputs, out = shard("0.tar", [1, 2]), tmp_path / "out"
    annotate_here(inputs, out, "--on-changed", "redo")
    shard("0.tar", [1, 2, 3])
    asked.clear()
    annotate_here(inputs, out, "--on-changed", "redo")
    assert len(asked) == 3
    assert not (out / "former").exists()


def test_an_answer_that_a_filter_stopped_stays_stopped_without_being_written_again(
    shard, tmp_path, asked, monkeypatch
):
    words = "the model wrote this of it"
    whole = Annotator.annotate

    def annotate(self, pixels, prompts, sizes):
        import dataclasses

        return [
            [dataclasses.replace(each, raw=words, text=words) for each in answer]
            for answer in whole(self, pixels, prompts, sizes)
        ]

    monkeypatch.setattr(Annotator, "annotate", annotate)
    filters = tmp_path / "filters.yaml"
    filters.write_text(
        "preset: 'off'\nfilters:\n  text_quality: {max_words: 3, subjects: [output]}\n"
    )
    inputs, out = shard("0.tar", [1]), tmp_path / "out"
    annotate_here(inputs, out, *REUSE, "--filters", filters)
    (before,) = rows(out)
    assert (before["outcome"], before["annotations"]) == ("filtered", [])
    shard("1.tar", [1])
    asked.clear()
    annotate_here(inputs, out, *REUSE, "--filters", filters)
    (after,) = by_key(out, "1.tar").values()
    assert asked == []
    assert after["taken_from"]["id"] == before["id"]
    for name in ("outcome", "reason", "decisions", "annotations"):
        assert after[name] == before[name]


def test_what_failed_or_was_left_out_before_the_model_is_looked_at_again(shard, tmp_path, asked):
    inputs, out = shard("0.tar", [1]), tmp_path / "out"
    limit = ("--min-side", 100)
    annotate_here(inputs, out, *REUSE, *limit)
    shard("1.tar", [1])
    annotate_here(inputs, out, *REUSE, *limit)
    assert asked == []
    assert [(r["outcome"], r["taken_from"]) for r in rows(out)] == [("filtered", None)] * 2


def test_rows_that_were_removed_by_hand_are_simply_not_known_any_more(shard, tmp_path, asked):
    inputs, out = shard("0.tar", [1, 2]), tmp_path / "out"
    annotate_here(inputs, out, *REUSE)
    shard("0.tar", [3])
    annotate_here(inputs, out, *REUSE)
    for path in (out / "former").iterdir():
        path.unlink()
    shard("1.tar", [1, 3])
    asked.clear()
    annotate_here(inputs, out, *REUSE)
    assert len(asked) == 1
    assert here("verify", out) == 0


def test_the_index_is_the_same_made_at_once_or_bit_by_bit(shard, tmp_path):
    inputs, out = shard("0.tar", [1, 2, 3]), tmp_path / "out"
    annotate_here(inputs, out, *REUSE)
    shard("0.tar", [2, 4])
    shard("1.tar", [5])
    annotate_here(inputs, out, *REUSE)
    shard("2.tar", [1, 6])
    annotate_here(inputs, out, *REUSE)
    ledger, path = Ledger(str(out), open_claimed(str(out))), out / "answers.parquet"
    digest = index_answers(ledger, ["caption en"])
    bit_by_bit = pq.read_table(path)
    path.unlink()
    assert index_answers(ledger, ["caption en"]) == digest
    assert pq.read_table(path).equals(bit_by_bit, check_metadata=True)
    assert bit_by_bit["key"].to_pylist() == sorted(bit_by_bit["key"].to_pylist())
    assert bit_by_bit.num_rows == 8
