"""Screening without a model, and what is kept as shards that can be read again."""

import json
import subprocess
import sys

import duckdb
import pytest
from corpus import encode, photograph, real_pictures, records_of, write_corpus
from runs import commits, rows, screen_here

from examples.build import Picture, write_webdataset
from transforms import exporting

EXPORTED = {"webdataset": "tar", "tfrecord": "tfrecord", "parquet": "parquet"}


@pytest.fixture(scope="module")
def pictures():
    """Real photographs in several formats; the nested metadata is what TFRecord has no list for."""
    found = real_pictures()[3:12]
    found[0].metadata["place"] = {"city": "Córdoba", "at": [1.5, None]}
    return found


@pytest.fixture
def shards(tmp_path, pictures):
    return write_corpus(tmp_path, pictures, "webdataset")


def kept_shards(output):
    return sorted(path.name for path in (output / "kept").glob("*.*"))


def test_every_image_gets_one_row_and_a_second_run_does_nothing(shards, pictures, tmp_path, capsys):
    output = tmp_path / "out"
    assert screen_here(shards, output) == 0
    found = rows(output)
    assert [row["text"] for row in found] == [picture.text for picture in pictures]
    assert {row["outcome"] for row in found} == {"kept"}
    assert all(row["annotations"] == [] and row["decisions"] for row in found)
    before = commits(output)
    assert screen_here(shards, output) == 0
    assert "0 units to do" in capsys.readouterr().out
    assert commits(output) == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(shards, tmp_path, capsys):
    assert screen_here(shards, tmp_path / "out", "--dry-run", "--duplicates", "near") == 0
    said = capsys.readouterr().out
    assert "2 units to do" in said
    assert "perceptual_hash" in said
    assert not (tmp_path / "out").exists()


