"""How well the small model annotates scenes it has not seen, against its goals.

    python -m benchmarks.small_model [--scenes 1000] [--checkpoint PATH] [--pictures FOLDER]

Scenes are drawn from Fashion-MNIST's test split (Debian's dataset-fashion-mnist), of which nothing
was trained on, and asked one caption, question, detection and segmentation each, and the text of
their tag if they have one.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from examples.garments.corpus import Example, corpus
from examples.garments.fashion import DEBIAN_FOLDER, load
from examples.garments.outlines import Outlines
from examples.garments.scenes import SIZE, Studio
from model import rle, small
from model.annotator import Annotation, Annotator, AnnotatorSpec, describe
from model.boxes import Box
from model.parse import parse
from model.tasks import Prompt

SEED = 1_000_003
"""Of the held-out scenes; those to train on have smaller ones."""

TASKS = {
    "caption": "caption en",
    "answer": "answer en {question}",
    "detect": "detect {kinds}",
    "segment": "segment {kind}",
    "ocr": "ocr",
}
BATCH = 16
_ZOOM = 3
_ARTICLE = re.compile(r"^an? ")


@dataclass(frozen=True)
class Measure:
    """goal: what it should reach at least. value: nan where nothing was asked. asked: how often."""

    name: str
    goal: float
    value: float
    asked: int


def annotator(
    checkpoint: str, tokenizer: str, mask_decoder: str, dtype: str = "float32"
) -> Annotator:
    """A model for all five tasks."""
    spec = AnnotatorSpec(
        tasks=tuple(TASKS.values()),
        checkpoint=checkpoint,
        tokenizer=tokenizer,
        dtype=dtype,
        batch_size=BATCH,
        max_prompt_tokens=16,
        mask_decoder=mask_decoder,
    )
    return Annotator.load(describe(spec)[0])


def held_out(scenes: int, dataset: Path) -> Iterator[Example]:
    """The first `scenes` held-out scenes and what is asked of them."""
    studio = Studio(load(dataset, "test"))
    outlines = Outlines.load(small.OUTLINES, small.MASK_CODEC)
    return corpus(studio, outlines, SEED, scenes, answers=1)


def annotate(model: Annotator, examples: Iterable[Example]) -> Iterator[dict[str, Annotation]]:
    """The answers to each example by task. RuntimeError where a scene can't be annotated."""
    remaining = iter(examples)
    while batch := list(islice(remaining, BATCH)):
        pixels = np.stack([example.scene.pixels for example in batch])
        rows = model.annotate(pixels, list(map(_prompts, batch)), [(SIZE, SIZE)] * len(batch))
        for row in rows:
            if not isinstance(row, list):
                raise RuntimeError("a scene can't be annotated") from row
            yield dict(zip(TASKS, row, strict=True))


def measure(examples: Sequence[Example], answers: Sequence[dict[str, Annotation]]) -> list[Measure]:
    """The table's rows. A mask or box that isn't found counts as an overlap of 0."""
    asked = list(zip(examples, answers, strict=True))
    captions = [_named(a["caption"].text) == _garments(e) for e, a in asked]
    named = [_share_named(e, a["caption"].text) for e, a in asked]
    right = [a["answer"].text == _pair(e, "answer").suffix for e, a in asked]
    read = [a["ocr"].text == e.scene.tag.text for e, a in asked if e.scene.tag]
    boxes = [overlap for e, a in asked for overlap in _box_overlaps(e, a["detect"])]
    masks = [overlap for e, a in asked for overlap in _mask_overlaps(e, a["segment"])]
    found = [overlap for overlap in boxes if overlap > 0]
    rows = (
        ("captions naming every garment and colour", 0.85, captions),
        ("  garments named with their colour", float("nan"), named),
        ("answers", 0.90, right),
        ("mean IoU of matched boxes", 0.80, found),
        ("recall of boxes at IoU 0.5", 0.85, [overlap >= 0.5 for overlap in boxes]),
        ("mean IoU of masks", 0.65, masks),
        ("tags read exactly", 0.85, read),
    )
    return [
        Measure(name, goal, float(np.mean(each)) if each else float("nan"), len(each))
        for name, goal, each in rows
    ]


def print_table(measures: Sequence[Measure]) -> None:
    print("| measure | goal | reached | asked |\n| --- | --- | --- | --- |")
    for each in measures:
        goal = "" if np.isnan(each.goal) else f"{each.goal:.2f}"
        print(f"| {each.name} | {goal} | {each.value:.3f} | {each.asked:,} |")


def print_agreement(
    answers: Sequence[dict[str, Annotation]], exact: Sequence[dict[str, Annotation]], dtype: str
) -> None:
    """How many answers of each task are float32's (`exact`), as they were written."""
    print(f"| answers of {dtype} that are float32's, to the token | |\n| --- | --- |")
    for task in TASKS:
        same = [one[task].raw == other[task].raw for one, other in zip(answers, exact, strict=True)]
        print(f"| {task} | {np.mean(same):.3f} |")


