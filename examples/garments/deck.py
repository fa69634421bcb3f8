"""What each step of training sees: some pictures once, and several texts about each of them."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from examples.garments.lessons import Lessons
from examples.garments.patches import Targets
from examples.garments.words import TASKS
from model.tokenizer import PAD

BRIEF, SHORT, LONG = 16, 36, 72
"""Tokens of three shapes; masks of two or three garments are long."""

_BRIEF_TASKS = ("answer", "ocr")
_SHORT_TASKS = ("caption", "detect", "segment")
# Of the pictures, those that may be asked for something long.
_LONG_SHARE = 1 / 8


class Texts(NamedTuple):
    """R rows: tokens int32[R, T], prompt_length and length int32[R], picture int32[R].

    prompt_length equals length in a row that counts for nothing.
    """

    tokens: np.ndarray
    prompt_length: np.ndarray
    length: np.ndarray
    picture: np.ndarray


class Step(NamedTuple):
    """pixels: uint8[B, S, S, 3], targets of their patches, and what is asked about them."""

    pixels: np.ndarray
    targets: Targets
    texts: tuple[Texts, ...]


class Deck:
    """Draws what each step learns from, the same for the same seed and number."""

    def __init__(self, lessons: Lessons, pictures: int, asked: int, seed: int):
        """pictures: of a step. asked: of these, how many are asked about."""
        self._lessons = lessons
        self._pictures = pictures
        self._asked = asked
        self._seed = seed
        count = len(lessons.pixels)
        ends = np.searchsorted(lessons.picture, np.arange(count + 1))
        self._of_picture = [np.arange(*pair) for pair in pairwise(ends)]
        self._length = np.diff(lessons.start)

    def step(self, number: int) -> Step:
        random = np.random.default_rng((self._seed, number))
        pictures = random.integers(len(self._lessons.pixels), size=self._pictures)
        wanted = Targets(*(part[pictures] for part in self._lessons.targets))
        texts = self._texts(random, pictures[: self._asked]) if self._asked else ()
        return Step(self._lessons.pixels[pictures], wanted, texts)

    def _texts(self, random: np.random.Generator, pictures: np.ndarray) -> tuple[Texts, ...]:
        brief, short, long = [], [], []
        for place, picture in enumerate(pictures):
            brief += [(place, self._some(random, picture, task)) for task in _BRIEF_TASKS]
            for task in _SHORT_TASKS:
                text = self._some(random, picture, task)
                if self._length[text] > SHORT:
                    long.append((place, text))
                    text = self._some(random, picture, "answer")
                short.append((place, text))
        room = max(int(len(pictures) * _LONG_SHARE), 1)
        long = [row for row in long if self._length[row[1]] <= LONG][:room]
        return (
            self._padded(brief, len(brief), BRIEF),
            self._padded(short, len(short), SHORT),
            self._padded(long, room, LONG),
        )

    def _some(self, random: np.random.Generator, picture: int, task: str) -> int:
        """A question of the task, or any other where the picture has none."""
        every = self._of_picture[picture]
        found = every[self._lessons.task[every] == TASKS.index(task)]
        if len(found) == 0:
            found = every[self._lessons.task[every] == TASKS.index("answer")]
        return int(random.choice(found))

    def _padded(self, rows: list[tuple[int, int]], count: int, length: int) -> Texts:
        lessons = self._lessons
        tokens = np.full((count, length), PAD, np.int32)
        numbers = np.ones((3, count), np.int32)
        numbers[2] = 0
        for row, (place, text) in enumerate(rows):
            found = lessons.tokens[lessons.start[text] : lessons.start[text + 1]]
            tokens[row, : len(found)] = found
            numbers[:, row] = lessons.prompt_length[text], len(found), place
        return Texts(tokens, *numbers)
