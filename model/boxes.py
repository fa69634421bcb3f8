"""Boxes and masks as the model writes them: location tokens, mask codes and a label.

    <loc0100><loc0200><loc0900><loc0800> kid's shoe ; <loc0010>…

The four locations are y_min, x_min, y_max, x_max; sixteen `<segNNN>` between them and the label
are a mask within the box, see `model.mask_codec`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model.tokenizer import LOCATIONS, MASK_CODES

CODES_PER_MASK = 16

LOCATION_SCALES = (1023, 1024)
"""What a location is divided by to become a fraction of the picture."""

LOCATION_SCALE = 1023
"""The default, by which the research release's own evaluator encodes and decodes boxes.

With it the locations reach both edges, and reading what was written gives the same fractions.
1024 is what most demos divide by; their numbers are smaller by at most 1/1024 of the side.
"""

SEPARATOR = " ; "


@dataclass(frozen=True, slots=True)
class Box:
    """A labelled rectangle, in fractions of the picture's height (y) and width (x) from top left.

    0 <= min <= max <= 1 on both axes: a box may be as thin as nothing, never inverted.
    """

    y_min: float
    x_min: float
    y_max: float
    x_max: float
    label: str = ""

    def __post_init__(self):
        if not (0 <= self.y_min <= self.y_max <= 1 and 0 <= self.x_min <= self.x_max <= 1):
            raise ValueError(
                f"a box needs 0 <= min <= max <= 1, this one has y {self.y_min} to {self.y_max} "
                f"and x {self.x_min} to {self.x_max}"
            )

    def pixels(self, width: int, height: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in a picture of that size, not rounded."""
        return (self.x_min * width, self.y_min * height, self.x_max * width, self.y_max * height)


@dataclass(frozen=True, slots=True)
class Segment:
    """A box and the sixteen codes (0 to 127) of the mask that fills it."""

    box: Box
    codes: tuple[int, ...]

    def __post_init__(self):
        if len(self.codes) != CODES_PER_MASK or not all(0 <= c < MASK_CODES for c in self.codes):
            raise ValueError(
                f"a mask has {CODES_PER_MASK} codes from 0 to {MASK_CODES - 1}, not {self.codes}"
            )


def format_objects(objects: Iterable[Box | Segment], location_scale: int = LOCATION_SCALE) -> str:
    """What the model should write for these objects, in this order: the target of training.

    Raises ValueError for a label that can't be read back: one with `;`, `<`, a line break or
    space around it.
    """
    return SEPARATOR.join(_format_object(each, location_scale) for each in objects)


def check_location_scale(location_scale: int) -> None:
    """Raises ValueError unless it is 1023 or 1024."""
    if location_scale not in LOCATION_SCALES:
        raise ValueError(f"the location scale is one of {LOCATION_SCALES}, not {location_scale}")


def _format_object(each: Box | Segment, location_scale: int) -> str:
    check_location_scale(location_scale)
    box, codes = (each.box, each.codes) if isinstance(each, Segment) else (each, ())
    label = box.label
    if {";", "<"} & set(label) or label != label.strip() or len(label.splitlines()) > 1:
        raise ValueError(
            f"label {label!r}: a label has no semicolon, no '<', no line break and no space around"
        )
    sides = (box.y_min, box.x_min, box.y_max, box.x_max)
    pieces = "".join(f"<loc{_location(side, location_scale):04}>" for side in sides)
    pieces += "".join(f"<seg{code:03}>" for code in codes)
    return f"{pieces} {label}".rstrip()


def _location(fraction: float, location_scale: int) -> int:
    return min(round(fraction * location_scale), LOCATIONS - 1)
