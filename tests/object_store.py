"""A Beam filesystem without folders, as object stores are, held in memory: ``store://name``."""

from __future__ import annotations

import io
from typing import Any

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem

SCHEME = "store"
objects: dict[str, bytes] = {}
failing: set[str] = set()
"""URIs whose reading fails after a few bytes, as when a connection is lost."""


class _LostConnection(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= 64:
            raise ConnectionResetError("connection lost")
        return super().read(min(64, 64 if size in (None, -1) else size or 0))


class ObjectStore(FileSystem):
    """Knows no modification times, so versions rest on checksums."""

    @classmethod
    def scheme(cls) -> str:
        return SCHEME

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        pass

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Any:
        for uri, data in objects.items():
            if uri.startswith(dir_or_prefix):
                yield FileMetadata(uri, len(data))

    def open(
        self,
        path: str,
        mime_type: str = "application/octet-stream",
        compression_type: str = CompressionTypes.AUTO,
    ) -> Any:
        if path not in objects:
            raise BeamIOError(f"no such object: {path}")
        return (_LostConnection if path in failing else io.BytesIO)(objects[path])

    def exists(self, path: str) -> bool:
        return path in objects

    def metadata(self, path: str) -> FileMetadata:
        return FileMetadata(path, len(objects[path]))

    def size(self, path: str) -> int:
        return len(objects[path])

    def last_updated(self, path: str) -> float:
        raise NotImplementedError

    def checksum(self, path: str) -> str:
        return str(hash(objects[path]))

    def create(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    copy = rename = delete = create
