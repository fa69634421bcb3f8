"""The engine on the GPU at hand, beside its own peaks and transformers: PaliGemma 3B's shapes.

    pip install -r requirements/gpu.txt
    python -m benchmarks.gpu_engine --rival-python RIVAL/bin/python

Batch 64, 224 pixels, a prompt of 8 tokens, 16 new tokens, random weights in bfloat16. The GPU's
peaks are measured too, by a product of large matrices and a copy. Goals: twice transformers'
images a second (bfloat16, sdpa), prefill at half of the product's rate, decoding at 60 % of the
copy's bandwidth. The medians of the rounds count. Without a rival's Python ours alone is timed.
Runs on any one device that JAX finds. transformers goes first and is gone before JAX takes the
GPU's memory; it knows PaliGemma 3B at 224 pixels alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cpu_engine import NEW_TOKENS, PROMPT_TOKENS, ask, engine, rival
from benchmarks.parts import parts
from model.config import CONFIGS
from model.engine import Engine
from model.memory import take_the_gpu


def median(run: Callable[[], object], rounds: int) -> float:
    """Seconds of a call, the first of which doesn't count."""
    run()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def product_rate(side: int, rounds: int) -> float:
    """FLOP/s of a bfloat16 product of random square matrices."""
    keys = jax.random.split(jax.random.key(0))
    a, b = (jax.random.normal(key, (side, side), jnp.bfloat16) for key in keys)
    times = 8

    @jax.jit
    def chain(a: jax.Array, b: jax.Array) -> jax.Array:
        scale = jnp.bfloat16(side**-0.5)
        return jax.lax.fori_loop(0, times, lambda _, x: (x @ b) * scale, a)

    taken = median(lambda: chain(a, b).block_until_ready(), rounds)
    return times * 2 * side**3 / taken


def copy_rate(size: int, rounds: int) -> float:
    """Bytes a second, read and written, where one array of so many bytes is made of another."""
    x = jnp.zeros(size // 4, jnp.float32)
    negate = jax.jit(jnp.negative)
    return 2 * size / median(lambda: negate(x).block_until_ready(), rounds)


def timed(loaded: Engine, rounds: int) -> dict[str, float]:
    """Seconds of each part of `benchmarks.parts`, and of a batch from pictures to answers."""
    rng = np.random.default_rng(1)
    size = loaded.image_size
    pixels = rng.integers(0, 256, (loaded.spec.rows, size, size, 3), np.uint8)
    prompts = rng.integers(3, 1000, (loaded.spec.rows, PROMPT_TOKENS)).tolist()

    def encode() -> object:
        tokens = loaded.encode_images(pixels)
        tokens.array.block_until_ready()
        return tokens

    image_tokens = loaded.encode_images(pixels)
    first = median(lambda: loaded.generate(image_tokens, prompts, max_new_tokens=1), rounds)
    answers = loaded.generate(image_tokens, prompts)
    if answers.ended.any() or not answers.finite.all():
        raise SystemExit("an answer ended before its time, or the network overflowed")
    every = median(lambda: loaded.generate(image_tokens, prompts), rounds)
    return {
        "encoding": median(encode, rounds),
        "prefill": first,
        "a token": (every - first) / (NEW_TOKENS - 1),
        "batch": median(lambda: loaded.generate(loaded.encode_images(pixels), prompts), rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rival-python", help="a Python with torch and transformers")
    parser.add_argument("--config", default="paligemma-3b-224", choices=CONFIGS)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", type=int, default=8192, help="of the matrices for the peak")
    parser.add_argument("--copy", type=int, default=4 << 30, metavar="BYTES")
    parser.add_argument("--rival-device", default="cuda", help="as torch calls it")
    options = parser.parse_args()
    if options.rival_python and options.config != "paligemma-3b-224":
        parser.error("--rival-python goes with --config paligemma-3b-224 alone")
    theirs = rival_rate(options) if options.rival_python else None
    take_the_gpu()
    if len(jax.local_devices()) > 1:
        parser.error("peaks are those of one device; show one alone, by CUDA_VISIBLE_DEVICES=0 say")
    device = jax.local_devices()[0]
    flops = product_rate(options.side, options.rounds)
    bandwidth = copy_rate(options.copy, options.rounds)
    print(
        f"{device.device_kind}: products {flops / 1e12:.3g} TFLOP/s, "
        f"copies {bandwidth / 1e9:.3g} GB/s\n"
    )
    taken = timed(engine(options.config, "bfloat16", options.batch), options.rounds)
    print("| part | ms | TFLOP/s | of the products' | GB/s | of the copies' |")
    print("| --- | --- | --- | --- | --- | --- |")
    for part in parts(options.config, options.batch, device):
        seconds = taken[part.name]
        print(
            f"| {part.name} | {seconds * 1e3:.2f} | {part.flops / seconds / 1e12:.3g} "
            f"| {part.flops / seconds / flops:.0%} | {part.bytes / seconds / 1e9:.3g} "
            f"| {part.bytes / seconds / bandwidth:.0%} |"
        )
    ours = options.batch / taken["batch"]
    print(f"\npalipipe: {ours:.3g} images a second")
    if theirs:
        print(f"transformers: {theirs:.3g} images a second; ours {ours / theirs:.2f} times that")


def rival_rate(options: argparse.Namespace) -> float:
    """transformers' images a second; the first call doesn't count."""
    with rival(options.rival_python, options.rival_device) as other:
        if other is None:
            raise SystemExit("there is no rival without its Python")
        taken = [ask(other, options.batch, NEW_TOKENS) for _ in range(options.rounds + 1)][1:]
    return options.batch / statistics.median(taken)


if __name__ == "__main__":
    main()
