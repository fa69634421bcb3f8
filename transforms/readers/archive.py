"""The members of a tar, streamed once from its start to its end, and whether it was whole."""

from __future__ import annotations

import hashlib
import lzma
import struct
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

from transforms.errors import UnitError
from transforms.readers.problem import ProblemError
from transforms.readers.streams import CHUNK, open_shard

# What tarfile and the decompressors are seen to raise on damaged bytes. Storage that fails raises
# UnitError, which is none of them.
_DAMAGE = (
    tarfile.TarError,
    EOFError,
    OSError,
    ValueError,
    ArithmeticError,
    LookupError,
    RecursionError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
)


class _Header(tarfile.TarInfo):
    """A header that leaves a word of why it was the last.

    `TarFile.next` takes any bad header after the first for the archive's proper end.
    """

    @classmethod
    def fromtarfile(cls, tarfile_: Any) -> _Header:
        try:
            return super().fromtarfile(tarfile_)  # type: ignore[return-value]
        except tarfile.HeaderError as error:
            tarfile_.last_header = error
            raise


class Archive:
    """A tar read as a stream, plain or compressed, in constant memory.

    Nothing is ever extracted: names are labels. Use as a context manager; `members` ends where
    the archive does or where it can't be read on, and then `damage` is set.
    """

    def __init__(self, uri: str):
        """Raises UnitError where this is no tar, or can't be opened."""
        self.uri = uri
        self.damage: ProblemError | None = None
        self._stream = open_shard(uri)
        try:
            self._tar = tarfile.open(fileobj=self._stream, mode="r|", tarinfo=_Header)  # noqa: SIM115
        except _DAMAGE as error:
            self._stream.close()
            problem = (
                self._stream.damage or f"isn't a tar archive, or is cut at its start ({error})"
            )
            raise UnitError(uri, problem, "Make the shard again, or leave it out") from None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()
        self._stream.close()

    def members(self) -> Iterator[tarfile.TarInfo]:
        """Every member but folders, each to be read before the next is asked for."""
        while (member := self._next()) is not None:
            if not member.isdir():
                yield member

    def read(self, member: tarfile.TarInfo) -> bytes:
        """Raises ProblemError, and sets `damage`, where the bytes are cut."""
        return b"".join(self._chunks(member))

    def digest(self, member: tarfile.TarInfo) -> str:
        """SHA-256 of the bytes, which are not held. Raises ProblemError like `read`."""
        digest = hashlib.sha256()
        for chunk in self._chunks(member):
            digest.update(chunk)
        return digest.hexdigest()

    def _next(self) -> tarfile.TarInfo | None:
        if self.damage is not None:
            return None
        try:
            member = self._tar.next()
            self._tar.members = []  # type: ignore[attr-defined]  # else it keeps every header
            if member is None:
                self._check_end()
        except _DAMAGE as error:
            self._damaged(error)
            return None
        return member

    def _chunks(self, member: tarfile.TarInfo) -> Iterator[bytes]:
        try:
            content = self._tar.extractfile(member)
            if content is None:
                raise tarfile.ReadError("a member without bytes")
            while chunk := content.read(CHUNK):
                yield chunk
        except _DAMAGE as error:
            raise self._damaged(error) from None

    def _check_end(self) -> None:
        """Raises ReadError unless the archive ended by its end marker, with nothing after it."""
        last = getattr(self._tar, "last_header", None)
        if not isinstance(last, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"bad header: {last}")
        stream: Any = self._tar.fileobj
        while chunk := stream.read(CHUNK):
            if chunk.count(0) != len(chunk):
                self.damage = ProblemError(
                    "corrupt_shard",
                    "the archive goes on after its end marker; tars that were joined are not read "
                    "past the first",
                )
                return
        if self._stream.damage:
            raise tarfile.ReadError(self._stream.damage)

    def _damaged(self, error: Exception) -> ProblemError:
        cut = self._stream.damage or "the archive is cut or has lost its end marker"
        if self._stream.damage or not self._stream.peek(1):
            self.damage = ProblemError("truncated_shard", f"{cut}; what follows is lost")
        else:
            name = type(error).__name__
            self.damage = ProblemError(
                "corrupt_shard", f"the archive's next header is damaged ({name}); the rest is lost"
            )
        return self.damage
