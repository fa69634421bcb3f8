"""Screening and annotating as two jobs: one account of all images, no second after a failure."""

import json
from collections import Counter

import pytest
from corpus import encode, photograph
from offline import offline  # noqa: F401 (a fixture)
from runs import here, rows

from examples.build import Picture, write_webdataset
from pipelines import two_jobs_options

FILTERS = "filters: {personal_information: {subjects: [text, output]}}"


@pytest.fixture
def pictures():
    """Three to keep, one too small, one with an address, and one that is there twice."""
    small, large = (60, 45), (160, 120)

    def picture(key, name, size=large, text="a picture"):
        return Picture(key, "jpg", encode(photograph(name, size), "JPEG"), text)

    return [
        picture("a", "coffee.png"),
        picture("b", "astronaut.png", small),
        picture("c", "chelsea.png", text="write to planted@example.org"),
        picture("d", "chelsea.png"),
        picture("e", "rocket.jpg"),
        picture("f", "coffee.png"),
    ]


@pytest.fixture
def both(tmp_path):
    """The command over a folder of shards, in this process."""
    filters = tmp_path / "filters.yaml"
    filters.write_text(FILTERS)

    def run(*more):
        return here(
            *("two-jobs", "--input", tmp_path / "corpus" / "*.tar", "--output", tmp_path / "out"),
            *("--filters", filters, "--min-side", 100, "--duplicates", "exact"),
            *("--max-new-tokens", 6, "--progress", "none", *more),
        )

    return run


@pytest.fixture
def corpus(tmp_path, pictures):
    folder = tmp_path / "corpus"
    folder.mkdir()
    write_webdataset(folder / "0.tar", pictures[:3])
    write_webdataset(folder / "1.tar", pictures[3:])
    return folder


def outcomes(found):
    return Counter(row["outcome"] for row in found)


@pytest.mark.parametrize("export", ["webdataset", "parquet"])
def test_both_ledgers_account_for_every_image(both, corpus, tmp_path, capsys, export):
    assert both("--export", export) == 0
    said = capsys.readouterr().out
    screened, annotated = (rows(tmp_path / "out" / name) for name in ("screened", "annotated"))
    assert outcomes(screened) == {"kept": 3, "filtered": 2, "duplicate": 1}
    kept = {row["id"] for row in screened if row["outcome"] == "kept"}
    joined = [json.loads(row["metadata"])["record_id"] for row in annotated]
    assert sorted(joined) == sorted(kept)
    assert {row["source"]["key"] for row in annotated} == kept
    assert all(row["annotations"] for row in annotated)
    assert said.index("screening to") < said.index("annotating to")
    assert "Every image has a row" in said

    before = [path.read_bytes() for path in sorted((tmp_path / "out").rglob("commits/*.json"))]
    assert both("--export", export) == 0
    after = [path.read_bytes() for path in sorted((tmp_path / "out").rglob("commits/*.json"))]
    assert after == before


def test_the_second_job_looks_at_what_the_model_writes(both, corpus, tmp_path):
    assert both() == 0
    manifest = json.loads((tmp_path / "out" / "annotated" / "palipipe.json").read_text())
    looking = manifest["configuration"]["screening"]["filters"]["personal_information"]
    assert looking["subjects"] == ["output"]


def test_a_failed_first_job_stops_before_the_second_and_a_rerun_goes_on(
    both, corpus, pictures, tmp_path, capsys
):
    shard = sorted(corpus.glob("*.tar"))[0]
    whole = shard.read_bytes()
    shard.write_bytes(b"no tar at all" * 100)
    assert both() == 1
    assert "annotating was not begun" in capsys.readouterr().err
    assert not (tmp_path / "out" / "annotated").exists()

    assert both("--go-on") == 1
    assert rows(tmp_path / "out" / "annotated")

    shard.write_bytes(whole)
    assert both() == 0
    assert len(rows(tmp_path / "out" / "screened")) == len(pictures)
    assert len(rows(tmp_path / "out" / "annotated")) == 3


