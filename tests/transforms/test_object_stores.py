"""Every format is read from any Beam filesystem, and storage that fails is no damaged shard."""

from pathlib import Path

import object_store
import pytest
from corpus import FORMATS, problems, real_pictures, records_of, write_corpus

from transforms.errors import UnitError, UserError
from transforms.planning import plan
from transforms.readers import ReaderOptions, read


@pytest.fixture(scope="module")
def pictures():
    return real_pictures()[4:12]


@pytest.fixture
def store():
    yield object_store
    object_store.objects.clear()
    object_store.failing.clear()


def upload(folder: Path, store) -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            store.objects[f"store://bucket/{path.relative_to(folder)}"] = path.read_bytes()
    return "store://bucket"


@pytest.mark.parametrize("format", FORMATS)
def test_each_format_is_read_from_an_object_store(tmp_path, pictures, store, format):
    pattern = write_corpus(tmp_path, pictures, format)
    bucket = upload(tmp_path, store)
    there = records_of(pattern.replace(str(tmp_path), bucket))
    assert [(r.encoded, r.text, dict(r.metadata)) for r in there] == [
        (p.data, p.text, p.metadata) for p in pictures
    ]
    assert all(record.source.uri.startswith("store://bucket/") for record in there)


@pytest.mark.parametrize("format", ["webdataset", "tfrecord", "parquet", "files"])
def test_storage_that_fails_midway_is_an_error_of_the_unit(tmp_path, pictures, store, format):
    pattern = write_corpus(tmp_path, pictures, format)
    bucket = upload(tmp_path, store)
    units = plan([pattern.replace(str(tmp_path), bucket)])
    store.failing.update(store.objects)
    for unit in units:
        with pytest.raises(UnitError, match="connection lost"):
            list(read(unit, ReaderOptions()))


def test_a_prefix_is_a_folder(tmp_path, pictures, store):
    write_corpus(tmp_path, pictures, "webdataset")
    upload(tmp_path, store)
    assert len(plan(["store://bucket/webdataset"])) == 2
    assert len(plan(["store://bucket"])) == 2
    assert plan(["store://bucket/webdataset/"]) == plan(["store://bucket/webdataset/*.tar"])


def test_hidden_objects_and_folder_markers_are_left_out(store):
    for name in ("a.jpg", ".b.jpg", ".trash/c.jpg", "d/"):
        store.objects[f"store://bucket/set/{name}"] = b""
    for pattern in ("store://bucket/set", "store://bucket/set/**"):
        (unit,) = plan([pattern])
        assert unit.files == ("store://bucket/set/a.jpg",)


def test_what_matches_nothing_in_a_store_is_told_with_what_is_near(store):
    store.objects["store://bucket/set/a.jpg"] = b""
    with pytest.raises(UserError, match=r"set holds 1 \.jpg"):
        plan(["store://bucket/set/*.tar"])
    with pytest.raises(UserError, match="other holds nothing"):
        plan(["store://bucket/other/*.tar"])


def test_an_object_that_a_list_names_but_is_gone_fails_alone(store):
    store.objects["store://bucket/list.csv"] = b"uri\nstore://bucket/a.jpg\nb.jpg\n"
    store.objects["store://bucket/b.jpg"] = b"b"
    assert problems(records_of("store://bucket/list.csv")) == ["missing_file", None]


def test_a_checksum_is_the_version_where_a_store_knows_no_times(store):
    store.objects["store://bucket/a.jpg"] = b"one"
    (first,) = plan(["store://bucket/*.jpg"])
    store.objects["store://bucket/a.jpg"] = b"two"
    (second,) = plan(["store://bucket/*.jpg"])
    assert first.name("") == second.name("")
    assert first.version != second.version


def test_a_filesystem_that_beam_does_not_know_is_the_users_error():
    with pytest.raises(UserError, match="nowhere://"):
        plan(["nowhere://bucket/*.tar"])
