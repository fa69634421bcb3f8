"""TFRecord shards: framing, checksums, features, and what damage costs."""

import contextlib
import gzip
import json

import pytest
from corpus import problems, records_of
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import UnitError, UserError
from transforms.planning import plan
from transforms.readers import ReaderOptions, read
from transforms.readers.example import encode, features
from transforms.readers.problem import ProblemError
from transforms.readers.streams import open_shard
from transforms.readers.tfrecord import frame, frames
from transforms.record import record_id
from transforms.unit import Unit

LIMIT = 1 << 20


def picture(number=0, **more):
    return encode({"image": [b"image %d" % number], **more})


def write(path, *examples, compress=False):
    data = b"".join(frame(example) for example in examples)
    path.write_bytes(gzip.compress(data) if compress else data)
    return path


def frames_of(path, limit=LIMIT):
    with open_shard(str(path)) as stream:
        return list(frames(stream, limit))


def test_features_become_text_language_and_metadata(tmp_path):
    path = write(
        tmp_path / "a.tfrecord",
        picture(
            text=["naïve".encode()],
            language=[b"fr"],
            label=[3],
            boxes=[0.5, 1.0],
            filename=[b"a.jpg"],
            mask=[b"\x00\xff"],
            empty=[],
            score=[float("nan")],
        ),
    )
    (record,) = records_of(path)
    assert (record.encoded, record.text, record.language) == (b"image 0", "naïve", "fr")
    assert record.metadata == {
        "label": 3,
        "boxes": [0.5, 1.0],
        "filename": "a.jpg",
        "mask": {"base64": "AP8="},
        "empty": None,
        "score": "NaN",
    }
    json.dumps(record.metadata, allow_nan=False)
    assert record.source.key == "0"
    assert record.id == record_id(str(path), "0")


def test_the_image_may_be_named_image_encoded_or_by_option(tmp_path):
    path = write(
        tmp_path / "a.tfrecord", encode({"image/encoded": [b"first"], "thumbnail": [b"second"]})
    )
    assert records_of(path)[0].encoded == b"first"
    assert records_of(path, image_field="thumbnail")[0].encoded == b"second"


def test_several_captions_are_lines_of_the_text(tmp_path):
    path = write(tmp_path / "a.tfrecord", picture(caption=[b"one", b"caf\xe9"]))
    assert records_of(path)[0].text == "one\ncaf\\xe9"


def test_the_key_feature_names_records_and_a_repeat_names_its_first(tmp_path):
    path = write(
        tmp_path / "a.tfrecord",
        *(picture(id=[key]) for key in (b"x", b"y", b"x")),
        picture(id=[]),
        picture(id=[b"3"]),
    )
    records = records_of(path, key_field="id")
    assert [record.source.key for record in records] == ["x", "y", "x", "#3", "3"]
    assert [record.duplicate_of for record in records] == [None, None, records[0].id, None, None]
    assert len({record.id for record in records}) == 5


@pytest.mark.parametrize("name", ["a.tfrecord.gz", "a.tfrecord-00000-of-00001"])
def test_gzip_is_known_by_its_bytes(tmp_path, name):
    path = write(tmp_path / name, picture(0), picture(1), compress=True)
    assert [record.encoded for record in records_of(path)] == [b"image 0", b"image 1"]


def test_a_plain_shard_whose_length_looks_like_gzip_is_plain(tmp_path):
    data = bytes(0x8B1F)  # whose little-endian length begins with gzip's magic bytes
    path = write(tmp_path / "a.tfrecord", data)
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    assert problems(list(read(Unit("tfrecord", str(path)), ReaderOptions()))) == ["bad_example"]


def test_a_bad_data_checksum_costs_one_record(tmp_path):
    path = write(tmp_path / "a.tfrecord", *map(picture, range(3)))
    data = bytearray(path.read_bytes())
    data[data.index(b"image 1")] ^= 1
    path.write_bytes(data)
    records = records_of(path)
    assert problems(records) == [None, "bad_checksum", None]
    assert [record.source.index for record in records] == [0, 1, 2]


def test_a_bad_length_checksum_costs_the_rest(tmp_path):
    path = write(tmp_path / "a.tfrecord", *map(picture, range(3)))
    data = bytearray(path.read_bytes())
    data[len(frame(picture(0)))] ^= 1
    path.write_bytes(data)
    assert problems(records_of(path)) == [None, "corrupt_shard"]


@pytest.mark.parametrize("left", [1, 11, 12, 20])
def test_a_cut_shard_ends_with_one_failed_record(tmp_path, left):
    path = write(tmp_path / "a.tfrecord", *map(picture, range(2)))
    path.write_bytes(path.read_bytes()[: len(frame(picture(0))) + left])
    assert problems(records_of(path)) == [None, "truncated_shard"]


