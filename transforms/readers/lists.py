"""Lists of image URIs: CSV, TSV or JSON lines, plain or compressed.

A unit is a range of rows. Planning passes over the list once and notes where each range begins and
a digest of its bytes, so that a list which grows at its end leaves the earlier ranges as they were.
Rows are counted from 0, without the header and empty lines.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from transforms.errors import UnitError, UserError
from transforms.readers.naming import Naming
from transforms.readers.options import ReaderOptions
from transforms.readers.problem import ProblemError
from transforms.readers.streams import ShardStream, beside, fetch, open_shard
from transforms.readers.values import clean, jsonable, take_text
from transforms.record import Record
from transforms.unit import Unit

URI_FIELDS = ("uri", "url", "path", "image", "file", "file_name", "filename")
_LOOKED_AT = 20
_LONGEST_LINE = 64 << 20


@dataclass(frozen=True)
class _Row:
    """One row as it lies in the list.

    data: its bytes, line end and all. cells: what CSV makes of them.
    """

    data: bytes
    cells: list[str] | ProblemError | None = None

    @property
    def is_blank(self) -> bool:
        return not self.data.strip(b" \r\n")


@dataclass(frozen=True)
class _Header:
    """A CSV's first row, and its bytes with the empty lines before it. JSON lines have neither."""

    columns: list[str]
    data: bytes


def check(uri: str, options: ReaderOptions) -> None:
    """Raises UserError if a column that the options name, or the URI's, isn't there."""
    with open_shard(uri) as stream:
        if stream.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise UserError(f"{uri}: is UTF-16 text. Save it as UTF-8")
        there = set(_header(stream, uri).columns)
        if not _delimiter(uri):
            for row in islice(_rows(stream, uri), _LOOKED_AT):
                values = _values(row, [])
                there |= set() if isinstance(values, ProblemError) else set(values)
    if not there:
        return
    named = (options.image_field, options.text_field, options.language_field, options.key_field)
    missing = [name for name in named if name and name not in there]
    if not options.image_field and not there.intersection(URI_FIELDS):
        missing.append(" or ".join(URI_FIELDS))
    if missing:
        raise UserError(
            f"{uri}: no column {', '.join(missing)}; it has {', '.join(sorted(there))}. "
            "Name the images' with --image-field"
        )


def plan(unit: Unit, options: ReaderOptions) -> list[Unit]:
    """The list as ranges of `lines_per_unit` rows; one unit where keys come from a field.

    A list that can't be read comes as it is: reading it then raises UnitError.
    """
    if options.key_field:
        return [unit]
    try:
        with open_shard(unit.uri) as stream:
            return list(_ranges(unit, stream, options.lines_per_unit))
    except UnitError:
        return [unit]


def read(unit: Unit, options: ReaderOptions) -> Iterator[Record]:
    """The records of the unit's rows in order; see `transforms.readers.read`."""
    naming = Naming(unit.uri, unit.first_index, positional=options.key_field is None)
    with open_shard(unit.uri) as stream:
        header = _header(stream, unit.uri)
    stop = sys.maxsize if unit.stop is None else unit.stop
    with open_shard(unit.uri, offset=unit.offset or len(header.data)) as stream:
        for row in _rows(stream, unit.uri):
            if naming.index == stop:
                return
            yield _record(_values(row, header.columns), naming, options)
        if stream.damage and naming.index < stop:
            yield naming.failure("truncated_shard", f"{stream.damage}; what follows is lost")


def _ranges(unit: Unit, stream: ShardStream, count: int) -> Iterator[Unit]:
    """Ranges of `count` rows; the last one's nominal end leaves room for a list to grow."""
    header = _header(stream, unit.uri)
    start, offset = 0, len(header.data)
    more = True
    while more:
        digest, size, held = hashlib.sha256(header.data), 0, 0
        for row in islice(_rows(stream, unit.uri), count):
            digest.update(row.data)
            size += len(row.data)
            held += 1
        at_end = not stream.peek(1)
        lost = at_end and stream.damage is not None and held < count
        more = not at_end or (stream.damage is not None and not lost)
        if held or lost or start == 0:
            yield replace(
                unit,
                start=start,
                stop=start + count,
                offset=offset,
                first_index=start,
                records=held + lost,
                size=size,
                version=digest.hexdigest()[:32],
            )
        start, offset = start + count, offset + size


