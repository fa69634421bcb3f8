"""Files on any Beam filesystem, written so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from apache_beam.io.filesystem import CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from transforms.errors import WorkError
from transforms.filesystems import filesystem, naming_the_remedy

TEMPORARY = "_tmp"


def is_local(path: str) -> bool:
    """True for a path of this machine, False for ``gs://`` and the like."""
    return FileSystems.get_scheme(path) is None


def join(folder: str, *names: str) -> str:
    """A path below `folder`, on whatever filesystem that is."""
    return (os.path if is_local(folder) else posixpath).join(folder, *names)


def open_binary(path: str) -> BinaryIO:
    """The file's bytes as they are stored: nothing is decompressed for its suffix's sake."""
    if is_local(path):
        return open(path, "rb")
    with naming_the_remedy(path):
        return filesystem(path).open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def glob(pattern: str) -> list[str]:
    """Paths that match, sorted; a pattern without wildcards is a path that may exist."""
    return sorted(metadata.path for metadata in _match(pattern))


def _match(pattern: str) -> list[FileMetadata]:
    with naming_the_remedy(pattern):
        (match,) = filesystem(pattern).match([pattern])
    return match.metadata_list


def exists(path: str) -> bool:
    with naming_the_remedy(path):
        return filesystem(path).exists(path)


def read_bytes(path: str) -> bytes:
    """A whole file. Raises WorkError where the store fails, FileNotFoundError on this machine."""
    with naming_the_remedy(path), open_binary(path) as file:
        return file.read()


def read_json(path: str) -> Any:
    """Parsed JSON of a file.

    Raises:
        WorkError: it isn't JSON; names the file.
    """
    data = read_bytes(path)
    try:
        return json.loads(data)
    except ValueError as error:
        raise WorkError(f"{path}: not valid JSON ({error}); restore it from a copy") from error


def read_each_json(paths: Iterable[str]) -> list[Any]:
    """Parsed JSON of several files, in their order; raises as `read_json` does.

    An object store answers each small read in tens of milliseconds, so they are overlapped.
    """
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(read_json, paths))


def list_files(folder: str, suffix: str) -> dict[str, int]:
    """Base name to size in bytes of the files in a folder; empty where there is no such folder."""
    if is_local(folder) and not os.path.isdir(folder):
        return {}
    return {
        posixpath.basename(m.path.replace(os.sep, "/")): m.size_in_bytes
        for m in _match(join(folder, "*" + suffix))
    }


def list_times(folder: str) -> dict[str, float | None]:
    """Base name to the time at which the file was written, in seconds, by the store's own clock.

    None for each file of a store that tells no times; empty where there is no such folder.
    """
    if is_local(folder) and not os.path.isdir(folder):
        return {}
    return {
        posixpath.basename(m.path.replace(os.sep, "/")): m.last_updated_in_seconds or None
        for m in _match(join(folder, "*"))
    }


def delete(paths: list[str]) -> None:
    """Remove files that may already be gone."""
    present = [path for path in paths if _deletes_what_is_gone(path) or exists(path)]
    if present:
        with naming_the_remedy(present[0]):
            filesystem(present[0]).delete(present)


def remove(path: str) -> None:
    """Remove a file that somebody else may remove at the same moment."""
    try:
        with naming_the_remedy(path):
            filesystem(path).delete([path])
    except Exception:
        if exists(path):
            raise


def _deletes_what_is_gone(path: str) -> bool:
    """Whether the store takes it well when it is told to delete what isn't there."""
    return FileSystems.get_scheme(path) in ("s3", "gs")


def write_atomically(path: str, root: str, write: Callable[[BinaryIO], object]) -> None:
    """Write a file that appears whole under its name, or not at all.

    The bytes go to a temporary file below `root` (the output folder), which is then renamed: a
    process killed at any moment leaves the old file or the new one.

    Raises:
        WorkError: the disk is full or may not be written, or the store fails; names the file and
            the remedy.
    """
    temporary = join(root, TEMPORARY, f"{posixpath.basename(path)}.{uuid.uuid4().hex}")
    with naming_the_remedy(path):
        if is_local(path):
            _write_local(path, temporary, write)
        else:
            _write_remote(path, temporary, write)


def _write_local(path: str, temporary: str, write: Callable[[BinaryIO], object]) -> None:
    os.makedirs(os.path.dirname(temporary), exist_ok=True)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise
    _sync_folder(os.path.dirname(path))


def _sync_folder(folder: str) -> None:
    """Make a rename survive a power cut, where the system lets a folder be synced."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_remote(path: str, temporary: str, write: Callable[[BinaryIO], object]) -> None:
    try:
        store = filesystem(path)
        with store.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED) as file:
            write(file)
        store.rename([temporary], [path])
    except BaseException:
        with contextlib.suppress(Exception):
            delete([temporary])
        raise


def write_json(path: str, root: str, values: Any) -> None:
    """Write JSON atomically, readable by people."""
    data = (json.dumps(values, indent=1, ensure_ascii=False) + "\n").encode()
    write_atomically(path, root, lambda file: file.write(data))


def remove_temporary(root: str, older_than: float = 3600) -> None:
    """Remove what killed attempts left below the output folder, unless it is younger (seconds).

    A younger one may belong to another run that is writing now.
    """
    folder = join(root, TEMPORARY)
    if is_local(folder) and not os.path.isdir(folder):
        return
    before = time.time() - older_than
    delete([m.path for m in _match(join(folder, "*")) if m.last_updated_in_seconds < before])
