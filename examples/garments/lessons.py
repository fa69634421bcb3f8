"""What the small model learns from: scenes, what their patches show, what is asked and answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples.garments import words
from examples.garments.outlines import Outlines
from examples.garments.patches import Targets, targets
from examples.garments.scenes import SIZE, Scene, Studio
from examples.garments.words import TASKS, Pair
from model.tokenizer import EOS, Tokenizer

_ROUNDS = 3  # of questions and detections, drawn anew
_PIXELS = "pixels"
_TEXT = ("picture", "task", "start", "prompt_length", "tokens")


@dataclass(frozen=True)
class Lessons:
    """pixels: uint8[N, S, S, 3]. targets: of their patches. Of each of M questions and answers:

    picture: int64[M], ascending. task: uint8[M], its place in TASKS. prompt_length: int64[M].
    tokens: int32, one behind the other, those of number i from start[i] to start[i + 1].
    """

    pixels: np.ndarray
    targets: Targets
    picture: np.ndarray
    task: np.ndarray
    start: np.ndarray
    prompt_length: np.ndarray
    tokens: np.ndarray

    def save(self, path: Path) -> None:
        """As one .npz; it has to have that ending."""
        text = {name: getattr(self, name) for name in _TEXT}
        np.savez(path, pixels=self.pixels, **self.targets._asdict(), **text)

    @classmethod
    def load(cls, path: Path) -> Lessons:
        with np.load(path) as arrays:
            found = Targets(*(arrays[name] for name in Targets._fields))
            return cls(arrays[_PIXELS], found, *(arrays[name] for name in _TEXT))

    @classmethod
    def draw(
        cls,
        studio: Studio,
        outlines: Outlines,
        tokenizer: Tokenizer,
        seed: int,
        scenes: int,
        patch: int,
        report: Callable[[int], None] = lambda number: None,
    ) -> Lessons:
        """Scenes 0 to `scenes` - 1 of the seed. report: is told each that is done."""
        pixels = np.empty((scenes, SIZE, SIZE, 3), np.uint8)
        wanted, asked = [], []
        for number in range(scenes):
            scene = studio.scene(seed, number)
            shapes = outlines.numbers(scene)
            random = np.random.default_rng((seed, number, 1))
            pixels[number] = scene.pixels
            wanted.append(targets(scene, shapes, patch))
            asked.append(pairs(scene, outlines.codes[shapes], random))
            report(number)
        stacked = Targets(*map(np.stack, zip(*wanted, strict=True)))
        return cls(pixels, stacked, *encoded(asked, tokenizer))


def pairs(scene: Scene, codes: np.ndarray, random: np.random.Generator) -> list[Pair]:
    """Caption, tag, every kind's segmentation, and some questions and detections of each sort."""
    kinds = sorted({each.kind for each in scene.garments})
    found = [
        words.caption(scene),
        words.ocr(scene),
        *(words.segment(scene, kind, codes.tolist()) for kind in kinds),
    ]
    for _ in range(_ROUNDS):
        found += words.answers(scene, random)
        found.append(words.detect(scene, words.some_kinds(scene, random)))
    return list(dict.fromkeys(pair for pair in found if pair is not None))


def encoded(asked: Sequence[Sequence[Pair]], tokenizer: Tokenizer) -> tuple[np.ndarray, ...]:
    """The arrays of `Lessons` from `picture` on."""
    picture = [number for number, each in enumerate(asked) for _ in each]
    every = [pair for each in asked for pair in each]
    prompts = [tokenizer.encode_prompt(pair.prefix) for pair in every]
    texts = [
        [*prompt, *tokenizer.encode(pair.suffix), EOS]
        for prompt, pair in zip(prompts, every, strict=True)
    ]
    return (
        np.array(picture, np.int64),
        np.array([TASKS.index(pair.task) for pair in every], np.uint8),
        np.concatenate([[0], np.cumsum([len(text) for text in texts])]).astype(np.int64),
        np.array([len(prompt) for prompt in prompts], np.int64),
        np.array([token for text in texts for token in text], np.int32),
    )
