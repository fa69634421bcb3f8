"""Makes the small model again, from the photographs to the files in `model/small`.

    python -m examples.garments.build WORK

In WORK, each step going on from what is there and skipped where it is done: the mask codec, the
tokenizer, the pre-trained vision tower, the corpus, then `palipipe finetune` twice: the decoder
alone, and all of it. `--continue-from` trains a model that is already good further.

Needs Debian's dataset-fashion-mnist and scipy; uses an accelerator where JAX finds one.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from examples.garments.corpus import corpus, write_pairs
from examples.garments.fashion import DEBIAN_FOLDER, load
from examples.garments.network import CONFIG, tokenizer
from examples.garments.pretrain import Pretraining, draw, pretrain
from examples.garments.scenes import Studio
from model import small
from model.checkpoint import save_npz
from model.mask_encoder import MaskEncoder, crop
from model.mask_training import MaskTraining, save, train
from model.paligemma import init_random
from pipelines import finetune

# Scenes of one seed and number are the same; these keep the uses apart, and the scenes that
# `benchmarks.small_model` measures on come from other photographs besides.
_MASK_SEED, _PRETRAIN_SEED, _CORPUS_SEED, _CHECK_SEED = 99, 1, 2, 3
_MASK_SCENES = 3000
_CHECKED_SCENES = 60


def main(argv: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(argv)
    options.work.mkdir(parents=True, exist_ok=True)
    studio = Studio(load(options.dataset, "train"))
    codec, pieces, start = _start(options, studio)
    encoder = MaskEncoder.load(codec)
    learned = _once(
        options.work / "train",
        lambda path: write_pairs(path, corpus(studio, encoder, _CORPUS_SEED, options.scenes)),
    )
    checked = _once(
        options.work / "check",
        lambda path: write_pairs(
            path,
            corpus(Studio(load(options.dataset, "test")), encoder, _CHECK_SEED, _CHECKED_SCENES),
        ),
    )
    common = _finetune_options(options, checked, pieces)
    if not options.continue_from:
        frozen = options.work / "frozen-tower"
        # Gradients of a decoder that knows nothing would undo what the tower has learnt.
        stage = ("--freeze", "img/*", "--steps", options.decoder_steps, "--learning-rate", 2e-3)
        # Masks are most of all tokens and the hardest to learn; boxes and words come first.
        short = _once(learned / "no-masks.jsonl", lambda path: _without_masks(learned, path))
        _finetune(frozen, start, "--input", short, *stage, *common)
        start = frozen / "model.npz"
    stage = ("--steps", options.steps, "--learning-rate", options.learning_rate)
    _finetune(options.work / "whole", start, "--input", learned / "pairs.jsonl", *stage, *common)
    for made, carried in (
        (codec, small.MASK_CODEC),
        (pieces, small.TOKENIZER),
        (options.work / "whole" / "model.npz", small.CHECKPOINT),
    ):
        if made.resolve() != (options.output / carried.name).resolve():
            shutil.copyfile(made, options.output / carried.name)
        print(f"wrote {options.output / carried.name}")


def _start(options: argparse.Namespace, studio: Studio) -> tuple[Path, Path, Path]:
    """Mask codec, tokenizer and the weights to begin at, which have to go together."""
    if options.continue_from:
        beside = options.continue_from.parent
        return beside / small.MASK_CODEC.name, beside / small.TOKENIZER.name, options.continue_from
    work = options.work
    return (
        _once(work / "mask-codec.npz", lambda path: _train_codec(path, studio, options)),
        _once(work / "tokenizer.model", lambda path: path.write_bytes(tokenizer())),
        _once(work / "pretrained.npz", lambda path: _pretrain(path, studio, options)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, metavar="WORK")
    parser.add_argument("--output", type=Path, default=small.FOLDER, help="where the files go")
    parser.add_argument("--dataset", type=Path, default=DEBIAN_FOLDER)
    parser.add_argument("--codec-steps", type=int, default=6000)
    parser.add_argument("--pretrain-scenes", type=int, default=60_000)
    parser.add_argument("--pretrain-steps", type=int, default=40_000)
    parser.add_argument("--scenes", type=int, default=60_000)
    parser.add_argument("--decoder-steps", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--save-every", type=int, default=500, help="steps of finetune")
    parser.add_argument(
        "--continue-from",
        type=Path,
        metavar="NPZ",
        help="a model to train further, its tokenizer and mask codec beside it",
    )
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


def _pretrain(path: Path, studio: Studio, options: argparse.Namespace) -> None:
    settings = Pretraining(steps=options.pretrain_steps)
    drawn = draw(studio, _PRETRAIN_SEED, options.pretrain_scenes, CONFIG.vision.patch_size)

    def report(step: int, measures: dict[str, float]) -> None:
        print(f"{step}: {', '.join(f'{k} {v:.3f}' for k, v in measures.items())}", flush=True)

    params = init_random(CONFIG, seed=0)
    params["img"] = pretrain(*drawn, CONFIG, settings, report)
    save_npz(str(path), params)


def _without_masks(corpus: Path, path: Path) -> None:
    with (corpus / "pairs.jsonl").open() as lines, path.open("w") as kept:
        kept.writelines(line for line in lines if "<seg" not in line)


def _finetune_options(options: argparse.Namespace, checked: Path, pieces: Path) -> tuple:
    return (
        *("--held-out", checked / "pairs.jsonl"),
        *("--tokenizer", pieces, "--batch-size", options.batch_size, "--buckets", 3),
        *("--max-tokens", 64, "--beta2", 0.99, "--weigh", "token"),
        *("--export-dtype", "bfloat16"),
        *("--save-every", options.save_every, "--evaluate-every", options.save_every),
    )


def _finetune(output: Path, checkpoint: Path, *arguments: object) -> None:
    argv = ("--output", output, "--checkpoint", checkpoint, *arguments)
    if finetune.main([str(argument) for argument in argv]):
        raise SystemExit(f"palipipe finetune failed in {output}")


if __name__ == "__main__":
    main()
