"""Printed tags in a corner: a letter and a digit, dark on white."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.boxes import Box

LETTERS = "ACEFHKLMPTXY"
DIGITS = "23456789"
LENGTH = 2
CHARACTERS = LETTERS + DIGITS
"""Of characters that look alike at this size (B and 8, O and 0, S and 5 …) one at most."""

PITCH = 15
"""Pixels from one character to the next."""

_FONT_SIZE = 21
_HEIGHT = 22
_MARGIN = 3
# Most pixels between the tag and the two edges of its corner.
_INSET = 3
_GAP = 2
_INK = 30
_PAPER = (225, 255)


@dataclass(frozen=True)
class Tag:
    text: str
    box: Box


def draw_tag(random: np.random.Generator, pixels: np.ndarray, taken: np.ndarray) -> Tag:
    """Prints a tag into uint8[S, S, 3] and marks its place in bool[S, S]."""
    text = str(random.choice(list(LETTERS)) + random.choice(list(DIGITS)))
    size = len(pixels)
    width = LENGTH * PITCH + 2 * _MARGIN
    top, left = (_at_an_edge(random, size - length) for length in (_HEIGHT, width))
    tag = np.full((_HEIGHT, width), int(random.integers(*_PAPER)), np.uint8)
    for number, character in enumerate(text):
        start = _MARGIN + number * PITCH
        column = tag[:, start : start + PITCH]
        column[...] = np.minimum(column, _glyph(character))
    pixels[top : top + _HEIGHT, left : left + width] = tag[..., None]
    taken[max(top - _GAP, 0) : top + _HEIGHT + _GAP, max(left - _GAP, 0) : left + width + _GAP] = 1
    box = Box(top / size, left / size, (top + _HEIGHT) / size, (left + width) / size, "tag")
    return Tag(text, box)


def _at_an_edge(random: np.random.Generator, last: int) -> int:
    """A coordinate near 0 or near `last`."""
    inset = int(random.integers(_INSET, endpoint=True))
    return inset if random.random() < 0.5 else last - inset


@cache
def _glyph(character: str) -> np.ndarray:
    """uint8[_HEIGHT, PITCH]: the character in the middle of a white cell."""
    cell = Image.new("L", (PITCH, _HEIGHT), 255)
    font = ImageFont.load_default(_FONT_SIZE)
    ImageDraw.Draw(cell).text(
        (PITCH / 2, _HEIGHT / 2), character, fill=_INK, font=font, anchor="mm"
    )
    return np.asarray(cell)
