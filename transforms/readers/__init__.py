"""Readers: the records of one unit of work, in order, in constant memory, nothing left out.

Every record found gives one `Record`; where its bytes can't be had, `Record.error` says why. A
shard damaged midway gives what is readable, then one failed record that stands for the rest. A
shard that can't be opened at all raises `transforms.errors.UnitError`.
"""

from __future__ import annotations

from collections.abc import Iterator

from transforms.readers import webdataset
from transforms.readers.options import ReaderOptions
from transforms.record import Record
from transforms.unit import Unit

_FORMATS = {
    "webdataset": webdataset,
}


def read(unit: Unit, options: ReaderOptions) -> Iterator[Record]:
    """The unit's records; raises UnitError while they are read, not before."""
    return _FORMATS[unit.format].read(unit, options)


__all__ = ["ReaderOptions", "read"]
