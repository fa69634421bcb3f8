"""Parquet shards: columns and types, units of row groups, and files that are damaged."""

import datetime
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus import problems, records_of
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.errors import UnitError, UserError
from transforms.planning import plan
from transforms.readers import ReaderOptions, read
from transforms.record import record_id

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write(path, columns, rows_per_group=1000, **options):
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group, **options)
    return path


def write_images(path, count, rows_per_group=1000, size=10, **options):
    images = [b"%06d" % i + bytes(size) for i in range(count)]
    columns = {"image": images, "text": [f"text {i}" for i in range(count)]}
    return write(path, columns, rows_per_group, **options)


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.binary(3), pa.dictionary(pa.int32(), pa.binary())]
)
def test_any_column_of_bytes_is_read(tmp_path, kind):
    if pa.types.is_dictionary(kind):
        path = write(tmp_path / "a.parquet", {"image": pa.array([b"abc"]).dictionary_encode()})
    else:
        path = write(tmp_path / "a.parquet", {"image": pa.array([b"abc"], kind)})
    (record,) = records_of(path)
    assert record.encoded == b"abc"
    assert record.source.key == "0"
    assert record.id == record_id(str(path), "0")


def test_a_hugging_face_dataset_is_read_as_it_writes_itself(tmp_path):
    import datasets
    from corpus import real_pictures

    pictures = [picture for picture in real_pictures() if picture.suffix in ("jpg", "png")][:4]
    rows = {
        "photo": [{"bytes": picture.data, "path": picture.file_name} for picture in pictures],
        "caption": [picture.text for picture in pictures],
    }
    features = datasets.Features(
        {"photo": datasets.Image(decode=False), "caption": datasets.Value("string")}
    )
    datasets.Dataset.from_dict(rows, features).to_parquet(str(tmp_path / "a.parquet"))
    records = records_of(tmp_path / "a.parquet")
    assert [record.encoded for record in records] == [picture.data for picture in pictures]
    assert [record.text for record in records] == rows["caption"]
    assert records[0].metadata == {"photo.path": pictures[0].file_name}


def test_other_columns_are_metadata_that_json_can_hold(tmp_path):
    noon = datetime.datetime(2024, 5, 6, 12, 30, tzinfo=datetime.UTC)
    path = write(
        tmp_path / "a.parquet",
        {
            "image": [b"x"],
            "captions": [["one", "two"]],
            "lang": ["en"],
            "when": [noon],
            "exact": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
            "nested": pa.array(
                [{"at": 1_700_000_000_000_000_001, "n": [1]}],
                pa.struct([("at", pa.timestamp("ns")), ("n", pa.list_(pa.int8()))]),
            ),
            "day": [datetime.date(2024, 5, 6)],
            "took": pa.array([1500], pa.duration("ms")),
            "price": [decimal.Decimal("1.10")],
            "raw": [b"\xff\x00"],
            "score": [float("-inf")],
            "pairs": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32())),
            "none": pa.array([None], pa.string()),
        },
    )
    (record,) = records_of(path, image_field="image", text_field="captions")
    assert (record.text, record.language) == ("one\ntwo", "en")
    assert record.metadata == {
        "when": "2024-05-06T12:30:00+00:00",
        "exact": "2023-11-14 22:13:20.000000001",
        "nested": {"at": "2023-11-14 22:13:20.000000001", "n": [1]},
        "day": "2024-05-06",
        "took": 1500,
        "price": "1.10",
        "raw": {"base64": "/wA="},
        "score": "-Infinity",
        "pairs": [["a", 1]],
        "none": None,
    }
    json.dumps(record.metadata, allow_nan=False)


def test_a_value_that_python_cannot_hold_costs_its_row(tmp_path):
    far = pa.array([0, 2**62], pa.timestamp("us"))
    path = write(tmp_path / "a.parquet", {"image": [b"x", b"y"], "when": far})
    assert problems(records_of(path)) == [None, "bad_value"]


def test_a_null_image_is_a_failed_record(tmp_path):
    path = write(tmp_path / "a.parquet", {"image": [b"x", None], "text": ["a", "b"]})
    records = records_of(path)
    assert problems(records) == [None, "no_image"]
    assert records[1].text == "b"


def test_an_image_that_is_only_named_is_read_from_the_shards_own_folder(tmp_path):
    folder = tmp_path / "shards"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.jpg").write_bytes(b"beside")
    (tmp_path / "secret.jpg").write_bytes(b"outside")
    paths = [
        "images/a.jpg",
        "images/gone.jpg",
        "../secret.jpg",
        "images/../../secret.jpg",
        str(tmp_path / "secret.jpg"),
        "gs://bucket/a.jpg",
    ]
    images = pa.array([{"bytes": None, "path": path} for path in paths], STRUCT)
    records = records_of(write(folder / "a.parquet", {"image": images}))
    assert problems(records) == [None, "missing_file", *["unsafe_path"] * 4]
    assert records[0].encoded == b"beside"
    assert records[0].source.uri == str(folder / "images" / "a.jpg")


def test_a_large_image_is_refused(tmp_path):
    path = write(tmp_path / "a.parquet", {"image": [b"x" * 2000, b"y"]})
    assert problems(records_of(path, max_record_bytes=1000)) == ["too_large_bytes", None]


