"""Printed tags: two or three letters and digits, dark on white."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from model.boxes import Box

CHARACTERS = "ACDEFHJKLMNPRTUVWXY23456789"
"""Of characters that look alike at this size (B and 8, O and 0, S and 5 …) one at most."""

LENGTHS = (2, 3)

PITCH = 11
"""Pixels from one character to the next."""

_FONT_SIZE = 15
_HEIGHT = 17
_MARGIN = 3
_GAP = 2
_INK = 30
_PAPER = (225, 255)


@dataclass(frozen=True)
class Tag:
    """centres: of the characters, (y, x) in pixels, in the text's order."""

    text: str
    box: Box
    centres: tuple[tuple[float, float], ...]


def draw_tag(random: np.random.Generator, pixels: np.ndarray, taken: np.ndarray) -> Tag:
    """Prints a tag into uint8[S, S, 3] and marks its place in bool[S, S]."""
    length = int(random.choice(LENGTHS))
    text = "".join(random.choice(list(CHARACTERS), length))
    size = len(pixels)
    width = length * PITCH + 2 * _MARGIN
    top = int(random.integers(size - _HEIGHT, endpoint=True))
    left = int(random.integers(size - width, endpoint=True))
    tag = np.full((_HEIGHT, width), int(random.integers(*_PAPER)), np.uint8)
    for number, character in enumerate(text):
        start = _MARGIN + number * PITCH
        column = tag[:, start : start + PITCH]
        column[...] = np.minimum(column, _glyph(character))
    pixels[top : top + _HEIGHT, left : left + width] = tag[..., None]
    taken[max(top - _GAP, 0) : top + _HEIGHT + _GAP, max(left - _GAP, 0) : left + width + _GAP] = 1
    box = Box(top / size, left / size, (top + _HEIGHT) / size, (left + width) / size, "tag")
    centres = (
        (top + _HEIGHT / 2, left + _MARGIN + (number + 0.5) * PITCH) for number in range(length)
    )
    return Tag(text, box, tuple(centres))


@cache
def _glyph(character: str) -> np.ndarray:
    """uint8[_HEIGHT, PITCH]: the character in the middle of a white cell."""
    cell = Image.new("L", (PITCH, _HEIGHT), 255)
    font = ImageFont.load_default(_FONT_SIZE)
    ImageDraw.Draw(cell).text(
        (PITCH / 2, _HEIGHT / 2), character, fill=_INK, font=font, anchor="mm"
    )
    return np.asarray(cell)
