"""Globs to units: formats by name, each file once, and mistakes named before the run."""

import logging
import os

import pytest
from corpus import FORMATS, problems, real_pictures, records_of, write_corpus
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import UserError
from transforms.planning import plan
from transforms.readers import ReaderOptions, read


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    pictures = real_pictures()[4:10]
    return {format: write_corpus(folder, pictures, format) for format in FORMATS}


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names(units):
    return [unit.uri.rpartition("/")[2] for unit in units]


@pytest.mark.parametrize("format", FORMATS)
def test_the_format_is_told_by_the_names(corpus, format):
    assert {unit.format for unit in plan([corpus[format]])} == {format}


def test_patterns_of_several_formats_make_units_of_each_in_a_settled_order(corpus):
    units = plan([corpus["tfrecord"], corpus["parquet"], corpus["webdataset"]])
    assert units == plan([corpus["webdataset"], corpus["parquet"], corpus["tfrecord"]])
    assert [unit.format for unit in units] == [
        "parquet",
        "parquet",
        "tfrecord",
        "tfrecord",
        "webdataset",
        "webdataset",
    ]


def test_a_file_matched_twice_is_taken_once(corpus, monkeypatch):
    folder = os.path.dirname(corpus["webdataset"])
    monkeypatch.chdir(folder)
    once = plan([corpus["webdataset"]])
    spelled = ["*.tar", "./0.tar", "0.tar", f"{folder}/../webdataset/0.tar", f"file://{folder}"]
    assert plan(spelled) == once


def test_a_folder_stands_for_all_it_holds_but_hidden_files(tmp_path):
    touch(tmp_path, "a.jpg", "deep/er/b.png", ".hidden.jpg", ".thumbnails/c.jpg")
    (unit,) = plan([str(tmp_path)])
    assert unit.files == (f"{tmp_path}/a.jpg", f"{tmp_path}/deep/er/b.png")
    assert plan([f"{tmp_path}/"]) == [unit]


def test_a_folder_whose_own_path_is_hidden_is_read(tmp_path):
    touch(tmp_path, ".cache/set/a.jpg")
    assert len(plan([f"{tmp_path}/.cache/set"])) == 1
    assert len(plan([f"{tmp_path}/.cache/set/*.jpg"])) == 1


def test_a_hidden_file_is_read_where_the_pattern_names_it(tmp_path):
    touch(tmp_path, ".a.jpg", "b.jpg")
    assert names(plan([f"{tmp_path}/*.jpg"])) == ["b.jpg"]
    assert names(plan([f"{tmp_path}/.*.jpg"])) == [".a.jpg"]
    assert names(plan([f"{tmp_path}/.a.jpg"])) == [".a.jpg"]


def test_two_stars_cross_folders_and_one_does_not(tmp_path):
    touch(tmp_path, "a.jpg", "deep/b.jpg", "deep/er/c.jpg")
    assert [unit.records for unit in plan([f"{tmp_path}/*.jpg"])] == [1]
    assert [unit.records for unit in plan([f"{tmp_path}/**/*.jpg"])] == [3]


def test_a_name_that_holds_a_bracket_is_taken_literally(tmp_path):
    touch(tmp_path, "img[1].jpg")
    assert names(plan([f"{tmp_path}/img[1].jpg"])) == ["img[1].jpg"]


def test_sidecars_belong_to_their_images_and_others_are_left_out_aloud(tmp_path, caplog):
    touch(tmp_path, "a.jpg", "a.txt", "a.json", "b.png", "notes.txt", "README.md")
    (tmp_path / "a.json").write_text('{"caption": "ignored for .txt", "n": 1}')
    with caplog.at_level(logging.WARNING):
        (unit,) = plan([str(tmp_path)])
    assert "1 .txt" in caplog.text
    assert "1 .md" in caplog.text
    assert unit.records == 2
    first, second = read(unit, ReaderOptions())
    assert (first.text, first.metadata) == ("x", {"caption": "ignored for .txt", "n": 1})
    assert (second.text, second.metadata) == (None, {})


def test_a_sidecar_that_is_no_json_costs_its_image(tmp_path):
    touch(tmp_path, "a.jpg", "a.json", "b.jpg")
    assert problems(records_of(tmp_path)) == ["bad_json", None]


def test_loose_files_that_are_empty_or_gone_or_large_are_records(tmp_path):
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "c.jpg").write_bytes(bytes(2000))
    options = ReaderOptions(max_record_bytes=1000)
    (unit,) = plan([str(tmp_path)], options=options)
    (tmp_path / "d.jpg").unlink()
    records = list(read(unit, options))
    assert problems(records) == [None, None, "too_large_bytes", "missing_file"]
    assert records[1].encoded == b""


def test_an_id_of_a_loose_file_does_not_hang_on_its_group(tmp_path):
    touch(tmp_path, *(f"{i}.jpg" for i in range(7)))
    ids = {
        count: [record.id for record in records_of(tmp_path, files_per_unit=count)]
        for count in (1, 3, 1000)
    }
    assert ids[1] == ids[3] == ids[1000]
    assert len(set(ids[1])) == 7


