"""What of the engine's speed does the pipeline keep? Prints both and their ratio.

    python benchmarks/pipeline_speed.py [--model small] [--filters default] [--images 240]

Engine alone: pictures already decoded, prompts already tokens. Pipeline: `palipipe annotate` from
WebDataset shards of JPEGs of 640 x 480 to committed Parquet, the same engine in the same process,
batches and new tokens. The two take turns, so that a busy machine slows both. Loading, compiling
and planning are before both and in neither; a pipeline's first batch and its commit are in its
time.

On a machine whose only processors are the model's, decoding a picture takes time from the model:
the CPU seconds of both are printed, and those of decoding a picture by itself. With an accelerator
they are spent beside it.

Goal: the pipeline keeps at least 95 %.
"""

from __future__ import annotations

import argparse
import io
import shutil
import statistics
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from model import small, tiny
from model.annotator import Annotator
from model.checkpoint import save_npz
from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig
from model.paligemma import init_random
from model.preprocess import resize
from model.tasks import Prompt
from pipelines import annotate_options
from pipelines.annotate_plan import make_plan
from pipelines.feeding import Feeding
from pipelines.logs import quiet
from pipelines.plan import Plan
from pipelines.running import Run, committing
from transforms.images import decode
from transforms.inference import annotator

SHARD_RECORDS = 120
PICTURE = (640, 480)
TASK = "caption en"

# 24 million parameters: enough that a picture takes tens of milliseconds on two cores.
MIDDLE = PaliGemmaConfig(
    vision=VisionConfig(image_size=224, width=384, depth=6, mlp_dim=1536, num_heads=6),
    language=GemmaConfig(
        width=512,
        depth=3,
        mlp_dim=2048,
        num_heads=8,
        num_kv_heads=1,
        head_dim=64,
        query_scale=64**-0.5,
        vocab_size=1792,
    ),
)


@dataclass(frozen=True)
class Turn:
    """One pass over the images: wall and CPU seconds, and for the pipeline how it was fed."""

    seconds: float
    cpu: float
    feeding: Feeding | None = None


def photographs() -> Iterator[Image.Image]:
    """Different cuts of scikit-image's photographs, without end; the same in every run."""
    from skimage import data

    whole = [Image.fromarray(p) for p in (data.astronaut(), data.coffee(), data.rocket())]
    random = np.random.default_rng(0)
    while True:
        for picture in whole:
            width, height = (round(side * random.uniform(0.6, 1)) for side in picture.size)
            left = random.integers(0, picture.width - width + 1)
            top = random.integers(0, picture.height - height + 1)
            yield picture.resize(PICTURE, box=(left, top, left + width, top + height))


def write_corpus(folder: Path, images: int) -> list[bytes]:
    """Shards of JPEGs; returns the JPEGs."""
    pictures, encoded = photographs(), []
    for first in range(0, images, SHARD_RECORDS):
        with tarfile.open(folder / f"{first:06}.tar", "w") as tar:
            for index in range(first, min(first + SHARD_RECORDS, images)):
                buffer = io.BytesIO()
                next(pictures).save(buffer, "JPEG", quality=85)
                encoded.append(buffer.getvalue())
                member = tarfile.TarInfo(f"{index:06}.jpg")
                member.size = len(encoded[-1])
                tar.addfile(member, io.BytesIO(encoded[-1]))
    return encoded


def timed(work: Callable[[], Feeding | None]) -> Turn:
    seconds, cpu = time.perf_counter(), time.process_time()
    feeding = work()
    return Turn(time.perf_counter() - seconds, time.process_time() - cpu, feeding)


def engine_alone(model: Annotator, pixels: np.ndarray, options: argparse.Namespace) -> None:
    """Every picture through the engine, in the pipeline's batches."""
    prompt = model.tokenizer.encode_prompt(Prompt(TASK).text)
    for start in range(0, len(pixels), options.batch_size):
        batch = pixels[start : start + options.batch_size]
        tokens = model.engine.encode_images(batch)
        model.engine.generate(tokens, [prompt] * len(batch), max_new_tokens=options.max_new_tokens)


def pipeline(plan: Plan, options: argparse.Namespace) -> Feeding | None:
    began = time.perf_counter()
    totals: Counter[str] = Run("annotate", options).go_through(plan.pending, committing(plan.job))
    return Feeding.of(totals, time.perf_counter() - began)


def report(images: int, alone: list[Turn], piped: list[Turn], decoding: float) -> None:
    print(f"{'':<26}{'images/s':>10}{'CPU s an image':>16}")
    for name, turns in (("engine alone", alone), ("pipeline", piped)):
        rates = " ".join(f"{images / turn.seconds:.1f}" for turn in turns)
        cpu = statistics.median(turn.cpu for turn in turns) / images
        rate = images / statistics.median(turn.seconds for turn in turns)
        print(f"{name:<26}{rate:>10.1f}{cpu:>16.4f}   of {rates}")
    print(f"{'decoding and resizing':<26}{'':>10}{decoding:>16.4f}   in one thread")
    ratios = [a.seconds / p.seconds for a, p in zip(alone, piped, strict=True)]
    each = " ".join(f"{ratio:.1%}" for ratio in ratios)
    print(f"the pipeline keeps {statistics.median(ratios):.1%} of the engine's speed (of {each})")
    for turn in piped:
        assert turn.feeding is not None
        print(turn.feeding.text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=["middle", "small"], default="middle")
    parser.add_argument("--filters", default="off")
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        corpus = root / "corpus"
        corpus.mkdir()
        encoded = write_corpus(corpus, given.images)
        checkpoint, tokenizer = small.CHECKPOINT, small.TOKENIZER
        if given.model == "middle":
            checkpoint, tokenizer = root / "middle.npz", tiny.TOKENIZER
            save_npz(str(checkpoint), init_random(MIDDLE, 0))
        line = [
            *("--input", f"{corpus}/*.tar", "--output", str(root / "out"), "--progress", "none"),
            *("--checkpoint", str(checkpoint), "--tokenizer", str(tokenizer), "--task", TASK),
            *("--batch-size", str(given.batch_size), "--filters", given.filters),
            *("--max-new-tokens", str(given.new_tokens), "--dtype", given.dtype),
        ]
        options, _ = annotate_options.parse(line)
        plan = make_plan(options)
        assert plan.job.annotator is not None
        model = annotator(plan.job.annotator)
        size = model.engine.image_size

        def shown(jpeg: bytes) -> np.ndarray:
            return resize(decode(jpeg, 10**8, at_least=(size, size))[1], size)

        began = time.thread_time()
        pixels = np.stack([shown(jpeg) for jpeg in encoded])
        decoding = (time.thread_time() - began) / len(encoded)
        engine_alone(model, pixels[: given.batch_size], options)
        alone, piped = [], []
        for _ in range(given.turns):
            alone.append(timed(lambda: engine_alone(model, pixels, options)))
            piped.append(timed(lambda: pipeline(plan, options)))
            shutil.rmtree(root / "out", ignore_errors=True)
        report(given.images, alone, piped, decoding)


if __name__ == "__main__":
    main()
