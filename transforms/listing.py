"""Files that globs and folders stand for, on every Beam filesystem."""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from transforms.errors import UserError
from transforms.readers.streams import absolute


@dataclass(frozen=True, order=True)
class Listed:
    """A file found. version: its size and modification time, or the store's checksum."""

    uri: str
    size: int
    version: str


def expand(pattern: str) -> list[Listed]:
    """What a path, glob or folder stands for, sorted by URI; a folder for all that it holds.

    ``*`` stops at a slash, ``**`` doesn't. Hidden files and folders, whose names begin with a dot,
    are left out unless the pattern names them. Raises UserError where there is nothing.
    """
    pattern = absolute(pattern)
    found = _match(pattern)
    if not found:
        found = _match(pattern.rstrip("/") + "/**")
        if not found:
            raise UserError(f"nothing matches {pattern}. {_near(pattern)}")
    base = pattern if len(found) == 1 else _folder(pattern)
    return sorted(file for file in found if not _is_hidden(file.uri, base))


def kinds(files: Iterable[Listed]) -> str:
    """For messages: ``3 .tar, 1 .md``."""
    counts = Counter(posixpath.splitext(file.uri)[1] or "without extension" for file in files)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common(8))


def _match(pattern: str) -> list[Listed]:
    if "://" not in pattern and os.path.isdir(pattern):
        return []
    if "://" not in pattern and os.path.isfile(pattern):  # also where its name holds a bracket
        status = os.stat(pattern)
        return [Listed(pattern, status.st_size, _version(pattern, status.st_size, status.st_mtime))]
    try:
        (result,) = FileSystems.match([pattern])
    except ValueError as error:
        raise UserError(f"{pattern}: {error}") from None
    except BeamIOError as error:
        raise UserError(f"{pattern} can't be listed: {error}") from None
    return [_listed(each) for each in result.metadata_list if not each.path.endswith("/")]


def _listed(metadata: Any) -> Listed:
    path, size = metadata.path, metadata.size_in_bytes
    return Listed(path, size, _version(path, size, metadata.last_updated_in_seconds))


def _version(path: str, size: int, updated: float) -> str:
    """Two editions of a file differ in it; a store that tells no time is asked for a checksum."""
    return f"{size}-{updated:.6f}" if updated else f"{size}-{FileSystems.checksum(path)}"


def _folder(pattern: str) -> str:
    """The part of a pattern before its first wildcard's name."""
    literal = re.split(r"[*?[]", pattern)[0]
    return literal if literal == pattern else literal.rpartition("/")[0]


def _is_hidden(uri: str, base: str) -> bool:
    inner = uri[len(base) :]
    return any(part.startswith(".") for part in inner.split("/"))


def _near(pattern: str) -> str:
    """What is where a pattern looked, for the message that it found nothing."""
    folder = _folder(pattern)
    if folder == pattern:
        folder = posixpath.dirname(pattern)
    while folder.rstrip("/") and not folder.endswith(":/"):
        files = list(_visible(folder))
        if files:
            return f"{folder} holds {kinds(files)}"
        if "://" not in folder and os.path.isdir(folder):
            inner = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
            folders = f"only the folders {', '.join(inner[:8])}" if inner else "nothing"
            return f"{folder} holds {folders}"
        folder = posixpath.dirname(folder.rstrip("/"))
    return "No folder on that path exists"


def _visible(folder: str) -> Iterator[Listed]:
    return (file for file in _match(f"{folder}/*") if not _is_hidden(file.uri, folder))