def test_files_that_arrive_later_change_no_earlier_group(tmp_path):
    touch(tmp_path, *(f"{i}.jpg" for i in range(5)))
    options = ReaderOptions(files_per_unit=2)
    before = plan([str(tmp_path)], options=options)
    touch(tmp_path, "0a.jpg", "4a.jpg")
    after = plan([str(tmp_path)], options=options, groups=[unit.files for unit in before])
    assert set(before) < set(after)
    (new,) = set(after) - set(before)
    assert [uri.rpartition("/")[2] for uri in new.files] == ["0a.jpg", "4a.jpg"]
    (tmp_path / "0.jpg").write_bytes(b"changed")
    again = plan([str(tmp_path)], options=options, groups=[unit.files for unit in after])
    assert [unit.name("") for unit in again] == [unit.name("") for unit in after]
    assert [one.version == other.version for one, other in zip(again, after, strict=True)] == [
        one.uri != f"{tmp_path}/0.jpg" for one in again
    ]


@given(count=st.integers(1, 40), per_unit=st.integers(1, 45))
def test_groups_hold_every_file_once(tmp_path_factory, count, per_unit):
    folder = tmp_path_factory.mktemp("groups")
    touch(folder, *(f"{i:02d}.jpg" for i in range(count)))
    units = plan([str(folder)], options=ReaderOptions(files_per_unit=per_unit))
    assert [uri for unit in units for uri in unit.files] == [
        f"{folder}/{i:02d}.jpg" for i in range(count)
    ]
    assert all(unit.records == len(unit.files) <= per_unit for unit in units)


def test_a_shard_that_changes_changes_its_version_and_not_its_name(corpus):
    path = corpus["webdataset"].replace("*", "0")
    (before,) = plan([path])
    os.utime(path, (1, 1))
    (after,) = plan([path])
    assert after.name("") == before.name("")
    assert after.version != before.version


def test_what_matches_nothing_is_told_with_what_is_near(tmp_path):
    touch(tmp_path, "shards/a.tar", "shards/b.tar", "shards/c.md")
    with pytest.raises(UserError, match=r"nothing matches .*\*\.tgz.*shards holds 2 \.tar, 1 \.md"):
        plan([f"{tmp_path}/shards/*.tgz"])
    with pytest.raises(UserError, match=r"shards holds 2 \.tar"):
        plan([f"{tmp_path}/shards/d.tar"])
    with pytest.raises(UserError, match="holds the folders shards"):
        plan([f"{tmp_path}/shard/*.tar"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds nothing"):
        plan([f"{tmp_path}/empty/*.tar"])
    for pattern in (f"{tmp_path}/empty", "/no-such-name-*.tar", "/no/such/folder/a.tar"):
        with pytest.raises(UserError, match="nothing matches"):
            plan([pattern])


def test_names_that_tell_no_format_ask_for_it(tmp_path):
    touch(tmp_path, "train-00000-of-00001")
    with pytest.raises(UserError, match=r"1 without extension.*tfrecord"):
        plan([f"{tmp_path}/train-*"])
    (tmp_path / "train-00000-of-00001").write_bytes(b"")
    (unit,) = plan([f"{tmp_path}/train-*"], "tfrecord")
    assert unit.format == "tfrecord"


def test_images_without_extension_are_read_when_the_format_is_named(tmp_path):
    touch(tmp_path, "0001", "0002")
    assert problems(records_of(tmp_path, "files")) == [None, None]


def test_a_folder_of_several_formats_asks_for_one(tmp_path, corpus):
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "metadata.csv").write_text("file_name\na.jpg\n")
    with pytest.raises(UserError, match="1 list, 2 files"):
        plan([str(tmp_path)])
    assert plan([str(tmp_path)], "files")[0].records == 2
    assert plan([str(tmp_path)], "list")[0].records == 1


@pytest.mark.parametrize(
    ("patterns", "format", "message"),
    [
        ([], None, "no input"),
        (["x"], "zip", "no input format zip; choose from webdataset"),
    ],
)
def test_an_input_that_is_none_is_the_users_error(patterns, format, message):
    with pytest.raises(UserError, match=message):
        plan(patterns, format)


@pytest.mark.parametrize(
    ("format", "field"),
    [("webdataset", "key_field"), ("files", "key_field"), ("files", "image_field")],
)
def test_an_option_that_a_format_does_not_know_is_the_users_error(corpus, format, field):
    option = "--" + field.replace("_", "-")
    with pytest.raises(UserError, match=f"{option} has no meaning for the format {format}"):
        plan([corpus[format]], options=ReaderOptions(**{field: "x"}))


@pytest.mark.parametrize("values", [{"lines_per_unit": 0}, {"text_field": ""}])
def test_options_out_of_range_are_the_users_error(values):
    with pytest.raises(UserError, match=next(iter(values))):
        ReaderOptions(**values)


def test_a_bad_first_shard_is_passed_over_when_options_are_checked(corpus, tmp_path):
    touch(tmp_path, "0.tar")
    good = corpus["webdataset"].replace("*", "1")
    assert len(plan([str(tmp_path / "0.tar"), good])) == 2


def test_an_empty_folder_is_said_to_be_empty(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"nothing matches .*empty\. The folder holds no file"):
        plan([str(tmp_path / "empty")])
