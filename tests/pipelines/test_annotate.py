"""The main job through the front door: images in, one row each out."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from corpus import FORMATS, real_pictures, write_corpus
from runs import annotate, commits, palipipe, rows

TASKS = ("--task", "caption en", "--task", "answer en {question}", "--task", "detect cat ; dog")


@pytest.fixture(scope="module")
def pictures():
    return real_pictures()


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, pictures):
    """The real photographs annotated from each of the five input formats."""
    folder = tmp_path_factory.mktemp("outputs")
    for format in FORMATS:
        pattern = write_corpus(folder / "corpus", pictures, format)
        annotate(pattern, folder / format, *TASKS, "--batch-size", 8)
    return folder


def content(output):
    """Rows without where they were, which differs between formats; and their log-probabilities."""
    found = sorted(rows(output), key=lambda row: row["text"])
    log_probabilities = []
    for row in found:
        del row["id"], row["source"]
        log_probabilities += [each.pop("log_probability") for each in row["annotations"]]
    return found, log_probabilities


@pytest.mark.parametrize("format", FORMATS)
def test_real_photographs_become_the_same_rows_from_every_format(outputs, pictures, format):
    found, log_probabilities = content(outputs / format)
    expected, expected_log_probabilities = content(outputs / "webdataset")
    assert len(found) == len(pictures)
    assert {row["outcome"] for row in found} == {"kept"}
    assert found == expected
    # Units, and so batches, are cut otherwise: the last bits may differ.
    assert log_probabilities == pytest.approx(expected_log_probabilities, rel=1e-4)


def test_a_row_says_what_was_asked_answered_and_seen(outputs, pictures):
    row = next(r for r in rows(outputs / "webdataset") if r["text"] == pictures[5].text)
    # Stored wider than high, and turned by its EXIF orientation.
    assert row["image"]["format"] == "JPEG"
    assert row["image"]["width"] < row["image"]["height"]
    assert json.loads(row["metadata"])["question"] == "what is it, 5?"
    prompts = [annotation["prompt"] for annotation in row["annotations"]]
    assert prompts == ["caption en", "answer en what is it, 5?", "detect cat ; dog"]
    assert [a["language"] for a in row["annotations"]] == ["en", "en", None]
    assert all(a["log_probability"] < 0 for a in row["annotations"])


def test_the_output_names_the_model_and_says_that_its_weights_are_random(outputs):
    output = outputs / "webdataset"
    metadata = pq.read_schema(output / commits(output)[0]["data"]).metadata
    assert metadata[b"palipipe.model"] == b"palipipe-tiny-random"
    assert len(metadata[b"palipipe.weights_sha256"]) == 64


def test_verify_finds_nothing_wrong_with_a_good_output(outputs):
    assert "all there, whole, and once" in palipipe("verify", outputs / "parquet").stdout


def test_verify_names_a_file_that_was_changed_or_lost(outputs, tmp_path):
    output = tmp_path / "out"
    shutil.copytree(outputs / "webdataset", output)
    first, second = commits(output)
    (output / first["data"]).write_bytes(b"other")
    (output / second["data"]).unlink()
    said = palipipe("verify", output, code=1).stderr
    assert "not the file that was committed" in said
    assert "missing" in said


def test_a_second_run_does_nothing_and_says_so(outputs, pictures):
    output = outputs / "webdataset"
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")}
    done = annotate(f"{outputs}/corpus/webdataset/*.tar", output, *TASKS, "--batch-size", 8)
    assert "0 units to do" in done.stdout
    assert f"{len(pictures)}  100.00%" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.parquet")} == before


def test_the_output_opens_in_duckdb_pandas_polars_and_datasets(outputs, pictures):
    import datasets
    import duckdb
    import pandas
    import polars

    files = f"{outputs}/webdataset/data/*.parquet"
    query = f"SELECT outcome, count(*), any_value(annotations[1].prompt) FROM '{files}' GROUP BY 1"
    assert duckdb.sql(query).fetchall() == [("kept", len(pictures), "caption en")]
    frame = pandas.read_parquet(f"{outputs}/webdataset/data")
    assert len(frame) == len(pictures)
    assert frame["annotations"][0][0]["prompt"] == "caption en"
    lazy = polars.scan_parquet(files).select(polars.col("image").struct.field("width"))
    assert lazy.collect()["width"].min() == 1
    loaded = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(outputs / "cache")
    )
    assert loaded.num_rows == len(pictures)
    assert loaded[0]["annotations"][0]["prompt"] == "caption en"
