"""Scenes of one to five tinted garments on varied backgrounds, some with a printed tag.

    studio = Studio(load(DEBIAN_FOLDER, "train"))
    scene = studio.scene(seed=7, index=0)

A scene is a function of the photographs, the seed and its index alone. Garments never touch each
other or the tag, and are listed in the order of their centres, left to right.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy import ndimage

from examples.garments.backgrounds import background
from examples.garments.fashion import Photographs
from examples.garments.tags import Tag, draw_tag
from model.boxes import Box

SIZE = 112
"""Pixels a side of a scene."""

COLOURS = {
    "red": (215, 30, 40),
    "orange": (250, 140, 20),
    "yellow": (245, 225, 40),
    "green": (40, 170, 60),
    "blue": (40, 80, 230),
    "purple": (140, 60, 200),
    "white": (245, 245, 245),
}

MOST_GARMENTS = 5
_COUNT_WEIGHTS = (0.3, 0.25, 0.2, 0.15, 0.1)
# Pixels a side of the photograph once scaled, by the number of garments: many have to be small.
_SCALED_SIDES = ((48, 76), (42, 62), (38, 52), (34, 42), (30, 38))
_GAP = 2
# Pixels between the centres of two garments, so that left and right are plain.
_LEAST_APART = 5
_TAG_SHARE = 0.5
_TRIES = 60

# Grey levels up to this are the black ground of the photographs, and what JPEG left on it.
_GROUND = 12
# Of a photograph's 784 pixels. Smaller holes are dark prints, larger ones (a handle) are holes;
# smaller pieces are specks.
_SMALLEST_HOLE = 12
_SMALLEST_PIECE = 12
_DARKEST = 0.5
_TINT_JITTER = 14


@dataclass(frozen=True)
class Garment:
    """One garment of a scene. mask: bool[112, 112], True on it. box: tight around the mask."""

    kind: str
    colour: str
    mask: np.ndarray
    box: Box


@dataclass(frozen=True)
class Scene:
    """pixels: uint8[112, 112, 3]. garments: from left to right. tag: its text is what `ocr` reads.

    photographs: the indices of the photographs used.
    """

    pixels: np.ndarray
    garments: tuple[Garment, ...]
    tag: Tag | None
    photographs: tuple[int, ...]


class Studio:
    """Draws scenes of the photographs it was given; an instance keeps no state between scenes."""

    def __init__(self, photographs: Photographs):
        self._photographs = photographs
        kinds = np.array(photographs.kinds)
        self._by_kind = {kind: np.flatnonzero(kinds == kind) for kind in sorted(set(kinds))}

    def scene(self, seed: int, index: int) -> Scene:
        """Scene number `index` of the corpus `seed`."""
        random = np.random.default_rng((seed, index))
        count = 1 + int(random.choice(MOST_GARMENTS, p=_COUNT_WEIGHTS))
        # A draw that leaves no room for as many is thrown away whole.
        while (scene := self._attempt(random, count)) is None:
            pass
        return scene

    def _attempt(self, random: np.random.Generator, count: int) -> Scene | None:
        pixels = background(random, SIZE)
        taken = np.zeros((SIZE, SIZE), bool)
        tag = draw_tag(random, pixels, taken) if random.random() < _TAG_SHARE else None
        centres: list[float] = []
        drawn: list[tuple[Garment, int]] = []
        for _ in range(count):
            kind = str(random.choice(list(self._by_kind)))
            number = int(random.choice(self._by_kind[kind]))
            side = int(random.integers(*_SCALED_SIDES[count - 1], endpoint=True))
            garment = self._place(random, pixels, taken, centres, kind, number, side)
            if garment is None:
                return None
            drawn.append((garment, number))
        drawn.sort(key=lambda each: (each[0].box.x_min + each[0].box.x_max, each[0].box.y_min))
        garments, numbers = zip(*drawn, strict=True)
        return Scene(pixels, garments, tag, numbers)

    def _place(self, random, pixels, taken, centres, kind, number, side) -> Garment | None:
        """Draws one garment where there is room, and marks its place as taken.

        centres: of the garments so far, in pixels from the left; the new one's is added.
        """
        levels, alpha = cut_out(self._photographs.pixels[number], side)
        if random.random() < 0.5:
            levels, alpha = levels[:, ::-1], alpha[:, ::-1]
        height, width = alpha.shape
        for _ in range(_TRIES):
            top, left = (int(random.integers(SIZE - n, endpoint=True)) for n in (height, width))
            place = np.s_[top : top + height, left : left + width]
            centre = left + width / 2
            apart = min((abs(centre - other) for other in centres), default=SIZE)
            if apart >= _LEAST_APART and not taken[place].any():
                break
        else:
            return None
        centres.append(centre)
        colour = str(random.choice(list(COLOURS)))
        paint = np.array(COLOURS[colour]) + random.integers(-_TINT_JITTER, _TINT_JITTER, 3)
        tinted = np.clip(paint, 0, 255) * levels[..., None]
        pixels[place] = np.round(alpha[..., None] * tinted + (1 - alpha[..., None]) * pixels[place])
        mask = np.zeros((SIZE, SIZE), bool)
        mask[place] = alpha > 0.5
        taken[
            max(top - _GAP, 0) : top + height + _GAP, max(left - _GAP, 0) : left + width + _GAP
        ] = 1
        return Garment(kind, colour, mask, replace(tight_box(mask), label=kind))


def cut_out(photograph: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A garment scaled and cut out: uint8[28, 28] -> levels and alpha, float[height, width].

    levels: 0.5 to 1, so that dark garments show their colour too. alpha: 1 on the garment, more
    than a half within its outline; cut where its outline ends, so at most side x side.
    """
    outline = silhouette(photograph)
    brightest = max(int(photograph.max()), 1)
    levels = _scale(photograph / brightest, side)
    alpha = _scale(outline.astype(np.float64), side)
    rows, columns = (np.flatnonzero((alpha > 0.5).any(axis)) for axis in (1, 0))
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _DARKEST + (1 - _DARKEST) * levels[inside], alpha[inside]


def silhouette(photograph: np.ndarray) -> np.ndarray:
    """Where the garment is: bool[28, 28], without specks and with dark prints filled in."""
    outline = photograph > _GROUND
    pieces, _ = ndimage.label(outline)
    large = _sizes(pieces) >= _SMALLEST_PIECE
    large[0] = False
    if large.any():
        outline = large[pieces]
    holes, _ = ndimage.label(~outline)
    small = _sizes(holes) < _SMALLEST_HOLE
    small[0] = False
    return outline | small[holes]


def tight_box(mask: np.ndarray) -> Box:
    """The smallest box around a mask's pixels, their edges included; unlabelled."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    height, width = mask.shape
    return Box(
        rows[0] / height, columns[0] / width, (rows[-1] + 1) / height, (columns[-1] + 1) / width
    )


def _sizes(numbered: np.ndarray) -> np.ndarray:
    return np.bincount(numbered.ravel())


def _scale(values: np.ndarray, side: int) -> np.ndarray:
    """float[28, 28] -> float[side, side] of 0 to 1."""
    picture = Image.fromarray(values.astype(np.float32), mode="F")
    return np.clip(np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR)), 0, 1)
