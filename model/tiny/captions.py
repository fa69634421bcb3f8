"""The text that the tiny checkpoint's tokenizer is trained on: sentences made from word lists."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

_COLOURS = "red orange yellow green blue purple pink brown black white grey"
_THINGS = (
    "cat dog bird horse person child bicycle car bus train boat tree flower mountain river "
    "house window table chair cup bottle book shoe bag hat shirt t-shirt trousers dress coat "
    "sandal sneaker boot pullover sign clock coffee rocket coin page moon galaxy retina brick"
)
_NUMBERS = "one two three four five six seven eight nine ten"
_PLACES = (
    "on a table",
    "in the street",
    "next to a window",
    "in front of a house",
    "on the grass",
    "under a tree",
    "at the beach",
    "against a plain background",
    "in the kitchen",
    "on the left",
    "on the right",
)
_PROMPTS = (
    "caption en",
    "cap en",
    "describe en",
    "ocr",
    "answer en what is in the picture?",
    "answer en how many are there?",
    "answer en which colour is it?",
    "answer en is there a {thing}? yes no",
    "question en {thing}",
    "detect {thing}",
    "segment {thing}",
    "detect {thing} ; {other}",
)


def sentences() -> Iterator[str]:
    """Captions, answers and prompts, in a fixed order."""
    colours, things, numbers = _COLOURS.split(), _THINGS.split(), _NUMBERS.split()
    for colour, thing, place in itertools.product(colours, things, _PLACES):
        yield f"A {colour} {thing} {place}."
        yield f"a photo of the {thing}, {colour} and white, {place}"
    for number, thing in itertools.product(numbers, things):
        yield f"There are {number} of them: {number} {thing}s."
    for prompt, (thing, other) in itertools.product(_PROMPTS, itertools.pairwise(things)):
        yield prompt.format(thing=thing, other=other)
    for year in range(1900, 2030):
        yield f"{year} {year % 100}% No. {year % 10}"
