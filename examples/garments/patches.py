"""What each patch of a scene shows: the targets on which the vision tower is trained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from examples.garments.fashion import KINDS
from examples.garments.outlines import PER_KIND
from examples.garments.scenes import COLOURS, MOST_GARMENTS, SIZE, Garment, Scene
from examples.garments.tags import CHARACTERS, LENGTH
from model.boxes import Box

NOTHING = 0
"""The class of a patch without a garment, or without a tag; the others count from 1."""

OUTLINE = 7
"""Cells a side in which a patch's part of the outline is given."""

_LEAST_SHARE = 0.25

_KINDS = {kind: number for number, kind in enumerate(KINDS.values(), start=1)}
_COLOURS = {colour: number for number, colour in enumerate(COLOURS, start=1)}
_CHARACTERS = {character: number for number, character in enumerate(CHARACTERS, start=1)}

CLASSES = {
    "kind": len(_KINDS) + 1,
    "colour": len(_COLOURS) + 1,
    "rank": MOST_GARMENTS + 1,
    "shape": len(_KINDS) * PER_KIND,
    "characters": LENGTH * (len(_CHARACTERS) + 1),
    "outline": OUTLINE * OUTLINE,
}
"""Logits of each target but the sides, for all its parts together."""


class Targets(NamedTuple):
    """Of P x P patches. kind, colour: uint8[P²], of the garment that the patch belongs to.

    rank: uint8[P²], that garment's number from left to right, which is how answers name them.
    shape: uint8[P²], its typical outline. sides: uint8[P², 4], its box's y_min, x_min, y_max, x_max
    in pixels, 0 to 112. Both mean nothing where kind is NOTHING.
    characters: uint8[P², 2], of the tag that covers the patch.
    outline: bool[P², 49], which cells of the patch any garment covers.
    """

    kind: np.ndarray
    colour: np.ndarray
    rank: np.ndarray
    shape: np.ndarray
    sides: np.ndarray
    characters: np.ndarray
    outline: np.ndarray


def targets(scene: Scene, shapes: list[int], patch: int) -> Targets:
    """A patch belongs to the garment whose box covers most of it, if that is a quarter.

    shapes: numbers of the garments' typical outlines.
    """
    shares = np.stack([_share(garment.box, patch) for garment in scene.garments])
    owner, share = shares.argmax(axis=0), shares.max(axis=0)
    numbered = enumerate(zip(scene.garments, shapes, strict=True), start=1)
    rows = [_numbers(rank, garment, shape) for rank, (garment, shape) in numbered]
    numbers = np.array(rows, np.uint8)[owner]
    numbers[share < _LEAST_SHARE] = NOTHING
    return Targets(
        numbers[:, 0],
        numbers[:, 1],
        numbers[:, 2],
        numbers[:, 3],
        numbers[:, 4:],
        _characters(scene, patch),
        _outline(scene, patch),
    )


def _numbers(rank: int, garment: Garment, shape: int) -> list[int]:
    box = garment.box
    sides = (round(s * SIZE) for s in (box.y_min, box.x_min, box.y_max, box.x_max))
    return [_KINDS[garment.kind], _COLOURS[garment.colour], rank, shape, *sides]


def _share(box: Box, patch: int) -> np.ndarray:
    """float[P²]: how much of each patch a box covers, of 1."""
    left, top, right, bottom = box.pixels(SIZE, SIZE)
    starts = np.arange(0, SIZE, patch)
    rows, columns = (
        np.clip(np.minimum(starts + patch, end) - np.maximum(starts, start), 0, None) / patch
        for start, end in ((top, bottom), (left, right))
    )
    return np.outer(rows, columns).ravel()


def _characters(scene: Scene, patch: int) -> np.ndarray:
    found = np.zeros(((SIZE // patch) ** 2, LENGTH), np.uint8)
    if scene.tag is not None:
        characters = [_CHARACTERS[character] for character in scene.tag.text]
        found[_share(scene.tag.box, patch) >= _LEAST_SHARE] = characters
    return found


def _outline(scene: Scene, patch: int) -> np.ndarray:
    covered = np.any([garment.mask for garment in scene.garments], axis=0)
    side, cell = SIZE // patch, patch // OUTLINE
    cells = covered.reshape(SIZE // cell, cell, SIZE // cell, cell).mean(axis=(1, 3)) >= 0.5
    by_patch = cells.reshape(side, OUTLINE, side, OUTLINE).transpose(0, 2, 1, 3)
    return by_patch.reshape(side * side, OUTLINE * OUTLINE)