def test_a_cut_gzip_ends_with_one_failed_record(tmp_path):
    path = write(tmp_path / "a.tfrecord.gz", *map(picture, range(2)), compress=True)
    path.write_bytes(path.read_bytes()[:-8])
    assert problems(records_of(path)) == [None, None, "truncated_shard"]


def test_a_record_over_the_limit_is_passed_over_in_chunks(tmp_path):
    path = write(tmp_path / "a.tfrecord", picture(0), encode({"image": [bytes(9000)]}), picture(2))
    assert problems(records_of(path, max_record_bytes=1000)) == [None, "too_large_bytes", None]


def test_records_that_are_no_example_or_have_no_image_fail_alone(tmp_path):
    path = write(
        tmp_path / "a.tfrecord",
        picture(0),
        encode({"text": [b"alone"]}),
        encode({"image": []}),
        encode({"image": [5]}),
    )
    with path.open("ab") as file:
        file.write(frame(b"\xff\xff\xff"))
    records = records_of(path)
    assert problems(records) == [None, "no_image", "no_image", "no_image", "bad_example"]
    assert records[1].text == "alone"


def test_an_empty_shard_has_no_records_but_an_empty_gzip_is_an_error(tmp_path):
    (tmp_path / "a.tfrecord").touch()
    assert records_of(tmp_path / "a.tfrecord") == []
    (tmp_path / "b.tfrecord.gz").touch()
    with pytest.raises(UnitError, match="empty"):
        records_of(tmp_path / "b.tfrecord.gz")


def test_a_shard_without_a_single_example_is_the_users_error(tmp_path):
    path = write(tmp_path / "a.tfrecord", b"\xff\xff\xff")
    with pytest.raises(UserError, match=r"aren't tf\.train\.Example"):
        plan([str(path)])


def test_what_is_no_tfrecord_is_an_error_of_the_unit(tmp_path):
    path = tmp_path / "a.tfrecord"
    path.write_bytes(b"PK\x03\x04 is a zip archive")
    with pytest.raises(UnitError, match="isn't a TFRecord"):
        records_of(path)


@pytest.mark.parametrize("options", [{}, {"text_field": "alt"}, {"key_field": "id"}])
def test_a_feature_that_is_nowhere_is_the_users_error(tmp_path, options):
    example = encode({"picture": [b"x"], "words": [b"y"]}) if not options else picture(0)
    path = write(tmp_path / "a.tfrecord", example)
    there = "image" if options else "picture, words"
    with pytest.raises(UserError, match=f"have {there}"):
        plan([str(path)], options=ReaderOptions(**options))


@given(st.lists(st.binary(max_size=400), max_size=20), st.booleans())
def test_framing_round_trips(tmp_path_factory, records, compress):
    path = write(tmp_path_factory.mktemp("framing") / "a", *records, compress=compress)
    if records or not compress:
        assert frames_of(path) == records


@given(
    st.lists(st.binary(max_size=60), min_size=1, max_size=6),
    st.integers(0, 10_000),
    st.integers(1, 255),
)
def test_one_flipped_byte_is_always_noticed(tmp_path_factory, records, place, flip):
    path = write(tmp_path_factory.mktemp("flipped") / "a", *records)
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= flip
    path.write_bytes(data)
    found = frames_of(path)
    wrong = [item for item in found if isinstance(item, ProblemError)]
    assert len(wrong) == 1
    assert all(item in records for item in found if isinstance(item, bytes))


values = st.one_of(
    st.lists(st.binary(max_size=20), max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4),
    st.lists(st.floats(width=32, allow_nan=False), max_size=4),
)


@given(st.dictionaries(st.text(max_size=8), values, max_size=5))
def test_examples_round_trip(example):
    assert features(encode(example)) == example


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_an_example_or_a_problem(data):
    with contextlib.suppress(ProblemError):
        assert isinstance(features(data), dict)


def test_the_frame_is_tensorflows():
    # What tf.io.TFRecordWriter of TensorFlow 2.21 writes for the record b"abc".
    assert frame(b"abc").hex() == "0300000000000000b099490e6162636e57f121"


@pytest.mark.slow  # importing TensorFlow takes many seconds
def test_tensorflow_reads_what_is_written_and_writes_what_is_read(tmp_path):
    import tensorflow as tf

    path = write(tmp_path / "a.tfrecord", picture(text=[b"hello"], label=[-3], score=[0.5]))
    (raw,) = tf.data.TFRecordDataset(str(path))
    example = tf.train.Example.FromString(raw.numpy())
    assert example.features.feature["label"].int64_list.value == [-3]
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    with tf.io.TFRecordWriter(str(tmp_path / "b.tfrecord.gz"), options) as writer:
        writer.write(example.SerializeToString())
    (record,) = records_of(tmp_path / "b.tfrecord.gz")
    assert (record.encoded, record.text) == (b"image 0", "hello")
    assert record.metadata == {"label": -3, "score": 0.5}
