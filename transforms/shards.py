"""Writes kept records as shards that can be read again: WebDataset, TFRecord and Parquet.

What a record has beside its image keeps its name, and two names are added: `record_id` and
`record_key` say which row of the ledger it belongs to. Metadata that has one of the names used
here goes on as ``metadata.NAME``.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.readers.example import encode
from transforms.readers.tfrecord import frame

RECORD_ID = "record_id"
RECORD_KEY = "record_key"
OWN_NAMES = ("image", "text", "language", RECORD_ID, RECORD_KEY)

# Pictures are held in memory a row group at a time.
ROWS_PER_GROUP = 64

Row = Mapping[str, Any]
# The rows in their order, each with its encoded picture.
Pictures = Iterable[tuple[Row, bytes]]


def write_webdataset(file: BinaryIO, rows: Sequence[Row], pictures: Pictures) -> None:
    """A tar whose keys are the rows' ids: unique, and free of the dots that end a key."""
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for row, picture in pictures:
            for suffix, data in _members(row, picture):
                member = tarfile.TarInfo(f"{row['id']}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def _members(row: Row, picture: bytes) -> Iterator[tuple[str, bytes]]:
    named = described(row)
    text = named.pop("text", None)
    yield _suffix(row), picture
    yield "json", json.dumps(named, ensure_ascii=False, sort_keys=True).encode()
    if text is not None:
        yield "txt", text.encode()


def _suffix(row: Row) -> str:
    name = row["image"]["format"]
    return {"JPEG": "jpg", "JPEG2000": "jp2"}.get(name, name.lower())


def write_tfrecord(file: BinaryIO, rows: Sequence[Row], pictures: Pictures) -> None:
    """A tf.train.Example a record; floats become float32, and what it has no list for JSON."""
    for row, picture in pictures:
        values = {name: _feature(value) for name, value in described(row).items()}
        file.write(frame(encode({"image": [picture], **values})))


def _feature(value: Any) -> list[Any]:
    """The values of a feature: bytes, floats or integers of 64 bits."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    kinds = {type(item) for item in items}
    if kinds <= {bool} or (kinds <= {int} and all(-(2**63) <= i < 2**63 for i in items)):
        return [int(item) for item in items]
    if kinds == {str}:
        return [item.encode() for item in items]
    if kinds == {float}:
        return items
    if all(isinstance(item, dict) and set(item) == {"base64"} for item in items):
        return [base64.b64decode(item["base64"]) for item in items]
    return [_json(value).encode()]


def write_parquet(file: BinaryIO, rows: Sequence[Row], pictures: Pictures) -> None:
    """Images as Hugging Face's struct of bytes and path; a column for each name of the metadata.

    A column whose values have no type in common holds them as JSON.
    """
    named = [described(row) for row in rows]
    names = sorted({name for one in named for name in one})
    # Types are those of the whole shard: a part of it may hold nothing but nulls.
    columns = {name: _column([one.get(name) for one in named]) for name in names}
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), *((n, c.type) for n, c in columns.items())])
    with pq.ParquetWriter(file, schema, write_page_checksum=True) as writer:
        for start, group in _groups(pictures):
            images = pa.array([{"bytes": data, "path": None} for data in group], image)
            rest = [column.slice(start, len(group)) for column in columns.values()]
            writer.write_table(pa.Table.from_arrays([images, *rest], schema=schema))


def _groups(pictures: Pictures) -> Iterator[tuple[int, list[bytes]]]:
    """Runs of pictures, each with the place of its first."""
    start, group = 0, []
    for _, picture in pictures:
        group.append(picture)
        if len(group) == ROWS_PER_GROUP:
            yield start, group
            start, group = start + len(group), []
    if group:
        yield start, group


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):
        return pa.array([None if value is None else _json(value) for value in values])


def described(row: Row) -> dict[str, Any]:
    """What a shard says of a record beside its picture; what the row lacks is left out."""
    metadata = json.loads(row["metadata"] or "{}")
    named = {f"metadata.{n}" if n in OWN_NAMES else n: value for n, value in metadata.items()}
    own = {
        "text": row["text"],
        "language": row["language"],
        RECORD_ID: row["id"],
        RECORD_KEY: row["source"]["key"],
    }
    return named | {name: value for name, value in own.items() if value is not None}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


# Format to the suffix of its shards and its writer.
WRITERS: dict[str, tuple[str, Callable[[BinaryIO, Sequence[Row], Pictures], None]]] = {
    "webdataset": ("tar", write_webdataset),
    "tfrecord": ("tfrecord", write_tfrecord),
    "parquet": ("parquet", write_parquet),
}
