"""Readers: the records of one unit of work, in order, in constant memory, nothing left out.

Every record found gives one `Record`; where its bytes can't be had, `Record.error` says why. A
shard damaged midway gives what is readable, then one failed record that stands for the rest. A
shard that can't be opened at all raises `transforms.errors.UnitError`.
"""

from __future__ import annotations

from collections.abc import Iterator

from transforms.readers import files, lists, parquet, tfrecord, webdataset
from transforms.readers.options import ReaderOptions
from transforms.record import Record
from transforms.unit import Unit

_READERS = {
    "webdataset": webdataset.read,
    "tfrecord": tfrecord.read,
    "parquet": parquet.read,
    "list": lists.read,
    "files": files.read,
}


def read(unit: Unit, options: ReaderOptions) -> Iterator[Record]:
    """The unit's records; raises UnitError while they are read, not before."""
    return _READERS[unit.format](unit, options)


__all__ = ["ReaderOptions", "read"]
