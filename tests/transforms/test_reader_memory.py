"""Readers hold a record or two, whatever the size of the shard."""

import tracemalloc

import pytest

from examples.build import Picture, write_tfrecord, write_webdataset
from transforms.readers import ReaderOptions, read
from transforms.unit import Unit

SIZE = 250_000
BUFFERS = 4 << 20  # of the streams; as much again is allowed for a record and its copy


def shard(path, count):
    pictures = (
        Picture(f"{i:05d}", "jpg", i.to_bytes(4, "big") * (SIZE // 4), "text", {"number": i})
        for i in range(count)
    )
    write = write_tfrecord if path.suffix == ".tfrecord" else write_webdataset
    write(path, pictures)
    return path


def peak(path, format):
    """Bytes that Python holds at most while a shard is read, and its records."""
    tracemalloc.start()
    try:
        count = sum(
            record.error is None for record in read(Unit(format, str(path)), ReaderOptions())
        )
        return tracemalloc.get_traced_memory()[1], count
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.tar", "webdataset"), ("a.tgz", "webdataset"), ("a.tfrecord", "tfrecord")],
)
def test_memory_does_not_grow_with_the_shard(tmp_path, name, format):
    few, many = 20, 160
    small = shard(tmp_path / f"few-{name}", few)
    large = shard(tmp_path / f"many-{name}", many)
    peak(small, format)  # what is imported and cached once
    (least, count), (most, records) = peak(small, format), peak(large, format)
    assert (count, records) == (few, many)
    assert most < 2 * BUFFERS < SIZE * many / 4
    assert most - least < SIZE


def test_headers_of_many_members_are_not_kept(tmp_path):
    pictures = [Picture(f"{i:06d}", "jpg", b"x", "t", {"n": i}) for i in range(1600)]
    write_webdataset(tmp_path / "a.tar", pictures)
    write_webdataset(tmp_path / "b.tar", pictures[:400])
    peak(tmp_path / "b.tar", "webdataset")
    most, least = (
        peak(tmp_path / "a.tar", "webdataset")[0],
        peak(tmp_path / "b.tar", "webdataset")[0],
    )
    assert (most - least) / 1200 < 250  # bytes a record, for telling a repeated key


def test_a_member_over_the_limit_is_never_held(tmp_path):
    path = tmp_path / "a.tar"
    write_webdataset(path, [Picture("a", "jpg", bytes(40 << 20), "", {})])
    tracemalloc.start()
    try:
        options = ReaderOptions(max_record_bytes=1 << 20)
        (record,) = read(Unit("webdataset", str(path)), options)
        assert record.error.kind == "too_large_bytes"
        assert tracemalloc.get_traced_memory()[1] < 2 * BUFFERS
    finally:
        tracemalloc.stop()
