"""Loose image files, with ``.txt`` and ``.json`` files of the same stem as text and metadata."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from transforms.readers.naming import Naming
from transforms.readers.options import ReaderOptions
from transforms.readers.problem import ProblemError
from transforms.readers.streams import fetch
from transforms.readers.values import as_text, properties, take
from transforms.record import Record
from transforms.unit import Unit

SIDECARS = (".json", ".txt")


def read(unit: Unit, options: ReaderOptions) -> Iterator[Record]:
    """The unit's images in order; see `transforms.readers.read`.

    An image is a shard of its own, so that its id doesn't hang on the group it is read in.
    """
    there = set(unit.files)
    images = [uri for uri in unit.files if not uri.endswith(SIDECARS)]
    for index, uri in enumerate(images):
        yield _record(Naming(uri, index), uri, there, options)


def _record(naming: Naming, uri: str, there: set[str], options: ReaderOptions) -> Record:
    known: dict[str, Any] = {"key": uri}
    try:
        known |= _described(posixpath.splitext(uri)[0], there, options)
        return naming.record(fetch(uri, options.max_record_bytes), **known)
    except ProblemError as problem:
        return naming.failure(problem.kind, problem.message, **known)


def _described(stem: str, there: set[str], options: ReaderOptions) -> dict[str, Any]:
    """Text, language and metadata from the files beside an image."""
    metadata: dict[str, Any] = {}
    if f"{stem}.json" in there:
        try:
            metadata = properties(fetch(f"{stem}.json", options.max_record_bytes))
        except (ValueError, RecursionError):
            raise ProblemError("bad_json", "the .json file beside it isn't valid JSON") from None
    text = None
    if f"{stem}.txt" in there and options.text_field in (None, "txt"):
        text = as_text(fetch(f"{stem}.txt", options.max_record_bytes)) or None
    if text is None:
        text = take(metadata, options.text_fields())
    return {
        "text": text,
        "language": take(metadata, options.language_fields()),
        "metadata": metadata,
    }