def test_rows_of_images_that_are_kept_no_more_are_told_and_taken_back(
    both, corpus, pictures, tmp_path, capsys
):
    write_webdataset(corpus / "0.tar", pictures[:1])
    write_webdataset(corpus / "1.tar", pictures[3:5])
    assert both() == 0
    write_webdataset(corpus / "1.tar", pictures[1:2])  # too small, all of it
    assert both("--screen.on-changed", "redo") == 1
    assert "2 rows are of shards that screening keeps no image of" in capsys.readouterr().err
    assert both("--on-changed", "redo") == 0
    assert len(rows(tmp_path / "out" / "annotated")) == 1


def test_rows_are_told_too_where_nothing_at_all_is_kept_any_more(both, corpus, pictures, capsys):
    (corpus / "1.tar").unlink()
    write_webdataset(corpus / "0.tar", pictures[4:5])
    assert both() == 0
    write_webdataset(corpus / "0.tar", pictures[1:2])
    assert both("--screen.on-changed", "redo") == 1
    assert "1 row of images that screening keeps no more" in capsys.readouterr().err


def test_where_nothing_is_kept_there_is_no_second_job(both, corpus, tmp_path, capsys):
    assert both("--min-side", 1000) == 0
    assert "nothing was kept" in capsys.readouterr().out
    assert not (tmp_path / "out" / "annotated").exists()


def test_a_mistake_in_the_second_job_is_found_before_the_first(both, corpus, tmp_path, capsys):
    assert both("--checkpoint", tmp_path / "none.npz") == 2
    assert "none.npz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_dry_run_here_says_both_jobs_and_does_nothing(both, corpus, tmp_path, capsys):
    assert both("--dry-run") == 0
    said = capsys.readouterr().out
    assert "2 units to do" in said
    assert "second job: annotating" in said
    assert not (tmp_path / "out").exists()


DATAFLOW = (
    *("two-jobs", "--input", "gs://my-corpus/*.tar", "--output", "gs://my-results/out"),
    *("--project", "my-project", "--region", "us-central1", "--filters", "off"),
    *("--temp_location", "gs://my-staging/tmp", "--profile", "dataflow-tpu-v5e"),
    *("--worker_zone", "us-central1-a", "--max_num_workers", "8", "--screen.max_num_workers=50"),
)


def test_the_jobs_on_dataflow_are_printed_in_order(offline, capsys):  # noqa: F811
    assert here(*DATAFLOW, "--dry-run=json", "--job_name", "daily") == 0
    jobs = [each["job"] for each in json.loads(capsys.readouterr().out)]
    assert [job["name"] for job in jobs] == [
        "daily-screen",
        "daily-screen-export",
        "daily-annotate",
    ]
    pools = [job["environment"]["workerPools"][0] for job in jobs]
    assert [pool["machineType"] for pool in pools] == [
        *("n2-standard-8", "n2-standard-8", "ct5lp-hightpu-1t")
    ]
    assert [pool["autoscalingSettings"]["maxNumWorkers"] for pool in pools] == [50, 50, 8]
    assert "workerZone" not in jobs[0]["environment"]
    assert "serviceOptions" not in jobs[0]["environment"]


def test_each_option_goes_to_the_job_that_knows_it():
    jobs = two_jobs_options.parse(
        [
            *("--input", "a.tar", "b.tar", "--output", "out/", "--task", "caption en"),
            *("--duplicates", "near", "--filters", "strict", "--batch-size=4"),
            *("--annotate.threads", "3", "--screen.fail-open", "toxicity"),
        ]
    )
    screening, annotating = jobs.screening, jobs.annotating
    assert screening.input == ["a.tar", "b.tar"]
    assert annotating.input == ["out/screened/kept/*.tar"]
    assert (screening.output, annotating.output) == ("out/screened", "out/annotated")
    assert (screening.duplicates, annotating.task) == ("near", ["caption en"])
    assert screening.filters == annotating.filters == "strict"
    assert (screening.threads, annotating.threads) == (None, 3)
    assert (screening.fail_open, annotating.fail_open) == (["toxicity"], [])
    assert annotating.batch_size == 4
    assert annotating.screened_before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--batchsize", "4"), "did you mean --batch-size?"),
        (("--annotate.input", "x"), "two-jobs says this itself"),
        (("--screen.output", "x"), "two-jobs says this itself"),
        (("--region", "us-central1"), "unknown option --region"),
    ],
)
def test_a_word_that_is_for_neither_is_refused(words, told, capsys):
    assert here("two-jobs", "--input", "a.tar", "--output", "out", *words) == 2
    assert told in capsys.readouterr().err