def test_it_runs_without_jax(shards, tmp_path):
    script = (
        "import sys\n"
        "from pipelines.main import main\n"
        f"main(['screen', '--input', {shards!r}, '--output', {str(tmp_path / 'out')!r},"
        " '--filters', 'off', '--export', 'parquet'])\n"
        "assert not {'jax', 'flax', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert len(kept_shards(tmp_path / "out")) == 2


def test_what_a_filter_drops_has_a_reason_and_is_not_exported(shards, pictures, tmp_path):
    output = tmp_path / "out"
    assert screen_here(shards, output, "--min-side", 100, "--export", "webdataset") == 0
    found = rows(output)
    small = [row for row in found if min(row["image"]["width"], row["image"]["height"]) < 100]
    assert small
    assert {(row["outcome"], row["reason"]) for row in small} == {("filtered", "too_small")}
    exported = records_of(output / "kept" / "*.tar")
    assert {r.metadata["record_id"] for r in exported} == {
        row["id"] for row in found if row["outcome"] == "kept"
    }
    assert len(exported) == len(found) - len(small)


def test_an_empty_corpus_gives_an_empty_ledger_and_no_shards(tmp_path):
    write_webdataset(tmp_path / "empty.tar", [])
    output = tmp_path / "out"
    code = screen_here(
        tmp_path / "empty.tar", output, "--duplicates", "near", "--export", "tfrecord"
    )
    assert code == 0
    assert [commit["rows"] for commit in commits(output)] == [0]
    assert not (output / "kept").exists()


@pytest.mark.parametrize("format", EXPORTED)
def test_kept_images_come_back_as_they_were_from_every_format(shards, pictures, tmp_path, format):
    output = tmp_path / "out"
    assert screen_here(shards, output, "--export", format) == 0
    names = {commit["unit"]["uri"].split("/")[-1] for commit in commits(output)}
    assert {name.split("-")[0] for name in kept_shards(output)} == names
    found = records_of(output / "kept" / f"*.{EXPORTED[format]}")
    assert [record.encoded for record in found] == [picture.data for picture in pictures]
    assert [record.text for record in found] == [picture.text for picture in pictures]
    for record, row, picture in zip(found, rows(output), pictures, strict=True):
        metadata = dict(record.metadata)
        assert metadata.pop("record_id") == row["id"]
        assert metadata.pop("record_key") == row["source"]["key"]
        for name, value in picture.metadata.items():
            there = metadata.get(name)
            # Only JSON has nested values; and in Parquet, nulls where others have a value.
            there = json.loads(there) if isinstance(value, dict) and type(there) is str else there
            assert there == value


def test_the_ledgers_of_two_jobs_join(shards, tmp_path):
    screened, again = tmp_path / "screened", tmp_path / "again"
    assert screen_here(shards, screened, "--export", "webdataset") == 0
    assert screen_here(f"{screened}/kept/*.tar", again) == 0
    first = {row["id"]: row for row in rows(screened)}
    second = {row["source"]["key"]: row for row in rows(again)}
    assert first.keys() == second.keys()
    for id, row in first.items():
        assert row["image"] == second[id]["image"]
        assert row["text"] == second[id]["text"]
    joined = duckdb.sql(
        f"SELECT s.text, a.text FROM '{again}/data/*.parquet' a JOIN '{screened}/data/*.parquet' s"
        " ON s.id = json_extract_string(a.metadata, '$.record_id')"
    ).fetchall()
    assert len(joined) == len(first)
    assert all(one == other for one, other in joined)
    # What was exported once can be exported again, and remembers both of its rows.
    assert screen_here(f"{screened}/kept/*.tar", again, "--export", "parquet") == 0
    record = records_of(again / "kept" / "*.parquet")[0]
    assert record.metadata["record_id"] in {row["id"] for row in rows(again)}
    assert record.metadata["metadata.record_id"] in first


def test_exporting_twice_writes_the_same_bytes_and_only_what_is_missing(shards, tmp_path):
    for output in (tmp_path / "one", tmp_path / "two"):
        assert screen_here(shards, output, "--export", "webdataset") == 0
    one, two = (
        [path.read_bytes() for path in sorted((o / "kept").glob("*.tar"))]
        for o in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two
    missing, present = sorted((tmp_path / "one" / "kept").glob("*.tar"))
    missing.unlink()
    before = present.stat().st_mtime_ns
    assert screen_here(shards, tmp_path / "one", "--export", "webdataset") == 0
    assert missing.read_bytes() == two[0]
    assert present.stat().st_mtime_ns == before


def test_an_export_that_breaks_off_is_gone_on_with(shards, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    whole = exporting.Exporter.export
    done = []

    def breaking(self, unit):
        if done:
            raise MemoryError("killed")
        done.append(unit)
        return whole(self, unit)

    with monkeypatch.context() as patched:
        patched.setattr(exporting.Exporter, "export", breaking)
        with pytest.raises(MemoryError):
            screen_here(shards, output, "--export", "webdataset")
    assert len(kept_shards(output)) <= 1
    assert len(rows(output)) == 9
    assert screen_here(shards, output, "--export", "webdataset") == 0
    assert len(records_of(output / "kept" / "*.tar")) == 9


def test_a_shard_that_changed_is_not_exported(shards, pictures, tmp_path, capsys):
    output = tmp_path / "out"
    assert screen_here(shards, output) == 0
    changed = [
        Picture(p.name, "jpg", encode(photograph("chelsea.png"), "JPEG"), p.text)
        for p in pictures[:4]
    ]
    write_webdataset(tmp_path / "webdataset" / "0.tar", changed)
    code = screen_here(shards, output, "--on-changed", "keep", "--export", "webdataset")
    assert code == 1
    assert "0.tar: holds other records than when it was committed" in capsys.readouterr().err
    assert [name.split("-")[0] for name in kept_shards(output)] == ["1.tar"]
    assert screen_here(shards, output, "--on-changed", "redo", "--export", "webdataset") == 0
    assert len(kept_shards(output)) == 2


def test_text_is_exported_as_the_row_has_it_blacked_out(tmp_path):
    data = encode(photograph("coffee.png", (64, 64)), "JPEG")
    picture = Picture("a", "jpg", data, "write to ann@example.org", {"by": "bob@example.org"})
    write_webdataset(tmp_path / "a.tar", [picture])
    (tmp_path / "filters.yaml").write_text("filters: {personal_information: {action: redact}}")
    filters = ("--filters", tmp_path / "filters.yaml")
    assert screen_here(tmp_path / "a.tar", tmp_path / "out", *filters, "--export", "tfrecord") == 0
    (record,) = records_of(tmp_path / "out" / "kept" / "*.tfrecord")
    assert record.text == "write to [EMAIL_ADDRESS]"
    assert record.metadata["by"] == "[EMAIL_ADDRESS]"
    assert record.encoded == data


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--earlier", "out"), "--duplicates exact or near"),
        (("--export-to", "there"), "only with --export"),
        (("--duplicates", "similar"), "similar"),
        (("--task", "caption en"), "unknown option --task"),
        (("--export", "webdatset"), "webdatset"),
        (("--duplicates", "near", "--earlier", "nowhere"), "nowhere"),
        (("--duplicates", "exact", "--earlier", "{out}"), "the output folder itself"),
    ],
)
def test_a_mistake_in_the_line_is_named_and_nothing_is_done(shards, tmp_path, capsys, words, said):
    words = [word.format(out=tmp_path / "out") for word in words]
    assert screen_here(shards, tmp_path / "out", *words) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_configuration_is_refused(shards, tmp_path, capsys):
    assert screen_here(shards, tmp_path / "out") == 0
    assert screen_here(shards, tmp_path / "out", "--duplicates", "exact") == 2
    assert "duplicates" in capsys.readouterr().err