def draw(example: Example, answers: dict[str, Annotation]) -> Image.Image:
    """The scene with the boxes and masks found, and what was answered."""
    pixels = example.scene.pixels.copy()
    for mask in answers["segment"].masks:
        inside = rle.decode(mask.counts, mask.height, mask.width)
        pixels[inside] = pixels[inside] // 2 + np.array([0, 127, 127], np.uint8)
    side = SIZE * _ZOOM
    picture = Image.new("RGB", (side, side + 60))
    picture.paste(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST))
    pen = ImageDraw.Draw(picture)
    for box in answers["detect"].boxes:
        pen.rectangle(box.pixels(side, side), outline="lime")
        pen.text((box.x_min * side + 2, box.y_min * side), box.label, fill="lime")
    lines = [answers["caption"].text, _line(answers["answer"]), f"ocr: {answers['ocr'].text}"]
    lines.append(f"{answers['detect'].prompt.text} | {answers['segment'].prompt.text}")
    pen.text((2, side + 2), "\n".join(lines), fill="white", spacing=2)
    return picture


def _line(answer: Annotation) -> str:
    return f"{answer.prompt.text.removeprefix('answer en ')} {answer.text}"


def _prompts(example: Example) -> list[Prompt]:
    prefixes = {pair.task: pair.prefix for pair in example.pairs}
    # A scene without a tag is asked as well, as a batch is; what it answers isn't counted.
    return [Prompt(prefixes.get(task, "ocr")) for task in TASKS]


def _pair(example: Example, task: str):
    return next(pair for pair in example.pairs if pair.task == task)


def _garments(example: Example) -> Counter:
    return Counter(f"{each.colour} {each.kind}" for each in example.scene.garments)


def _named(caption: str) -> Counter:
    """The garments a caption names: "a red dress, blue trousers and a bag", without articles."""
    phrases = caption.replace(" and ", ", ").split(", ")
    return Counter(_ARTICLE.sub("", phrase) for phrase in phrases)


def _share_named(example: Example, caption: str) -> float:
    there = _garments(example)
    return (there & _named(caption)).total() / there.total()


def _box_overlaps(example: Example, answer: Annotation) -> list[float]:
    """For each box that should be found, its overlap with the one it was matched with, or 0."""
    wanted = parse(_pair(example, "detect").suffix, wants_objects=True).boxes
    overlaps = np.array(
        [
            [box_iou(one, other) * (one.label == other.label) for other in answer.boxes]
            for one in wanted
        ]
    )
    return match(overlaps.reshape(len(wanted), -1))


def _mask_overlaps(example: Example, answer: Annotation) -> list[float]:
    """The same for the masks as drawn: the truth is the garment's own mask, not its codes'."""
    kind = _pair(example, "segment").prefix.removeprefix("segment ")
    wanted = [each.mask for each in example.scene.garments if each.kind == kind]
    found = [
        rle.decode(mask.counts, mask.height, mask.width)
        for mask in answer.masks
        if mask.label == kind
    ]
    overlaps = np.array([[mask_iou(one, other) for other in found] for one in wanted])
    return match(overlaps.reshape(len(wanted), -1))


def match(overlaps: np.ndarray) -> list[float]:
    """Pairs rows with columns, largest overlap first: the overlap of each row, 0 without a pair."""
    left = overlaps.copy()
    matched = [0.0] * len(left)
    while left.size and left.max() > 0:
        row, column = np.unravel_index(left.argmax(), left.shape)
        matched[row] = float(left[row, column])
        left[row], left[:, column] = 0, 0
    return matched


def box_iou(one: Box, other: Box) -> float:
    """Intersection over union of areas; 0 where both are empty."""
    height = min(one.y_max, other.y_max) - max(one.y_min, other.y_min)
    width = min(one.x_max, other.x_max) - max(one.x_min, other.x_min)
    common = max(height, 0) * max(width, 0)
    areas = sum((b.y_max - b.y_min) * (b.x_max - b.x_min) for b in (one, other))
    return common / (areas - common) if areas > common else 0.0


def mask_iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of bool[H, W]; 0 where both are empty."""
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 0.0


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=1000)
    parser.add_argument("--checkpoint", default=str(small.CHECKPOINT))
    parser.add_argument("--tokenizer", default=str(small.TOKENIZER))
    parser.add_argument("--mask-codec", default=str(small.MASK_CODEC))
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=["float32", "bfloat16", "int8"],
        help="other than float32, also: how many answers stay what float32 says",
    )
    parser.add_argument("--dataset", type=Path, default=DEBIAN_FOLDER)
    parser.add_argument("--pictures", type=Path, help="folder for drawings of the first scenes")
    options = parser.parse_args(argv)
    examples = list(held_out(options.scenes, options.dataset))
    files = options.checkpoint, options.tokenizer, options.mask_codec
    answers = list(annotate(annotator(*files, options.dtype), examples))
    print_table(measure(examples, answers))
    if options.dtype != "float32":
        exact = list(annotate(annotator(*files), examples))
        print_agreement(answers, exact, options.dtype)
    if options.pictures:
        options.pictures.mkdir(parents=True, exist_ok=True)
        for example, answer in islice(zip(examples, answers, strict=True), 24):
            draw(example, answer).save(options.pictures / f"{example.name}.png")


if __name__ == "__main__":
    main()
