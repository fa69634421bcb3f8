"""Parquet shards: a column of encoded images, plain bytes or Hugging Face's ``{bytes, path}``.

A unit is a run of row groups; memory holds a page of each column and some rows, whatever the size
of the row groups. As a file's footer tells how many rows it holds, each row that can't be read has
its own failed record.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import UnitError, UserError
from transforms.readers.naming import Naming
from transforms.readers.options import ReaderOptions
from transforms.readers.problem import ProblemError
from transforms.readers.streams import CHUNK, beside, fetch, open_file
from transforms.readers.values import jsonable, take_text
from transforms.record import Record
from transforms.unit import Unit

_BATCH_BYTES = 16 << 20
_BATCH_ROWS = 256


def check(uri: str, options: ReaderOptions) -> None:
    """Raises UserError if a column that the options name, or the image's, isn't there."""
    with _open(uri) as file:
        _image_column(uri, file.schema_arrow, options)


def plan(unit: Unit, options: ReaderOptions) -> list[Unit]:
    """The file as runs of row groups; as it came where its footer can't be read.

    Reading it then raises UnitError, and the other shards are not held up.
    """
    try:
        with _open(unit.uri) as file:
            groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    except UnitError:
        return [unit]
    rows = [group.num_rows for group in groups]
    if options.key_field or sum(rows) <= options.rows_per_unit:
        return [replace(unit, records=sum(rows))]
    units = []
    start = first = 0
    for stop in _cuts(rows, options.rows_per_unit):
        held = sum(rows[start:stop])
        size = sum(_compressed(group) for group in groups[start:stop])
        units.append(
            replace(unit, start=start, stop=stop, first_index=first, records=held, size=size)
        )
        start, first = stop, first + held
    return units


def read(unit: Unit, options: ReaderOptions) -> Iterator[Record]:
    """The records of the unit's row groups in order; see `transforms.readers.read`."""
    naming = Naming(unit.uri, unit.first_index, positional=options.key_field is None)
    with _open(unit.uri) as file:
        column = _image_column(unit.uri, file.schema_arrow, options)
        stop = file.num_row_groups if unit.stop is None else unit.stop
        if stop > file.num_row_groups:
            raise UnitError(
                unit.uri, "holds fewer row groups than when the run was planned", "Run again"
            )
        for group in range(unit.start, stop):
            yield from _row_group(file, group, column, naming, options)


@contextmanager
def _open(uri: str) -> Iterator[pq.ParquetFile]:
    """Raises UnitError where the footer can't be read."""
    with open_file(uri) as raw:
        try:
            file = pq.ParquetFile(
                pa.PythonFile(raw, mode="r"),
                pre_buffer=False,
                buffer_size=CHUNK,
                page_checksum_verification=True,
            )
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise UnitError(
                uri, f"isn't a Parquet file, or is cut ({reason})", "Make it again, or leave it out"
            ) from None
        with file:
            yield file


def _cuts(rows: list[int], target: int) -> Iterator[int]:
    """Ends of runs of row groups that hold at least `target` rows, but for the last."""
    held = 0
    for stop, count in enumerate(rows, start=1):
        held += count
        if held >= target or stop == len(rows):
            yield stop
            held = 0


def _compressed(group: Any) -> int:
    return sum(group.column(i).total_compressed_size for i in range(group.num_columns))


