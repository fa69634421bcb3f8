"""Reads tensors of a safetensors file one at a time, as a stream.

The format (https://github.com/huggingface/safetensors, "Format"): eight bytes of little-endian
length, a JSON header of name to dtype, shape and byte offsets, then the tensors. The library of
that name gives whole tensors, which for the largest would double what loading needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

import ml_dtypes
import numpy as np

from model.checkpoint.buffers import fill, read_exactly
from model.checkpoint.errors import CheckpointError, Shape

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}

LONGEST_HEADER = 100_000_000
"""Bytes; the limit the format itself sets."""


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: bytes [start, start + size) of the file."""

    dtype: np.dtype
    shape: Shape
    start: int


class SafetensorsFile:
    """An open file and its header, checked against the file's size.

    Raises CheckpointError for a file that is truncated or something else.
    """

    def __init__(self, path: str, file: BinaryIO):
        self.path = path
        self._file = file
        self.tensors = self._read_header()

    def read(self, name: str, target: np.ndarray) -> None:
        """Fills `target`, any view, with the tensor's first `target.size` elements in C order."""
        tensor = self.tensors[name]
        self._file.seek(tensor.start)
        try:
            fill(target, self._file, tensor.dtype)
        except EOFError as error:
            raise CheckpointError(self.path, f"{name} is truncated: {error}") from error

    def close(self) -> None:
        self._file.close()

    def _read_header(self) -> dict[str, Tensor]:
        size = self._file.seek(0, 2)
        self._file.seek(0)
        try:
            length = int.from_bytes(read_exactly(self._file, 8), "little")
            if length > min(size, LONGEST_HEADER):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(read_exactly(self._file, length))
            entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
            return {name: self._tensor(name, e, 8 + length, size) for name, e in entries.items()}
        except CheckpointError:
            raise
        except (EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                self.path, f"truncated, or no safetensors file: {error!r}; fetch it again"
            ) from error

    def _tensor(self, name: str, entry: dict, base: int, file_size: int) -> Tensor:
        if entry["dtype"] not in DTYPES:
            raise CheckpointError(
                self.path, f"{name} holds {entry['dtype']}; expected one of {', '.join(DTYPES)}"
            )
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        start, end = (base + offset for offset in entry["data_offsets"])
        if end > file_size:
            raise CheckpointError(
                self.path, f"truncated: {name} ends at byte {end} of {file_size}; fetch it again"
            )
        if start < base or end - start != prod(shape) * dtype.itemsize:
            raise CheckpointError(self.path, f"{name} of shape {shape} has {end - start} bytes")
        return Tensor(dtype, shape, start)
