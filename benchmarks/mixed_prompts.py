"""What do batches of like prompts gain where records bring their own? Prints steps and seconds.

    python benchmarks/mixed_prompts.py [--images 512]

Asks the small model of pictures whose prompts are mixed at random (captions, answers, boxes, masks,
tags), once in batches as the records come and once in batches as the pipeline forms them, by turns.
A decoding step costs the same whether a row still writes or has ended.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from model import small
from model.annotator import Annotator, AnnotatorSpec, describe
from model.tasks import Prompt
from model.usage import Usage
from transforms import batching
from transforms.prepare import Example
from transforms.record import Record, Source

PROMPTS = (
    "caption en",
    "answer en how many bags are there?",
    "answer en which colour is the boot that stands to the left of the other one?",
    "detect bag",
    "detect bag ; boot ; dress",
    "segment boot",
    "ocr",
)


def examples(count: int, size: int) -> list[Example]:
    random = np.random.default_rng(0)
    return [
        Example(
            Record(f"{number}", Source("", "", number, f"{number}"), b""),
            {},
            random.integers(0, 256, (size, size, 3), np.uint8),
            (Prompt(PROMPTS[random.integers(len(PROMPTS))]),),
        )
        for number in range(count)
    ]


def run(
    model: Annotator, window: list[Example], batch_size: int, width: int
) -> tuple[Usage, float]:
    """Annotates them in batches formed within windows of so many batches."""
    before, began = model.used, time.perf_counter()
    for start in range(0, len(window), width * batch_size):
        for batch in batching.batches(window[start : start + width * batch_size], batch_size):
            pixels = np.stack([example.pixels for example in batch])
            sizes = [pixels.shape[1:3]] * len(batch)
            model.annotate(pixels, [example.prompts for example in batch], sizes)
    return model.used - before, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    spec, _ = describe(
        AnnotatorSpec(
            tasks=("{prompt}",),
            checkpoint=str(small.CHECKPOINT),
            batch_size=options.batch_size,
            max_prompt_tokens=64,
        )
    )
    model = Annotator.load(spec)
    mixed = examples(options.images, model.engine.image_size)
    widths = (1, batching.WINDOW_BATCHES)
    turns = [
        {width: run(model, mixed, options.batch_size, width) for width in widths}
        for _ in range(options.turns)
    ]
    print(f"{'batches sorted together':<26}{'row-steps':>12}{'wrote a token':>16}{'images/s':>12}")
    for width in widths:
        used = turns[0][width][0]
        seconds = statistics.median(turn[width][1] for turn in turns)
        share = used.tokens / used.row_steps
        rate = options.images / seconds
        print(f"{width:<26}{used.row_steps:>12,}{share:>16.1%}{rate:>12.1f}")


if __name__ == "__main__":
    main()
