"""Units of work: what is read, annotated and committed as a whole.

A unit is a shard, a range of one (Parquet row groups, lines of a list) or a group of loose files.
Its identity says which part of the corpus it is; its version says which edition of that part.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Unit:
    """A descriptor, small enough to be shuffled.

    format: webdataset, tfrecord, parquet, files or list.
    uri: the shard or list; for loose files the first of them.
    start, stop: range of row groups or lines; stop is None for the whole shard.
    files: the loose files of a group, in order.
    offset: byte at which line `start` of a list begins, so that a range is read without the rest.
    first_index: index in the shard of the unit's first record.
    records: how many records it holds, where that is known without reading it.
    size: bytes to be read, for planning and progress.
    version: edition of the input: sizes and modification times, or a store's checksum.
    """

    format: str
    uri: str
    start: int = 0
    stop: int | None = None
    files: tuple[str, ...] = ()
    offset: int = 0
    first_index: int = 0
    records: int | None = None
    size: int = 0
    version: str = ""

    def name(self, fingerprint: str) -> str:
        """File name, without suffix, of the unit's commit under a configuration.

        A function of the unit's identity and the configuration alone, so that two attempts at one
        unit write the same name; the stem is for people.
        """
        identity = json.dumps(
            [self.format, self.uri, self.start, self.stop, self.files, fingerprint],
            ensure_ascii=True,
        )
        digest = hashlib.sha256(identity.encode()).hexdigest()[:16]
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", posixpath.basename(self.uri))[:60].lstrip(".")
        span = "" if self.stop is None else f"-{self.start}-{self.stop}"
        return f"{stem or 'unit'}{span}-{digest}"

    def to_json(self) -> dict[str, Any]:
        """Plain values for the commit record."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Unit:
        return cls(**{**values, "files": tuple(values["files"])})
