"""What is said about a scene: pairs of prompt and answer in the words PaliGemma uses.

    caption en                          a red dress, blue trousers and a white boot
    answer en how many bags are there?  2
    answer en which colour is the bag?  red
    answer en is there a red bag?       no
    detect bag ; boot                   <loc0100><loc0200><loc0900><loc0800> bag ; …
    segment bag                         <loc…>…<seg…>… bag
    ocr                                 K7

Objects are named from left to right. Only kinds that are there are to be found, and `ocr` is asked
of scenes with a tag: the model never learns to answer with nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from examples.garments.fashion import KINDS
from examples.garments.scenes import COLOURS, MOST_GARMENTS, Garment, Scene
from examples.garments.tags import CHARACTERS
from model.boxes import Segment, format_objects

TASKS = ("caption", "answer", "detect", "segment", "ocr")

PLURALS = {"trousers": "trousers", "dress": "dresses"}
_WITHOUT_ARTICLE = ("trousers",)


@dataclass(frozen=True)
class Pair:
    """prefix: the prompt without its newline. suffix: the answer. task: one of TASKS."""

    task: str
    prefix: str
    suffix: str


def plural(kind: str) -> str:
    return PLURALS.get(kind, f"{kind}s")


def noun_phrase(kind: str, colour: str | None = None) -> str:
    """a red dress; an orange bag; blue trousers."""
    words = f"{colour} {kind}" if colour else kind
    if kind in _WITHOUT_ARTICLE:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def caption(scene: Scene) -> Pair:
    *first, last = (noun_phrase(each.kind, each.colour) for each in scene.garments)
    return Pair("caption", "caption en", f"{', '.join(first)} and {last}" if first else last)


def detect(scene: Scene, kinds: Sequence[str]) -> Pair:
    """Every garment of these kinds, of which there should be at least one."""
    found = [each.box for each in scene.garments if each.kind in kinds]
    return Pair("detect", f"detect {' ; '.join(kinds)}", format_objects(found))


def segment(scene: Scene, kind: str, codes: Sequence[Sequence[int]]) -> Pair:
    """codes: of the scene's garments, in order."""
    found = [
        Segment(garment.box, tuple(map(int, each)))
        for garment, each in zip(scene.garments, codes, strict=True)
        if garment.kind == kind
    ]
    return Pair("segment", f"segment {kind}", format_objects(found))


def ocr(scene: Scene) -> Pair | None:
    return scene.tag and Pair("ocr", "ocr", scene.tag.text)


def count(scene: Scene, kind: str | None = None) -> Pair:
    """How many garments there are, or how many of a kind, which may be none."""
    number = sum(kind in (None, each.kind) for each in scene.garments)
    asked = plural(kind) if kind else "garments"
    return Pair("answer", f"answer en how many {asked} are there?", str(number))


def colour(garment: Garment) -> Pair:
    """For the only garment of its kind in a scene."""
    verb = "are" if garment.kind in _WITHOUT_ARTICLE else "is"
    question = f"answer en which colour {verb} the {garment.kind}?"
    return Pair("answer", question, garment.colour)


def presence(scene: Scene, kind: str, of_colour: str | None = None) -> Pair:
    there = any(each.kind == kind and of_colour in (None, each.colour) for each in scene.garments)
    verb = "are" if kind in _WITHOUT_ARTICLE else "is"
    question = f"answer en {verb} there {noun_phrase(kind, of_colour)}?"
    return Pair("answer", question, "yes" if there else "no")


def answers(scene: Scene, random: np.random.Generator) -> list[Pair]:
    """One question of each sort that the scene allows; as many true as false ones on average."""
    there = sorted({each.kind for each in scene.garments})
    kinds = [each.kind for each in scene.garments]
    single = [each for each in scene.garments if kinds.count(each.kind) == 1]
    pairs = [count(scene), count(scene, _either(random, there, list(KINDS.values())))]
    if single:
        pairs.append(colour(single[random.integers(len(single))]))
    pairs.append(presence(scene, _either(random, there, _others(there, KINDS.values()))))
    some = scene.garments[random.integers(len(scene.garments))]
    asked = _either(random, [some.colour], _others([some.colour], COLOURS))
    return [*pairs, presence(scene, some.kind, asked)]


def some_kinds(scene: Scene, random: np.random.Generator) -> list[str]:
    """One or two of the kinds that are there, in the order of the alphabet."""
    there = sorted({each.kind for each in scene.garments})
    number = 1 + int(random.integers(min(len(there), 2)))
    return sorted(str(kind) for kind in random.choice(there, number, replace=False))


def vocabulary() -> list[str]:
    """Text with every word of every prompt and answer, for a tokenizer to be trained on."""
    kinds = list(KINDS.values())
    texts = ["caption en", "ocr", "detect", "segment", "yes", "no"]
    texts += [str(number) for number in range(MOST_GARMENTS + 1)] + list(CHARACTERS)
    texts += [f"answer en how many {plural(kind)} are there?" for kind in [*kinds, "garment"]]
    for each in kinds:
        verb = "are" if each in _WITHOUT_ARTICLE else "is"
        texts += [f"detect {each} ; {each}", f"segment {each}"]
        texts += [f"answer en which colour {verb} the {each}?", f"answer en {verb} there a {each}?"]
        for shade in COLOURS:
            texts += [shade, f"{noun_phrase(each, shade)}, {noun_phrase(each, shade)} and a"]
    return texts


def _either(random: np.random.Generator, first: Sequence[str], second: Sequence[str]) -> str:
    """An element of the first or of the second, each as likely as not."""
    chosen = first if random.random() < 0.5 or not second else second
    return str(chosen[random.integers(len(chosen))])


def _others(left_out: Sequence[str], of) -> list[str]:
    return [each for each in of if each not in left_out]