def _delimiter(uri: str) -> str | None:
    """What parts the cells, by the list's name; None for JSON lines."""
    match = re.search(r"\.(csv|tsv)(\.[a-z0-9]+)?$", uri, re.IGNORECASE)
    return {"csv": ",", "tsv": "\t"}[match[1].lower()] if match else None


def _header(stream: ShardStream, uri: str) -> _Header:
    """Raises UnitError where a CSV has none, UserError where two columns have one name."""
    if not _delimiter(uri):
        return _Header([], b"")
    for row in _rows(stream, uri):
        if not isinstance(row.cells, list):
            break
        columns = [clean(cell).strip() for cell in row.cells]
        twice = sorted({name for name in columns if columns.count(name) > 1})
        if twice:
            raise UserError(f"{uri}: has the column {', '.join(twice)} twice. Rename one")
        return _Header(columns, row.data)
    raise UnitError(uri, "has no header line", "Begin it with the columns' names")


def _rows(stream: ShardStream, uri: str) -> Iterator[_Row]:
    """The rows that follow, each with the empty lines before it; nothing is read ahead."""
    delimiter = _delimiter(uri)
    blank = b""
    for row in _csv_rows(stream, uri, delimiter) if delimiter else map(_Row, _lines(stream, uri)):
        if row.is_blank:
            blank += row.data
        else:
            yield replace(row, data=blank + row.data)
            blank = b""


def _csv_rows(stream: ShardStream, uri: str, delimiter: str) -> Iterator[_Row]:
    """The csv module's rows, and for each the lines that it took: a quoted cell may span some."""
    taken: list[bytes] = []

    def lines() -> Iterator[str]:
        for line in _lines(stream, uri):
            taken.append(line)
            yield line.decode("utf-8", "surrogateescape").removeprefix("\ufeff")

    reader = csv.reader(lines(), delimiter=delimiter)
    while True:
        cells: list[str] | ProblemError
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            cells = ProblemError("bad_line", "the line isn't CSV, or a cell of it is too long")
        yield _Row(b"".join(taken), cells)
        taken.clear()


def _lines(stream: ShardStream, uri: str) -> Iterator[bytes]:
    while line := stream.readline(_LONGEST_LINE):
        if line.endswith(b"\n"):
            yield line
        elif len(line) == _LONGEST_LINE:
            raise UnitError(uri, f"has a line of over {_LONGEST_LINE} bytes", "Is it a list?")
        elif not stream.damage:  # else it is a piece of a line, and part of what is lost
            yield line


def _values(row: _Row, columns: list[str]) -> dict[str, Any] | ProblemError:
    match row.cells:
        case ProblemError():
            return row.cells
        case None:
            return _parsed(row.data)
    if len(row.cells) != len(columns):
        message = f"the row has {len(row.cells)} cells, the header {len(columns)}"
        return ProblemError("bad_line", message)
    return dict(zip(columns, row.cells, strict=True))


def _parsed(line: bytes) -> dict[str, Any] | ProblemError:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return ProblemError("bad_line", "the line isn't valid JSON")
    return values if isinstance(values, dict) else ProblemError("bad_line", "no JSON object")


def _record(
    values: dict[str, Any] | ProblemError, naming: Naming, options: ReaderOptions
) -> Record:
    if isinstance(values, ProblemError):
        return naming.failure(values.kind, values.message)
    key = values.get(options.key_field) if options.key_field else None
    fields = (options.image_field,) if options.image_field else URI_FIELDS
    field = next((name for name in fields if name in values), None)
    location = values.pop(field, None) if field else None
    metadata = {clean(name): jsonable(value) for name, value in values.items()}
    known: dict[str, Any] = {"key": None if key is None else str(jsonable(key))}
    known["text"], known["language"] = take_text(metadata, options)
    known["metadata"] = metadata
    if not isinstance(location, str) or not location:
        return naming.failure("no_image", "the row names no image", **known)
    uri = beside(naming.shard, location)
    known["uri"] = uri
    try:
        return naming.record(fetch(uri, options.max_record_bytes), **known)
    except ProblemError as problem:
        return naming.failure(problem.kind, problem.message, **known)