def test_the_key_column_names_records_over_the_whole_file(tmp_path):
    path = write(
        tmp_path / "a.parquet",
        {"image": [b"x"] * 4, "id": pa.array([7, 8, 7, None])},
        rows_per_group=1,
    )
    options = ReaderOptions(key_field="id", rows_per_unit=1)
    (unit,) = plan([str(path)], options=options)
    records = list(read(unit, options))
    assert [record.source.key for record in records] == ["7", "8", "7", "#3"]
    assert [record.duplicate_of for record in records] == [None, None, records[0].id, None]


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(0, 40),
    per_group=st.integers(1, 20),
    per_unit=st.integers(1, 50),
)
def test_units_cover_every_row_once_in_order(tmp_path_factory, rows, per_group, per_unit):
    path = tmp_path_factory.mktemp("units") / "a.parquet"
    images = pa.array([b"%d" % i for i in range(rows)], pa.binary())
    write(path, {"image": images}, per_group)
    options = ReaderOptions(rows_per_unit=per_unit)
    units = plan([str(path)], options=options)
    assert len({unit.name("") for unit in units}) == len(units)
    found = []
    for unit in units:
        records = list(read(unit, options))
        assert len(records) == unit.records
        found += records
    assert [record.encoded for record in found] == [b"%d" % i for i in range(rows)]
    assert [record.source.index for record in found] == list(range(rows))
    assert [record.source.key for record in found] == [str(i) for i in range(rows)]


def test_a_damaged_page_costs_the_rows_of_its_row_group_and_each_has_its_record(tmp_path):
    path = write_images(
        tmp_path / "a.parquet", 30, rows_per_group=10, compression="none", write_page_checksum=True
    )
    data = bytearray(path.read_bytes())
    data[data.index(b"000015")] ^= 1
    path.write_bytes(data)
    records = records_of(path)
    assert problems(records) == [None] * 10 + ["corrupt_shard"] * 10 + [None] * 10
    assert [record.source.index for record in records] == list(range(30))


def test_a_file_whose_footer_is_lost_stops_no_other(tmp_path):
    whole = write_images(tmp_path / "b.parquet", 3)
    (tmp_path / "a.parquet").write_bytes(whole.read_bytes()[:-20])
    (tmp_path / "c.parquet").touch()
    units = plan([f"{tmp_path}/*.parquet"])
    assert [unit.records for unit in units] == [None, 3, None]
    assert problems(list(read(units[1], ReaderOptions()))) == [None] * 3
    for unit in (units[0], units[2]):
        with pytest.raises(UnitError, match="isn't a Parquet file"):
            list(read(unit, ReaderOptions()))


def test_a_file_that_was_replaced_by_a_shorter_one_is_an_error_of_the_unit(tmp_path):
    path = write_images(tmp_path / "a.parquet", 30, rows_per_group=10)
    options = ReaderOptions(rows_per_unit=10)
    units = plan([str(path)], options=options)
    write_images(path, 10)
    with pytest.raises(UnitError, match="fewer row groups"):
        list(read(units[2], options))


def test_a_column_that_is_not_there_is_the_users_error(tmp_path):
    path = write_images(tmp_path / "a.parquet", 1)
    with pytest.raises(UserError, match=r"a\.parquet: no column photo; it has image \(binary\)"):
        plan([str(path)], options=ReaderOptions(image_field="photo"))
    with pytest.raises(UserError, match="no column alt"):
        plan([str(path)], options=ReaderOptions(text_field="alt"))
    with pytest.raises(UserError, match="text holds no encoded images"):
        plan([str(path)], options=ReaderOptions(image_field="text"))


def test_without_an_image_column_by_name_the_only_one_of_bytes_is_taken(tmp_path):
    one = write(tmp_path / "one.parquet", {"jpeg": [b"x"], "n": [1]})
    assert records_of(one)[0].encoded == b"x"
    two = write(tmp_path / "two.parquet", {"jpeg": [b"x"], "png": [b"y"]})
    with pytest.raises(UserError, match="several columns of bytes"):
        plan([str(two)])
    none = write(tmp_path / "none.parquet", {"text": ["x"]})
    with pytest.raises(UserError, match="no column of bytes"):
        plan([str(none)])


def test_memory_is_that_of_a_few_rows_not_of_the_row_group(tmp_path):
    rows, size = 100, 1_000_000
    path = tmp_path / "a.parquet"
    schema = pa.schema([("image", pa.binary())])
    table = pa.table({"image": [bytes([i]) * size for i in range(rows)]}, schema)
    pq.write_table(  # pages of four rows: by default Arrow makes one of a thousand
        table, path, rows, compression="none", use_dictionary=False, write_batch_size=4
    )
    del table
    before = pa.total_allocated_bytes()
    highest = 0
    for record in records_of_unit(path):
        assert len(record.encoded) == size
        highest = max(highest, pa.total_allocated_bytes() - before)
    assert 0 < highest < 40 << 20


def records_of_unit(path):
    options = ReaderOptions()
    (unit,) = plan([str(path)], options=options)
    return read(unit, options)
