"""From what the model wrote to text, boxes and mask codes, with a word on how well-formed it was.

The grammar, in which everything but the locations may be missing:

    answer  = { text, object, [";"] }, text
    object  = 4 locations, [" "], 16 mask codes, label

A label is anything up to a semicolon or a "<". What breaks the grammar is set aside as it stands;
the well-formed objects around it are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from model.boxes import CODES_PER_MASK, LOCATION_SCALE, Box, Segment, check_location_scale
from model.tokenizer import LOCATIONS, MASK_CODES


class Status(StrEnum):
    """How an answer reads; where several are true, the first of this list is said.

    TRUNCATED: it was cut off by the limit of tokens, so its end can't be trusted.
    MALFORMED: a part breaks the grammar, or is text where objects were asked for.
    INVERTED: a box has its bottom above its top or its right before its left.
    EMPTY: the model wrote nothing. As an answer to detect or segment: there is no such thing.
    """

    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    INVERTED = "inverted"
    EMPTY = "empty"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Parsed:
    """An answer taken apart.

    text: what is no part of an object, on its own for captions and answers.
    objects: the well-formed ones in the order written, with masks where they had one.
    rejected: the parts that are not well-formed or are inverted, as the model wrote them.
    """

    text: str
    objects: tuple[Box | Segment, ...]
    status: Status
    rejected: tuple[str, ...] = ()

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Every object's box, those of masks included."""
        return tuple(each.box if isinstance(each, Segment) else each for each in self.objects)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The objects that have a mask."""
        return tuple(each for each in self.objects if isinstance(each, Segment))


# A run of locations and all that belongs to it. `excess` is a label with a "<" in it, or pieces
# where none may be.
_OBJECTS = re.compile(
    r"(?P<locations>(?:<loc[0-9]{4}>)+) ?(?P<codes>(?:<seg[0-9]{3}>)*)"
    r"(?P<label>[^;<]*)(?P<excess>(?:<(?!loc[0-9]{4}>)[^;<]*)*);?"
)
_STRAY_PIECE = re.compile(r"<(?:loc|seg)[0-9]")
_SEPARATORS = "; \t\r\n"
_NUMBER = re.compile(r"[0-9]+")


def parse(
    answer: str,
    *,
    wants_objects: bool = False,
    truncated: bool = False,
    location_scale: int = LOCATION_SCALE,
) -> Parsed:
    """Takes a decoded answer apart; never raises for what the model wrote.

    wants_objects: the task was detect or segment, so that text without a box is malformed.
    truncated: decoding ended at the limit of tokens, before the model had said that it was done.
        The last object is kept if it is complete, though its label may have been cut.
    location_scale: 1023 or 1024, see `model.boxes`; ValueError for anything else.
    """
    check_location_scale(location_scale)
    texts: list[str] = []
    objects: list[Box | Segment] = []
    faults: list[tuple[Status, str]] = []
    for part in _parts(answer):
        if isinstance(part, str):
            text, stray = _split_at_stray(part)
            texts += [text] if text else []
            faults += [(Status.MALFORMED, stray)] if stray else []
            continue
        found = _read_objects(part, location_scale)
        if isinstance(found, Status):
            faults.append((found, part[0].rstrip(_SEPARATORS)))
        else:
            objects += found
    statuses = {status for status, _ in faults}
    if wants_objects and texts:
        statuses.add(Status.MALFORMED)
    if truncated:
        statuses.add(Status.TRUNCATED)
    if not answer.strip():
        statuses.add(Status.EMPTY)
    return Parsed(
        text=" ".join(texts),
        objects=tuple(objects),
        status=next((status for status in Status if status in statuses), Status.OK),
        rejected=tuple(part for _, part in faults),
    )


def _parts(answer: str) -> Iterator[str | re.Match[str]]:
    """Matches of location runs with what belongs to them, and what stands around them."""
    matches = list(_OBJECTS.finditer(answer))
    if not matches:
        yield answer.strip()
        return
    position = 0
    for match in matches:
        yield answer[position : match.start()].strip(_SEPARATORS)
        yield match
        position = match.end()
    yield answer[position:].strip(_SEPARATORS)


def _split_at_stray(text: str) -> tuple[str, str]:
    """What stands before the first misplaced piece, and the rest from there."""
    stray = _STRAY_PIECE.search(text)
    if stray is None:
        return text, ""
    return text[: stray.start()].strip(_SEPARATORS), text[stray.start() :]


def _read_objects(match: re.Match[str], location_scale: int) -> list[Box | Segment] | Status:
    """The boxes of one run of locations, of which the last has the codes and the label.

    All or nothing: in a run of five, nobody knows which one is too many.
    """
    locations = [int(number) for number in _NUMBER.findall(match["locations"])]
    codes = tuple(int(number) for number in _NUMBER.findall(match["codes"]))
    if len(locations) % 4 or max(locations) >= LOCATIONS or match["excess"]:
        return Status.MALFORMED
    if len(codes) not in (0, CODES_PER_MASK) or max(codes, default=0) >= MASK_CODES:
        return Status.MALFORMED
    quadruples = [locations[start : start + 4] for start in range(0, len(locations), 4)]
    if any(y_min > y_max or x_min > x_max for y_min, x_min, y_max, x_max in quadruples):
        return Status.INVERTED
    *unlabelled, last = quadruples
    boxes = [_box(quadruple, "", location_scale) for quadruple in unlabelled]
    box = _box(last, match["label"].strip(), location_scale)
    return [*boxes, Segment(box, codes) if codes else box]


def _box(locations: list[int], label: str, location_scale: int) -> Box:
    y_min, x_min, y_max, x_max = (location / location_scale for location in locations)
    return Box(y_min, x_min, y_max, x_max, label)
