"""The engine on a CPU beside transformers: PaliGemma 3B's shapes, random weights, one run.

    python -m venv RIVAL && RIVAL/bin/pip install torch==2.13.0 transformers==5.23.0
    python -m benchmarks.cpu_engine --rival-python RIVAL/bin/python

224 pixels, a prompt of 8 tokens, 16 new tokens, both in bfloat16, ours in int8 too. The two take
turns, so that what else the machine does falls on both; the best of the rounds counts. Without a
rival's Python ours alone is timed. Needs 14 GB of memory, and on two cores some 15 minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import jax
import numpy as np

from model.checkpoint.buffers import aligned_empty
from model.checkpoint.tree import parameter_shapes, unflatten
from model.config import CONFIGS
from model.engine import Engine
from model.fit import fitted
from model.programs import EngineSpec
from model.weights import Weights

PROMPT_TOKENS, NEW_TOKENS = 8, 16
RIVAL = Path(__file__).parent / "rivals" / "transformers_engine.py"


@dataclass
class Best:
    """Seconds of the fastest call, for the first token and for all."""

    first: float = float("inf")
    whole: float = float("inf")

    def of(self, first: float, whole: float) -> None:
        self.first, self.whole = min(self.first, first), min(self.whole, whole)

    def row(self, name: str, batch: int, beside: Best | None) -> str:
        step = (self.whole - self.first) / (NEW_TOKENS - 1)
        ratio = f"{beside.whole / self.whole:.2f}" if beside else ""
        return (
            f"| {name} | {batch} | {self.first / batch:.2f} | {step:.3f} "
            f"| {self.whole / batch:.2f} | {batch / self.whole:.3f} | {ratio} |"
        )


def engine(config_name: str, dtype: str, batch: int) -> Engine:
    """With weights that repeat one block of random numbers: drawing billions takes minutes."""
    config = CONFIGS[config_name]
    spec = EngineSpec(
        config_name,
        dtype=dtype,
        batch_size=batch,
        prompt_lengths=(PROMPT_TOKENS,),
        max_new_tokens=NEW_TOKENS,
    )
    found = fitted(spec, config, jax.local_devices())
    weights = Weights.on(found.placement, dtype)
    block = np.random.default_rng(0).standard_normal(1 << 22, np.float32) * 0.02
    numbers = block.astype(np.dtype(weights.loaded_as))
    params = {}
    for name, shape in parameter_shapes(config).items():
        array = aligned_empty(shape, numbers.dtype)
        flat = array.reshape(-1)
        for start in range(0, prod(shape), len(numbers)):
            flat[start : start + len(numbers)] = numbers[: prod(shape) - start]
        params[name] = weights.put(name, array)
    return Engine(spec, config, unflatten(params), found)


def seconds(loaded: Engine, new_tokens: int) -> float:
    """For pictures to tokens and one generation."""
    rows = loaded.spec.rows
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (rows, 224, 224, 3), np.uint8)
    prompts = rng.integers(3, 1000, (rows, PROMPT_TOKENS)).tolist()
    began = time.perf_counter()
    answers = loaded.generate(loaded.encode_images(pixels), prompts, max_new_tokens=new_tokens)
    elapsed = time.perf_counter() - began
    if answers.ended.any() or not answers.finite.all():
        raise SystemExit("an answer ended before its time, or the network overflowed")
    return elapsed


@contextmanager
def rival(python: str | None, device: str) -> Iterator[subprocess.Popen[str] | None]:
    """transformers, loaded and waiting. device: as torch calls it."""
    if python is None:
        yield None
        return
    command = [python, str(RIVAL), device]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as one:
        if one.stdout is None or one.stdout.readline() != "ready\n":
            raise SystemExit(f"{python} could not load the model; has it torch and transformers?")
        yield one
        one.kill()


def ask(one: subprocess.Popen[str], batch: int, new_tokens: int) -> float:
    """Seconds that transformers took."""
    if one.stdin is None or one.stdout is None:
        raise SystemExit("transformers can't be asked anything")
    one.stdin.write(f"{batch} {new_tokens}\n")
    one.stdin.flush()
    return float(one.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rival-python", help="a Python with torch and transformers")
    parser.add_argument("--config", default="paligemma-3b-224", choices=CONFIGS)
    parser.add_argument("--dtype", action="append", help="bfloat16 and int8, unless given")
    parser.add_argument("--batch", type=int, action="append", help="4 and 1, unless given")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print("| engine | batch | to 1st token, s/image | a step, s | s/image | images/s | times |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with rival(options.rival_python, "cpu") as other:
        for batch in options.batch or (4, 1):
            theirs = Best()
            for dtype in options.dtype or ("bfloat16", "int8"):
                ours, beside = Best(), Best()
                loaded = engine(options.config, dtype, batch)
                for _ in range(options.rounds):
                    ours.of(seconds(loaded, 1), seconds(loaded, NEW_TOKENS))
                    if other:
                        beside.of(ask(other, batch, 1), ask(other, batch, NEW_TOKENS))
                theirs.of(beside.first, beside.whole)
                print(ours.row(f"palipipe {dtype}", batch, beside if other else None), flush=True)
                del loaded
            if other:
                print(theirs.row("transformers bfloat16", batch, None), flush=True)


if __name__ == "__main__":
    main()
