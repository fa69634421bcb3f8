"""The architecture's invariants: each is broken on purpose, and the run must fail."""

import dataclasses

import pytest
from corpus import real_pictures, write_corpus
from runs import annotate_here, commits, rows

from model.annotator import Annotator
from model.engine import Engine
from transforms import inference, steps
from transforms.steps import AnnotatedRows, CommitUnit


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path, real_pictures()[:6], "webdataset")


def test_a_reader_that_skips_a_record_fails_the_run(corpus, tmp_path, monkeypatch, capsys):
    whole = steps.read

    def skipping(unit, options):
        return (record for record in whole(unit, options) if record.source.index != 1)

    monkeypatch.setattr(steps, "read", skipping)
    assert annotate_here(corpus, tmp_path / "out") == 1
    assert "do not each have one row" in capsys.readouterr().err
    assert commits(tmp_path / "out") == []


def test_a_model_that_gives_no_answer_for_a_row_fails_the_run(
    corpus, tmp_path, monkeypatch, capsys
):
    whole = Annotator.annotate

    def short(self, pixels, prompts, sizes):
        return whole(self, pixels, prompts, sizes)[:-1]

    monkeypatch.setattr(Annotator, "annotate", short)
    assert annotate_here(corpus, tmp_path / "out") == 1
    assert "2 answers for 3 pictures" in capsys.readouterr().err
    assert commits(tmp_path / "out") == []


def test_a_batch_that_gets_lost_fails_the_run(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        inference.PaliGemmaHandler, "run_inference", lambda self, batch, model, args=None: []
    )
    assert annotate_here(corpus, tmp_path / "out") == 1
    assert "3 records were read, but there are 0 rows" in capsys.readouterr().err
    assert commits(tmp_path / "out") == []


def test_a_row_that_comes_twice_fails_the_run(corpus, tmp_path, monkeypatch, capsys):
    whole = AnnotatedRows.process

    def twice(self, annotated):
        yield from whole(self, annotated)
        yield from whole(self, annotated)

    monkeypatch.setattr(AnnotatedRows, "process", twice)
    assert annotate_here(corpus, tmp_path / "out") == 1
    assert "3 records were read, but there are 6 rows" in capsys.readouterr().err
    assert commits(tmp_path / "out") == []


def test_an_id_that_stands_twice_fails_the_run(corpus, tmp_path, monkeypatch, capsys):
    whole = AnnotatedRows.process

    def same(self, annotated):
        for name, row in whole(self, annotated):
            yield name, {**row, "id": "0" * 32}

    monkeypatch.setattr(AnnotatedRows, "process", same)
    assert annotate_here(corpus, tmp_path / "out") == 1
    assert "stands in two rows" in capsys.readouterr().err


def test_a_unit_that_is_not_read_to_its_end_is_not_committed(corpus, tmp_path, monkeypatch, capsys):
    whole = CommitUnit.process

    def endless(self, keyed):
        name, entries = keyed
        return whole(self, (name, [each for each in entries if isinstance(each, dict)]))

    monkeypatch.setattr(CommitUnit, "process", endless)
    assert annotate_here(corpus, tmp_path / "out") == 1
    assert "read to its end 0 times" in capsys.readouterr().err


def test_one_row_that_breaks_the_engine_costs_one_row(corpus, tmp_path, monkeypatch):
    whole = Annotator.annotate

    def breaking(self, pixels, prompts, sizes):
        if any(prompt.text.endswith("1?") for row in prompts for prompt in row):
            raise RuntimeError("INTERNAL: device fault")
        return whole(self, pixels, prompts, sizes)

    monkeypatch.setattr(Annotator, "annotate", breaking)
    task = ("--task", "answer en {question}")
    assert annotate_here(corpus, tmp_path / "out", *task) == 0
    found = rows(tmp_path / "out")
    assert [row["outcome"] for row in found] == ["kept", "failed", *["kept"] * 4]
    assert found[1]["error"] == {
        "stage": "annotate",
        "kind": "RuntimeError",
        "message": "INTERNAL: device fault",
    }
    assert found[1]["image"]["sha256"]


def test_an_engine_that_fails_for_every_row_fails_the_run_and_not_the_rows(
    corpus, tmp_path, monkeypatch, capsys
):
    def broken(self, pixels, prompts, sizes):
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(Annotator, "annotate", broken)
    assert annotate_here(corpus, tmp_path / "out") == 1
    assert "RESOURCE_EXHAUSTED" in (said := capsys.readouterr().err)
    assert "--batch-size" in said
    assert commits(tmp_path / "out") == []


def test_numbers_that_overflow_fail_their_row(corpus, tmp_path, monkeypatch):
    whole = Engine.generate

    def overflowing(self, *args, **kwargs):
        generation = whole(self, *args, **kwargs)
        return dataclasses.replace(generation, finite=generation.finite & [False, True, True])

    monkeypatch.setattr(Engine, "generate", overflowing)
    assert annotate_here(corpus, tmp_path / "out") == 0
    found = rows(tmp_path / "out")
    assert [row["reason"] for row in found] == ["not_finite", None, None] * 2


def test_no_program_is_compiled_after_loading(corpus, tmp_path):
    assert annotate_here(corpus, tmp_path / "out", "--task", "answer en {question}") == 0
    (model,) = inference._annotators.values()
    assert model.used.recompilations == 0
    assert model.used.padded_rows > 0
