"""The bytes of shards and files, from every Beam filesystem, plain or compressed.

Two things can go wrong and are told apart. Storage that doesn't answer raises `UnitError`: the unit
is read again another time. Data that are damaged end early, and `ShardStream.damage` says how: what
came before is good and is used.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import posixpath
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from apache_beam.io.filesystem import CompressionTypes

from transforms.errors import UnitError
from transforms.filesystems import filesystem, said
from transforms.readers.problem import ProblemError

CHUNK = 1 << 20
_DECOMPRESSORS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda raw: gzip.GzipFile(fileobj=raw, mode="rb"),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_RETRY = "Run the same command again to go on with it"


class _Storage(io.RawIOBase):
    """An open file whose failures name it."""

    damage: str | None = None

    def __init__(self, handle: Any, uri: str):
        self._handle = handle
        self._uri = uri

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._handle.read(len(buffer))
        except Exception as error:
            raise UnitError(self._uri, f"reading failed ({said(error)})", _RETRY) from error
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._handle.seek(offset, whence)
        return self._handle.tell()

    def tell(self) -> int:
        return self._handle.tell()

    def close(self) -> None:
        if not self.closed:
            self._handle.close()
        super().close()


class _Decompressed(io.RawIOBase):
    """A decompressor that ends, instead of raising, where its data are damaged."""

    def __init__(self, inner: Any, outer: io.BufferedReader):
        self._inner = inner
        self._outer = outer
        self.damage: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.damage is not None:
            return 0
        try:
            data = self._inner.read1(len(buffer))
        except EOFError:
            self.damage = "the compressed data are cut"
            return 0
        except (OSError, zlib.error, lzma.LZMAError, ValueError):
            self.damage = "the compressed data are corrupt"
            return 0
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._outer.close()
        super().close()


class ShardStream(io.BufferedReader):
    """Buffered bytes, decompressed; `damage` says why they ended early, where they did."""

    def __init__(self, raw: _Storage | _Decompressed):
        super().__init__(raw, CHUNK)
        self._source = raw

    @property
    def damage(self) -> str | None:
        return self._source.damage

    def skip(self, count: int) -> Iterator[bytes]:
        """Passes over `count` bytes, or to the end, a chunk at a time."""
        while count > 0 and (chunk := self.read(min(count, CHUNK))):
            count -= len(chunk)
            yield chunk


def absolute(uri: str) -> str:
    """One spelling for a file: local paths become absolute, other URIs stay as they are."""
    if uri.startswith("file://"):
        uri = uri.removeprefix("file://")
    return uri if "://" in uri else os.path.abspath(os.path.expanduser(uri))


def beside(uri: str, name: str) -> str:
    """`name` as meant in the file `uri`: relative to its folder unless it is absolute."""
    if "://" in name or name.startswith("/"):
        return absolute(name)
    return absolute(posixpath.join(posixpath.dirname(uri), name))


def open_file(uri: str) -> ShardStream:
    """The bytes of a shard as they lie there, seekable. Raises UnitError if it can't be opened."""
    try:
        handle = filesystem(uri).open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
    except Exception as error:
        problem = f"can't be opened ({said(error)})"
        raise UnitError(uri, problem, "Check that it is there and may be read") from error
    return ShardStream(_Storage(handle, uri))


def open_shard(
    uri: str, is_plain: Callable[[bytes], bool] = lambda head: False, offset: int = 0
) -> ShardStream:
    """The shard's bytes, decompressed where they begin as gzip, bzip2 or xz do.

    is_plain: says of the first bytes that they only look compressed.
    offset: where to begin, in decompressed bytes; compressed ones before it are read through.
    """
    plain = open_file(uri)
    head = plain.peek(64)[:64]
    if not head and uri.endswith((".gz", ".tgz", ".bz2", ".xz")):
        plain.close()
        raise UnitError(uri, "is empty (0 bytes)", "Make it again, or leave it out")
    for magic, decompressor in _DECOMPRESSORS.items():
        if head.startswith(magic) and not is_plain(head):
            stream = ShardStream(_Decompressed(decompressor(plain), plain))
            for _ in stream.skip(offset):
                pass
            return stream
    plain.seek(offset)
    return plain


def fetch(uri: str, limit: int) -> bytes:
    """A whole file of at most `limit` bytes.

    Raises ProblemError, with kind unsupported_scheme, missing_file, unreadable_file or
    too_large_bytes, where that is the file's own trouble; UnitError where storage fails.
    """
    try:
        store = filesystem(uri)
    except ValueError:
        scheme = uri.split("://")[0]
        message = f"{scheme}:// isn't a filesystem that can be read; copy the file to one first"
        raise ProblemError("unsupported_scheme", message) from None
    try:
        with store.open(uri, compression_type=CompressionTypes.UNCOMPRESSED) as handle:
            data = bytearray()
            while len(data) <= limit and (chunk := handle.read(limit + 1 - len(data))):
                data += chunk  # a store may give less than it is asked for
    except (FileNotFoundError, NotADirectoryError):
        raise ProblemError("missing_file", "the file doesn't exist") from None
    except Exception as error:
        if "://" not in uri:
            message = f"the file can't be read ({type(error).__name__})"
            raise ProblemError("unreadable_file", message) from None
        if not _exists(store, uri):
            raise ProblemError("missing_file", "the file doesn't exist") from None
        raise UnitError(uri, f"reading failed ({said(error)})", _RETRY) from error
    if len(data) > limit:
        raise ProblemError("too_large_bytes", f"the file is larger than {limit} bytes")
    return bytes(data)


def _exists(store: Any, uri: str) -> bool:
    try:
        return store.exists(uri)
    except Exception as error:
        raise UnitError(uri, f"storage doesn't answer ({said(error)})", _RETRY) from error
