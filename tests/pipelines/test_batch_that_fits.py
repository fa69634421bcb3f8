"""How many images go through the model together, and on how much of the machine."""

from pathlib import Path

from runs import annotate_here, rows

from model import fit
from transforms import inference

CORPUS = Path(__file__).parents[2] / "examples" / "webdataset" / "*.tar"
SHORT = ("--filters", "off", "--max-new-tokens", 2)


def test_an_automatic_batch_is_what_the_model_was_found_to_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(fit, "ENOUGH_ON_CPU", 3)
    seen = []
    whole = inference.PaliGemmaHandler.run_inference

    def noting(self, batch, model, arguments=None):
        seen.append(len(batch))
        return whole(self, batch, model, arguments)

    monkeypatch.setattr(inference.PaliGemmaHandler, "run_inference", noting)
    inference._annotators.clear()
    assert annotate_here(CORPUS, tmp_path, *SHORT, "--batch-size", "auto") == 0
    assert max(seen) == 3
    assert sum(seen) == sum(row["outcome"] == "kept" for row in rows(tmp_path))
    inference._annotators.clear()


def test_a_batch_that_memory_cannot_hold_is_refused_with_one_that_it_can(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(fit, "capacity", lambda _: 1000)
    inference._annotators.clear()
    assert annotate_here(CORPUS, tmp_path, *SHORT) == 2
    said = capsys.readouterr().err
    assert "of weights and the machine has 0.0 GiB: --dtype bfloat16" in said
    assert not rows(tmp_path)


def test_chips_that_are_not_there_are_said_to_be_missing(tmp_path, capsys):
    assert annotate_here(CORPUS, tmp_path, *SHORT, "--tensor-parallel", 2) == 2
    assert "--tensor-parallel 2 with 1 chips or GPUs" in capsys.readouterr().err
