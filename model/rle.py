"""COCO's run lengths for masks: the `counts` of `{"size": [height, width], "counts": …}`.

A mask is read column by column; its runs of 0 and 1 alternate and begin with 0. The compressed
string has, for each run, its length (from the fourth run on the difference from the run two
before) as a signed number in groups of five bits, lowest first; bit 6 says that more follow, and
48 is added to make letters. Format: pycocotools, common/maskApi.c.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_MORE = 0x20
_SIGN = 0x10
_LOW_BITS = 0x1F
_FIRST_LETTER = 48


def encode(mask: np.ndarray) -> str:
    """bool[H, W] -> counts."""
    if mask.ndim != 2 or mask.dtype != bool:
        raise ValueError(f"a mask is bool[H, W], not {mask.dtype}{list(mask.shape)}")
    runs = _runs(mask.ravel(order="F"))
    return "".join(
        letter
        for index, run in enumerate(runs)
        for letter in _letters(run - (runs[index - 2] if index > 2 else 0))
    )


def decode(counts: str, height: int, width: int) -> np.ndarray:
    """counts -> bool[height, width]. Raises ValueError for counts that don't fill that size."""
    runs: list[int] = []
    for number in _numbers(counts):
        run = number + (runs[-2] if len(runs) > 2 else 0)
        if run < 0:
            raise ValueError("run lengths: one of them is negative")
        runs.append(run)
    if sum(runs) != height * width:
        raise ValueError(
            f"run lengths: they add up to {sum(runs)} pixels, {height} x {width} has "
            f"{height * width}"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def _runs(flat: np.ndarray) -> list[int]:
    """Lengths of the runs, the first of them of False and perhaps of length 0."""
    starts = np.flatnonzero(np.diff(flat, prepend=False))
    return np.diff(starts, prepend=0, append=flat.size).tolist()


def _letters(number: int) -> Iterator[str]:
    more = True
    while more:
        group = number & _LOW_BITS
        number >>= 5
        # Done when what is left is the sign that the group's highest bit already gives.
        more = number != (-1 if group & _SIGN else 0)
        yield chr((group | _MORE if more else group) + _FIRST_LETTER)


def _numbers(counts: str) -> Iterator[int]:
    number, shift = 0, 0
    for letter in counts:
        group = ord(letter) - _FIRST_LETTER
        if not 0 <= group < 2 * _MORE:
            raise ValueError(f"run lengths: {letter!r} is no letter of theirs")
        number |= (group & _LOW_BITS) << shift
        shift += 5
        if group & _MORE:
            continue
        yield number - (1 << shift) if group & _SIGN else number
        number, shift = 0, 0
    if shift:
        raise ValueError("run lengths: they end within a number")
