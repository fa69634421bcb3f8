"""What shards say beside the image, as JSON values that every output can hold."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from typing import Any

from transforms.readers.options import ReaderOptions

KEPT_BYTES = 1 << 20
"""A value longer than this is named by its digest and size instead of being carried along."""


def clean(text: str) -> str:
    r"""Text that UTF-8 can hold: a lone surrogate is spelled out as ``\udc80``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def decoded(data: bytes) -> str:
    r"""Text: UTF-8, other bytes spelled out as ``\xe9``."""
    return data.decode("utf-8", "backslashreplace")


def as_text(data: bytes) -> str:
    """The text of a file of its own, without byte order mark and last line ends."""
    return decoded(data).removeprefix("\ufeff").rstrip("\r\n")


def note(digest: str, size: int) -> dict[str, Any]:
    """What stands for bytes that aren't carried along."""
    return {"sha256": digest, "bytes": size}


def from_bytes(data: bytes) -> Any:
    """UTF-8 as text, other bytes as ``{"base64": …}``, what is too long as its note."""
    if len(data) > KEPT_BYTES:
        return note(hashlib.sha256(data).hexdigest(), len(data))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def jsonable(value: Any) -> Any:
    """A Python value as JSON holds it.

    Dates and times become ISO 8601, decimals their digits. Floats that JSON lacks become the words
    that protobuf's JSON mapping uses: "NaN", "Infinity", "-Infinity".
    """
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else _not_finite(value)
        case str():
            return from_bytes(value.encode("utf-8", "backslashreplace"))
        case bytes() | bytearray() | memoryview():
            return from_bytes(bytes(value))
        case datetime() | date() | time():
            return value.isoformat()
        case Mapping():
            return {clean(str(key)): jsonable(item) for key, item in value.items()}
        case Iterable():
            return [jsonable(item) for item in value]
        case _:
            return clean(str(value))


def properties(data: bytes) -> dict[str, Any]:
    """The properties of a JSON object; any other JSON value under the name ``json``.

    Raises ValueError, or RecursionError, where the bytes aren't JSON.
    """
    value = jsonable(json.loads(data))
    return value if isinstance(value, dict) else {"json": value}


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def take(metadata: dict[str, Any], names: Iterable[str]) -> str | None:
    """Removes the first of the fields that is there, and gives its text.

    A list of texts (several captions) gives its lines; null and empty texts give None. What is
    neither stays where it is.
    """
    for name in names:
        value = metadata.get(name)
        if isinstance(value, str):
            return metadata.pop(name) or None
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            return "\n".join(metadata.pop(name)) or None
    return None


def take_text(metadata: dict[str, Any], options: ReaderOptions) -> tuple[str | None, str | None]:
    """Removes text and language from the metadata."""
    return take(metadata, options.text_fields()), take(metadata, options.language_fields())
