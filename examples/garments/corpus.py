"""Writes a corpus of scenes with captions, questions and answers, boxes, masks and text.

    python -m examples.garments.corpus OUT --split train --scenes 20000 --seed 1
    python -m examples.garments.corpus OUT --split test --scenes 100 --format webdataset

As `list`, for training: OUT/pairs.jsonl with one {"image", "prefix", "suffix"} a line, and the
pictures beside it. In the other formats one record is one scene; its text is the caption, and its
metadata hold a question and its answer, what to detect and to segment, and what that should give.
Needs Debian's dataset-fashion-mnist, and scipy.
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from examples.build import (
    Picture,
    write_files,
    write_parquet,
    write_tfrecord,
    write_webdataset,
)
from examples.garments import words
from examples.garments.fashion import DEBIAN_FOLDER, SPLITS, load
from examples.garments.outlines import Outlines
from examples.garments.scenes import Scene, Studio
from examples.garments.words import Pair
from model import small

FORMATS = ("list", "webdataset", "tfrecord", "parquet", "files")

_ANSWERS = 2
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class Example:
    """A scene, named by its number, and what is asked of it."""

    name: str
    scene: Scene
    pairs: tuple[Pair, ...]


def corpus(
    studio: Studio, outlines: Outlines, seed: int, scenes: int, answers: int = _ANSWERS
) -> Iterator[Example]:
    """The examples of scenes 0 to `scenes` - 1; each depends on the seed and its number alone."""
    for number in range(scenes):
        scene = studio.scene(seed, number)
        codes = outlines.codes[outlines.numbers(scene)]
        # Apart from the scene's own numbers, which `Studio` draws from (seed, number).
        random = np.random.default_rng((seed, number, 1))
        asked = pairs(scene, codes, random, answers)
        yield Example(f"garments-{seed}-{number:06d}", scene, asked)


def pairs(
    scene: Scene, codes: np.ndarray, random: np.random.Generator, answers: int
) -> tuple[Pair, ...]:
    """Caption, some questions, a detection, a segmentation, and the tag's text if there is one."""
    questions = words.answers(scene, random)
    chosen = random.choice(len(questions), min(answers, len(questions)), replace=False)
    kind = words.some_kinds(scene, random)[0]
    found = [
        words.caption(scene),
        *(questions[number] for number in sorted(chosen)),
        words.detect(scene, words.some_kinds(scene, random)),
        words.segment(scene, kind, codes.tolist()),
        words.ocr(scene),
    ]
    return tuple(pair for pair in found if pair is not None)


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def write_pairs(folder: Path, examples: Iterator[Example]) -> None:
    """folder/pairs.jsonl, and the pictures in folder/images."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (folder / "pairs.jsonl").open("w", encoding="utf-8") as lines:
        for example in examples:
            image = f"images/{example.name}.jpg"
            (folder / image).write_bytes(jpeg(example.scene.pixels))
            for pair in example.pairs:
                line = {"image": image, "prefix": pair.prefix, "suffix": pair.suffix}
                lines.write(json.dumps(line) + "\n")


def as_picture(example: Example) -> Picture:
    """The scene as a record of the other formats; the same fields for every scene."""
    by_task = {pair.task: pair for pair in example.pairs}
    question = by_task["answer"]
    metadata = {
        "question": question.prefix.removeprefix("answer en "),
        "answer": question.suffix,
        "detect": by_task["detect"].prefix.removeprefix("detect "),
        "boxes": by_task["detect"].suffix,
        "segment": by_task["segment"].prefix.removeprefix("segment "),
        "masks": by_task["segment"].suffix,
        "tag": by_task["ocr"].suffix if "ocr" in by_task else "",
    }
    data = jpeg(example.scene.pixels)
    return Picture(example.name, "jpg", data, by_task["caption"].suffix, metadata)


def write(folder: Path, examples: Iterator[Example], form: str) -> None:
    """The corpus in one of FORMATS."""
    if form == "list":
        write_pairs(folder, examples)
        return
    pictures = [as_picture(example) for example in examples]
    folder.mkdir(parents=True, exist_ok=True)
    if form == "webdataset":
        write_webdataset(folder / "garments.tar", pictures)
    elif form == "tfrecord":
        write_tfrecord(folder / "garments.tfrecord", pictures)
    elif form == "parquet":
        write_parquet(folder / "garments.parquet", pictures)
    else:
        write_files(folder, pictures)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="OUT")
    parser.add_argument("--split", choices=SPLITS, required=True)
    parser.add_argument("--scenes", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=FORMATS, default="list")
    parser.add_argument("--dataset", type=Path, default=DEBIAN_FOLDER)
    options = parser.parse_args(argv)
    studio = Studio(load(options.dataset, options.split))
    outlines = Outlines.load(small.OUTLINES, small.MASK_CODEC)
    write(options.folder, corpus(studio, outlines, options.seed, options.scenes), options.format)


if __name__ == "__main__":
    main()
