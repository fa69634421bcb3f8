"""Makes the small model again, from the photographs to the files in `model/small`.

    python -m examples.garments.build WORK

In WORK, each step going on from what is there and skipped where it is done: the mask codec, the
typical outlines, the tokenizer, the scenes with all that is asked about them, and four courses:
the vision tower learns to see, tower and decoder learn to answer, and twice both go on with fresh
scenes.

Needs Debian's dataset-fashion-mnist, scipy and scikit-learn; uses an accelerator where JAX finds
one.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from examples.garments.fashion import DEBIAN_FOLDER, load
from examples.garments.lessons import Lessons
from examples.garments.network import CONFIG, tokenizer
from examples.garments.outlines import Outlines
from examples.garments.scenes import Studio
from examples.garments.teach import Course, first_params, learn, location_blur
from model import small
from model.checkpoint import save_npz
from model.mask_encoder import crop
from model.mask_training import MaskTraining, save, train
from model.tokenizer import Tokenizer

# Scenes of one seed and number are the same; these keep the uses apart, and the scenes that
# `benchmarks.small_model` measures on come from other photographs besides.
_MASK_SEED, _LESSONS_SEED, _FRESH_SEEDS = 99, 1, (2, 3)
_MASK_SCENES = 3000
_WHITENED_SCENES = 1000


def main(argv: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(argv)
    work = options.work
    work.mkdir(parents=True, exist_ok=True)
    studio = Studio(load(options.dataset, "train"))
    codec = _once(work / "mask-codec.npz", lambda path: _train_codec(path, studio, options))
    outlines = _once(work / "outlines.npz", lambda path: Outlines.typical(studio, codec).save(path))
    pieces = _once(work / "tokenizer.model", lambda path: path.write_bytes(tokenizer()))
    best = Outlines.load(outlines, codec)
    draw = partial(_draw, studio, best, pieces)
    lessons = [
        _once(work / f"lessons-{seed}.npz", partial(draw, seed, scenes))
        for seed, scenes in (
            (_LESSONS_SEED, options.scenes),
            *((seed, options.fresh_scenes) for seed in _FRESH_SEEDS),
        )
    ]
    weights = _once(work / "weights.npz", lambda path: _learn(path, lessons, pieces, options))
    for made, carried in (
        (codec, small.MASK_CODEC),
        (outlines, small.OUTLINES),
        (pieces, small.TOKENIZER),
        (weights, small.CHECKPOINT),
    ):
        shutil.copyfile(made, options.output / carried.name)
        print(f"wrote {options.output / carried.name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, metavar="WORK")
    parser.add_argument("--output", type=Path, default=small.FOLDER, help="where the files go")
    parser.add_argument("--dataset", type=Path, default=DEBIAN_FOLDER)
    parser.add_argument("--codec-steps", type=int, default=6000)
    parser.add_argument("--scenes", type=int, default=60_000)
    parser.add_argument("--sight-steps", type=int, default=2_500, help="of the tower alone")
    parser.add_argument("--steps", type=int, default=5_000, help="of tower and decoder")
    parser.add_argument("--fresh-scenes", type=int, default=30_000, help="each time")
    parser.add_argument("--fresh-steps", type=int, default=2_000, help="on fresh scenes, each time")
    parser.add_argument("--save-every", type=int, default=250, help="steps")
    return parser


def _once(path: Path, make) -> Path:
    """`make(path)`, unless that is done; what was begun and interrupted is made again."""
    partial = path.with_name(f"partial-{path.name}")
    if not path.exists():
        print(f"making {path}", flush=True)
        shutil.rmtree(partial, ignore_errors=True)
        make(partial)
        os.replace(partial, path)
    return path


def _train_codec(path: Path, studio: Studio, options: argparse.Namespace) -> None:
    scenes = (studio.scene(_MASK_SEED, number) for number in range(_MASK_SCENES))
    masks = np.stack([crop(each.mask, each.box) for scene in scenes for each in scene.garments])
    settings = MaskTraining(
        steps=options.codec_steps, free_steps=options.codec_steps // 5, batch_size=16
    )
    save(path, train(masks, settings, lambda step, loss: print(f"{step}: {loss:.4f}", flush=True)))


def _draw(
    studio: Studio, outlines: Outlines, pieces: Path, seed: int, scenes: int, path: Path
) -> None:
    def report(number: int) -> None:
        if number % 1000 == 0:
            print(f"scene {number}", flush=True)

    patch = CONFIG.vision.patch_size
    lessons = Lessons.draw(studio, outlines, Tokenizer.load(pieces), seed, scenes, patch, report)
    lessons.save(path)


def _learn(path: Path, drawn: list[Path], pieces: Path, options: argparse.Namespace) -> None:
    blur = location_blur(Tokenizer.load(pieces).first_location)
    lessons = Lessons.load(drawn[0])
    params = first_params(CONFIG, lessons.pixels[:_WHITENED_SCENES], blur)
    # Gradients of a decoder that knows nothing would be of no use to a tower that can't see.
    sight = Course(options.sight_steps, pictures=32, asked=0, matrices=0.02, others=2e-3, fall=0)
    # The rates fall from the start: what is learnt at high ones is lost in their noise.
    whole = Course(options.steps, pictures=36, asked=12, matrices=0.015, others=1.5e-3, seed=2)
    again = replace(whole, steps=options.fresh_steps, matrices=0.005, others=5e-4, seed=3)

    def take(name: str, course: Course) -> dict:
        course = replace(course, save_every=options.save_every)
        return learn(options.work / name, course, CONFIG, params, lessons, blur, _report)

    params = take("sight", sight)
    params = take("whole", whole)
    for fresh in drawn[1:]:
        lessons = Lessons.load(fresh)
        params = take(f"again-{fresh.stem}", again)
    save_npz(str(path), {name: params[name] for name in ("img", "llm")}, "float32")


def _report(step: int, measures: dict[str, float]) -> None:
    told = ", ".join(f"{name} {value:.3f}" for name, value in measures.items())
    print(f"{step}: {told}", flush=True)


if __name__ == "__main__":
    main()
