"""Files that globs and folders stand for, on every Beam filesystem."""

from __future__ import annotations

import glob
import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from apache_beam.io.filesystem import BeamIOError

from transforms.errors import NothingMatchesError, UserError
from transforms.filesystems import filesystem, said
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
    is_folder = pattern.endswith("/")
    pattern = absolute(pattern)
    found = _stored(pattern, is_folder) if "://" in pattern else _local(pattern)
    if not found:
        near = _near_stored(pattern) if "://" in pattern else _near_local(pattern)
        raise NothingMatchesError(f"nothing matches {pattern}. {near}")
    return sorted(found)


def kinds(uris: Iterable[str]) -> str:
    """For messages: ``3 .tar, 1 .md``."""
    counts = Counter(posixpath.splitext(uri)[1] or "without extension" for uri in uris)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common(8))


def _local(pattern: str) -> list[Listed]:
    if os.path.isdir(pattern):
        paths = list(_walk(pattern))
    elif os.path.isfile(pattern):  # also where its name holds a bracket
        paths = [pattern]
    else:
        paths = [path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path)]
    return [_on_disk(path) for path in paths]


def _walk(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (os.path.join(parent, name) for name in names if not name.startswith("."))
        yield from filter(os.path.isfile, paths)


def _on_disk(path: str) -> Listed:
    status = os.stat(path)
    return Listed(path, status.st_size, f"{status.st_size}-{status.st_mtime_ns}")


def _stored(pattern: str, is_folder: bool) -> list[Listed]:
    """Files of a store; where none is of that name, all whose names go on with a slash."""
    folder = pattern.rstrip("/")
    is_bucket = folder.count("/") == 2
    found = [] if is_folder or is_bucket else _match(pattern)
    base = _folder(pattern) if found else folder
    found = found or _match(f"{folder}/**")
    return [
        _in_store(file)
        for file in found
        if file.path == pattern or not _is_hidden(file.path.removeprefix(base))
    ]


def _match(pattern: str, limit: int | None = None) -> list[Any]:
    try:
        (result,) = filesystem(pattern).match([pattern], [limit])
    except ValueError as error:
        raise UserError(f"{pattern}: {error}") from None
    except BeamIOError as error:
        raise UserError(f"{pattern} can't be listed: {said(error)}") from None
    # Stores mark what they show as folders by empty objects whose names end in a slash.
    return [file for file in result.metadata_list if not file.path.endswith("/")]


def _in_store(file: Any) -> Listed:
    edition = file.last_updated_in_seconds or filesystem(file.path).checksum(file.path)
    return Listed(file.path, file.size_in_bytes, f"{file.size_in_bytes}-{edition}")


def _is_hidden(inner: str) -> bool:
    return any(part.startswith(".") for part in inner.split("/"))


def _folder(pattern: str) -> str:
    """The folder in which a pattern looks: what comes before the name that has a wildcard."""
    return re.split(r"[*?[]", pattern)[0].rpartition("/")[0]


def _near_stored(pattern: str) -> str:
    """What a store has where a pattern looked, for the message that it found nothing."""
    folder = _folder(pattern)
    files = [file.path for file in _match(f"{folder}/**", limit=100)]
    return f"{folder} holds {kinds(files)}" if files else f"{folder} holds nothing"


def _near_local(pattern: str) -> str:
    if os.path.isdir(pattern):
        return "The folder holds no file"
    folder = _folder(pattern) or "/"
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    inside = kinds(entry.path for entry in entries if entry.is_file())
    folders = sorted(entry.name for entry in entries if entry.is_dir())[:8]
    if folders:
        inside += f"{' and ' if inside else ''}the folders {', '.join(folders)}"
    return f"{folder} holds {inside or 'nothing'}"
