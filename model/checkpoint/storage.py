"""How a checkpoint's files are reached, on the local disk or on another filesystem."""

from __future__ import annotations

import glob
import io
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, BinaryIO

from model.checkpoint.errors import CheckpointError


@dataclass(frozen=True)
class Storage:
    """Two functions that know a filesystem.

    open: path to a readable, seekable binary file; raises OSError where there is none.
    glob: pattern (or plain path) to the paths that exist; empty where there are none.
    """

    open: Callable[[str], BinaryIO]
    glob: Callable[[str], Sequence[str]]

    def exists(self, path: str) -> bool:
        return bool(self.glob(path))


def _open_local(path: str) -> BinaryIO:
    return open(path, "rb")


LOCAL = Storage(open=_open_local, glob=glob.glob)


def npz_files(path: str, storage: Storage) -> list[str]:
    """The files a `.npz` consists of: itself, or the parts that the largest one is published in.

    path: `NAME.npz`, where `NAME.npz.part*` may stand in its stead, or a pattern of parts.
    """
    found = sorted(storage.glob(path)) or sorted(storage.glob(f"{path}.part*"))
    if not found:
        raise CheckpointError(path, "no such checkpoint; expected a .npz or a Hugging Face folder")
    return found


def open_joined(paths: Sequence[str], storage: Storage) -> BinaryIO:
    """Several files read as one, in the order given."""
    if len(paths) == 1:
        return storage.open(paths[0])
    return io.BufferedReader(Concatenated([storage.open(path) for path in paths]))


class Concatenated(io.RawIOBase):
    """Seekable files, one behind the other. Closes them when closed."""

    def __init__(self, files: Sequence[BinaryIO]):
        self._files = files
        ends = list(accumulate(file.seek(0, io.SEEK_END) for file in files))
        self._starts = [0, *ends[:-1]]
        self._size = ends[-1]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size:
            return 0
        number = bisect_right(self._starts, self._at) - 1
        file = self._files[number]
        file.seek(self._at - self._starts[number])
        piece = file.read(len(buffer))
        if not piece and number + 1 < len(self._files):
            raise OSError(f"part {number + 1} became shorter while it was read")
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