def _image_column(uri: str, schema: pa.Schema, options: ReaderOptions) -> str:
    """The column that holds the images. Raises UserError where it, or another, isn't there."""
    there = ", ".join(f"{field.name} ({field.type})" for field in schema)
    named = (options.image_field, options.text_field, options.language_field, options.key_field)
    missing = [name for name in named if name and name not in schema.names]
    if missing:
        raise UserError(f"{uri}: no column {', '.join(missing)}; it has {there}")
    images = [field.name for field in schema if _holds_images(field.type)]
    wanted = options.image_field or ("image" if "image" in images else None)
    if wanted in images:
        return str(wanted)
    if wanted:
        raise UserError(
            f"{uri}: column {wanted} holds no encoded images, which are bytes or a struct of bytes "
            f"and path; the columns are {there}"
        )
    if len(images) == 1:
        return str(images[0])
    problem = "several columns of bytes" if images else "no column of bytes"
    raise UserError(f"{uri}: {problem} among {there}. Name the image's with --image-field")


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _holds_images(kind.value_type)
    if pa.types.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        return "bytes" in names and _holds_images(kind.field("bytes").type)
    return (
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _row_group(
    file: pq.ParquetFile, group: int, column: str, naming: Naming, options: ReaderOptions
) -> Iterator[Record]:
    metadata = file.metadata.row_group(group)
    row_bytes = max(1, metadata.total_byte_size // max(1, metadata.num_rows))
    batch_rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // row_bytes))
    end = naming.index + metadata.num_rows
    batches = file.iter_batches(batch_rows, row_groups=[group], use_threads=False)
    problem = "the row group holds fewer rows than the footer says"
    while naming.index < end:
        try:
            batch = next(batches)
        except StopIteration:
            break
        except (pa.ArrowException, OSError, ValueError) as error:
            problem = f"row group {group} is damaged ({type(error).__name__})"
            break
        for row in _rows(batch):
            yield _record(row, column, naming, options)
    while naming.index < end:
        yield naming.failure("corrupt_shard", f"{problem}; the row can't be read")


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | ProblemError]:
    """The rows as Python values, one at a time."""
    columns = [_printable(array) for array in batch.columns]
    for i in range(batch.num_rows):
        try:
            yield {
                name: array[i].as_py()
                for name, array in zip(batch.schema.names, columns, strict=True)
            }
        except (pa.ArrowException, ValueError, ArithmeticError, LookupError) as error:
            message = f"a column of the row holds what Python can't ({type(error).__name__})"
            yield ProblemError("bad_value", message)


def _printable(array: pa.Array) -> pa.Array:
    """Nanoseconds as text or integers: Python's own times end at microseconds."""
    target = _printable_type(array.type)
    return array if target == array.type else array.cast(target)


def _printable_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_duration(kind):
        return pa.int64()
    if (pa.types.is_timestamp(kind) or pa.types.is_time64(kind)) and kind.unit == "ns":
        return pa.string()
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct([field.with_type(_printable_type(field.type)) for field in fields])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_printable_type(kind.value_type)))
    return kind


def _record(
    row: dict[str, Any] | ProblemError, column: str, naming: Naming, options: ReaderOptions
) -> Record:
    if isinstance(row, ProblemError):
        return naming.failure(row.kind, row.message)
    image = row.pop(column)
    key = row.get(options.key_field) if options.key_field else None
    metadata = {name: jsonable(value) for name, value in row.items()}
    known: dict[str, Any] = {"key": None if key is None else str(jsonable(key))}
    if isinstance(image, dict):
        path = image.get("path")
        image = image["bytes"]
        if path:
            metadata[f"{column}.path"] = jsonable(path)
    else:
        path = None
    known["text"], known["language"] = take_text(metadata, options)
    known["metadata"] = metadata
    try:
        if image is None:
            known["uri"], image = _file_of(naming.shard, path, options)
        if len(image) > options.max_record_bytes:
            limit = options.max_record_bytes
            raise ProblemError("too_large_bytes", f"the image is larger than {limit} bytes")
    except ProblemError as problem:
        return naming.failure(problem.kind, problem.message, **known)
    return naming.record(image, **known)


def _file_of(shard: str, path: str | None, options: ReaderOptions) -> tuple[str, bytes]:
    """The image that a row only names, and its URI.

    A shard may have come from anyone: only what lies in its own folder is read for it.
    """
    if not path:
        raise ProblemError("no_image", "the row's image is null")
    if "://" in path or path.startswith("/") or ".." in posixpath.normpath(path).split("/"):
        raise ProblemError("unsafe_path", "the row names a file outside the shard's folder")
    uri = beside(shard, path)
    return uri, fetch(uri, options.max_record_bytes)
