"""What a run tells of how its model was fed: to a person, and to whoever reads its record."""

import json
import re

import pytest
from corpus import encode, photograph
from runs import annotate_here, rows

from examples.build import Picture, write_webdataset
from pipelines.feeding import Feeding
from transforms import counters, inference

TOTALS = {
    "rows_kept": 90,
    "rows_failed": 10,
    counters.MODEL_ROWS: 90,
    counters.PADDED_ROWS: 10,
    counters.DECODING_ROW_STEPS: 1000,
    counters.DECODED_TOKENS: 400,
    counters.MODEL_MICROSECONDS: 8_000_000,
    counters.WAITING_MICROSECONDS: 500_000,
    counters.UNIT_MICROSECONDS: 9_000_000,
}


def test_shares_are_of_the_runs_time_where_it_is_known():
    feeding = Feeding.of(TOTALS, 10.0)
    assert feeding == Feeding(100, 10.0, 0.8, 0.05, 0.1, 0.4, 0)
    assert feeding.text() == (
        "100 images in 10.0 s, 10.0 images/s: model 80.0%, waiting for pictures 5.0%, "
        "other work 15.0%\n"
        "10.0% of the model's rows only filled a batch; 40.0% of its decoding steps wrote a token"
    )


def test_shares_are_of_the_workers_time_where_they_are_elsewhere():
    assert Feeding.of(TOTALS).seconds == 9.0


def test_a_recompilation_is_said_and_called_a_defect():
    text = Feeding.of({**TOTALS, counters.RECOMPILATIONS: 2}, 10.0).text()
    assert "2 programs were compiled after loading" in text
    assert "defect" in text


def test_where_no_model_was_asked_there_is_nothing_to_tell():
    assert Feeding.of({"rows_kept": 3}, 10.0) is None


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Records of which each brings its own prompt, short answers and long ones in turn."""
    folder = tmp_path_factory.mktemp("mixed")
    verbs = ("answer en why?", "detect a ; b ; c", "caption en")
    pictures = [
        Picture(
            f"{n:03}", "jpg", encode(photograph("china.jpg", (64, 48 + n)), "JPEG"), "", {"q": q}
        )
        for n, q in enumerate(verbs * 5)
    ]
    write_webdataset(folder / "mixed.tar", pictures)
    return folder / "mixed.tar"


def test_a_run_tells_its_summary_and_its_record_how_the_model_was_fed(mixed, tmp_path, capsys):
    assert annotate_here(mixed, tmp_path, "--task", "{q}", "--batch-size", 4) == 0
    said = capsys.readouterr().out
    assert re.search(r"15 images in [\d.]+ s, [\d.]+ images/s: model [\d.]+%, waiting", said)
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*.json"))
    fed = record["fed"]
    assert fed["images"] == 15
    assert fed["padding"] == 1 / 16
    assert fed["recompilations"] == 0
    assert 0 < fed["model"] + fed["waiting"] < 1
    assert 0 < fed["writing"] <= 1


def test_rows_come_in_their_records_order_though_batches_are_of_like_prompts(
    mixed, tmp_path, monkeypatch
):
    batches = []
    whole = inference.PaliGemmaHandler.run_inference

    def noting(self, batch, model, arguments=None):
        batches.append([example.prompts[0].text.split()[0] for example in batch.examples])
        return whole(self, batch, model, arguments)

    monkeypatch.setattr(inference.PaliGemmaHandler, "run_inference", noting)
    assert annotate_here(mixed, tmp_path, "--task", "{q}", "--batch-size", 5) == 0
    assert batches == [["answer"] * 5, ["caption"] * 5, ["detect"] * 5]
    found = rows(tmp_path)
    assert [row["source"]["index"] for row in found] == list(range(15))
    asked = [row["annotations"][0]["prompt"].split()[0] for row in found]
    assert asked == ["answer", "detect", "caption"] * 5
