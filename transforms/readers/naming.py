"""Ids and positions for the records of one unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transforms.readers.values import clean
from transforms.record import Record, Source, record_id


class Naming:
    """Makes records in the order of their shard, and notices a key that comes again.

    positional: a record's position is its key, as the format has no names. Otherwise ``#`` and its
        position stand for a key that it lacks, and keys are remembered: some 100 bytes a record.
    """

    def __init__(self, shard: str, first_index: int = 0, *, positional: bool = False):
        self.shard = shard
        self.index = first_index
        self._positional = positional
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
        """The shard's next record."""
        shard = self.shard
        if self._positional:
            key = str(self.index)
            name, duplicate_of = record_id(shard, key), None
        else:
            key = key or f"#{self.index}"
            name, duplicate_of = self._identify(key)
        source = Source(clean(uri or shard), clean(shard), self.index, clean(key))
        self.index += 1
        return Record(
            name, source, encoded, text, language, metadata or {}, duplicate_of=duplicate_of
        )

    def failure(self, kind: str, message: str, **known: Any) -> Record:
        """The shard's next record, whose bytes could not be had."""
        return self.record(None, **known).failed("read", kind, message)

    def _identify(self, key: str) -> tuple[str, str | None]:
        first = record_id(self.shard, key)
        number = int(first, 16)
        if number not in self._seen:
            self._seen.add(number)
            return first, None
        self._repeats[key] = self._repeats.get(key, 0) + 1
        return record_id(self.shard, key, self._repeats[key]), first
