"""Host memory that JAX can take over as it is, filled from a stream piece by piece."""

from __future__ import annotations

from math import prod
from typing import BinaryIO

import numpy as np

ALIGNMENT = 64
"""Bytes. XLA on a CPU takes over memory aligned to this without copying it."""

CHUNK = 4 << 20
"""Bytes read at a time: long enough for a disk or a bucket, short enough for the cache."""


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised C-ordered array at an address that is a multiple of 64."""
    size = prod(shape) * dtype.itemsize
    memory = np.empty(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def fill(target: np.ndarray, stream: BinaryIO, dtype: np.dtype) -> None:
    """Reads C-ordered elements of `dtype` into `target`, converting them to its dtype.

    target: may be any view, transposed for instance; its elements are visited in C order.
    Raises EOFError where the stream ends early.
    """
    row_bytes = prod(target.shape[1:]) * dtype.itemsize
    if row_bytes > CHUNK and target.ndim > 1:
        for row in target:
            fill(row, stream, dtype)
        return
    step = max(1, CHUNK // max(1, row_bytes))
    for start in range(0, len(target), step):
        rows = target[start : start + step]
        rows[...] = np.frombuffer(read_exactly(stream, rows.size * dtype.itemsize), dtype).reshape(
            rows.shape
        )


def read_exactly(stream: BinaryIO, size: int) -> bytes:
    """`size` bytes, in as many reads as the stream takes for them; raises EOFError."""
    pieces = []
    while size:
        piece = stream.read(size)
        if not piece:
            raise EOFError(f"{size} bytes are missing at the end")
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
