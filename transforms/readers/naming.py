"""Ids and positions for the records of one unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transforms.readers.values import clean
from transforms.record import Record, Source, record_id


class Naming:
    """Makes records in the order of their shard, and notices a key that comes again.

    Memory: some hundred bytes a record, where keys may repeat.
    """

    def __init__(self, shard: str, first_index: int = 0):
        self.shard = shard
        self.index = first_index
        self._seen: set[int] = set()
        self._repeats: dict[str, int] = {}

    def record(
        self,
        encoded: bytes | None,
        *,
        key: str | None = None,
        uri: str | None = None,
        text: str | None = None,
        language: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Record:
        """The shard's next record; its position is its key unless one is given."""
        shard = self.shard
        duplicate_of = None
        if key is None:
            key = str(self.index)
            name = record_id(shard, key)
        else:
            name, duplicate_of = self._identify(key)
        source = Source(clean(uri or shard), clean(shard), self.index, clean(key))
        self.index += 1
        return Record(
            name, source, encoded, text, language, metadata or {}, duplicate_of=duplicate_of
        )

    def failure(self, kind: str, message: str, *, key: str | None = None, **known: Any) -> Record:
        """The shard's next record, whose bytes could not be had."""
        return self.record(None, key=key, **known).failed("read", kind, message)

    def rest(self, kind: str, message: str) -> Record:
        """One record that stands for all that can't be read after the last one."""
        return self.failure(kind, message, key=f"#{self.index}")

    def _identify(self, key: str) -> tuple[str, str | None]:
        first = record_id(self.shard, key)
        number = int(first, 16)
        if number not in self._seen:
            self._seen.add(number)
            return first, None
        self._repeats[key] = self._repeats.get(key, 0) + 1
        return record_id(self.shard, key, self._repeats[key]), first
