"""What travels through the pipeline: one record for every image that a shard holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Source:
    """Where a record came from.

    uri: the image's own file where it has one, else the shard.
    shard: the file or list that was read.
    index: position in the shard, from 0, counting every record; of a loose file, in its group.
    key: the record's name within its shard: unique there unless the shard repeats itself.
    """

    uri: str
    shard: str
    index: int
    key: str


@dataclass(frozen=True, slots=True)
class RecordError:
    """Why one record has no picture or no annotation.

    stage: read, decode, screen, prompt or annotate.
    kind: a stable word to group by, e.g. ``truncated_image``.
    message: for people; never holds text of the record.
    """

    stage: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Record:
    """One image as its shard holds it.

    encoded: the file's bytes; None where the reader could not get them, and then `error` says why.
    metadata: what else the shard says of the image, JSON-serialisable, carried through untouched.
    duplicate_of: id of the unit's earlier record with the same key, where there is one.
    """

    id: str
    source: Source
    encoded: bytes | None
    text: str | None = None
    language: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    error: RecordError | None = None
    duplicate_of: str | None = None

    def failed(self, stage: str, kind: str, message: str) -> Record:
        """The same record without its bytes, and with the reason."""
        return replace(self, encoded=None, error=RecordError(stage, kind, message))


def record_id(shard: str, key: str, repeat: int = 0) -> str:
    """32 hexadecimal digits (128 bits of SHA-256) that name a record in every run.

    Two records of a shard with one key are told apart by `repeat`, which counts the earlier ones.
    """
    parts = (shard, key) if repeat == 0 else (shard, key, str(repeat))
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
