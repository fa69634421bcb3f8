"""What JAX's GPU compiler makes of PaliGemma for an H100, on a machine without one.

    make test                                   # puts the compiler beside the environment
    python -m benchmarks.gpu_compile

Compiles the engine's programs (encoding; prefill and decoding loop) in bfloat16 with an 8-token
prompt and 16 new tokens, and counts the bytes that their kernels read and write, beside what any
program would have to. `--stacked`, `--xla-attention` and `--wide-products` each undo one of the
changes that were made for GPUs. A program takes some seconds.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from unittest import mock

from benchmarks.gpu_compiler import (
    BANDWIDTH,
    FLOPS,
    devices,
    environment,
    moved,
    traced_for_gpus,
)

GIB = 1 << 30
PROMPT, NEW = 8, 16


def rows_of(model: str, batch: int, device: object, programs: object) -> Iterator[str]:
    """Of the table."""
    from benchmarks.parts import parts

    generated = moved(programs.generate[PROMPT].as_text())
    bytes_moved = {
        "encoding": moved(programs.encode.as_text()).once,
        "prefill": generated.once,
        "a token": generated.a_round,
    }
    for part in parts(model, batch, device):
        moves = bytes_moved[part.name]
        yield (
            f"| {model} | {batch} | {part.name} | {part.flops / 1e12:.2f} "
            f"| {part.flops / FLOPS * 1e3:.2f} | {part.bytes / 1e9:.2f} | {moves / 1e9:.2f} "
            f"| {moves / part.bytes:.2f} | {moves / BANDWIDTH * 1e3:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", action="append", help="paligemma-3b-224, unless given")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--gpus", type=int, default=1, help="that share the batch")
    parser.add_argument("--tensor-parallel", type=int, default=1, metavar="N")
    parser.add_argument("--stacked", action="store_true", help="layers in one stack")
    parser.add_argument("--xla-attention", action="store_true", help="none of cuDNN's")
    parser.add_argument("--wide-products", action="store_true", help="in float32, then rounded")
    options = parser.parse_args()
    variables = environment()
    if variables is None:
        parser.error("the GPU's compiler isn't installed beside Python; `make test` puts it there")
    os.environ.update(variables)

    from model import apart
    from model.config import CONFIGS
    from model.fit import Trial
    from model.memory import needed
    from model.programs import EngineSpec
    from model.sharding import Placement
    from model.target import Target

    chips = devices(options.gpus)
    placement = Placement.over(chips, options.tensor_parallel)
    fused = 0 if options.xla_attention or options.tensor_parallel > 1 else 256
    target = Target(fused_channels=fused, narrow_products=not options.wide_products)
    needs = []
    if options.gpus == 1:
        print("| model | batch | part | TFLOP | ms at peak | must move, GB | moves | times | ms |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for model in options.model or ["paligemma-3b-224"]:
        spec = EngineSpec(model, "bfloat16", prompt_lengths=(PROMPT,), max_new_tokens=NEW)
        trial = Trial(spec, CONFIGS[model], placement, None)
        platforms = () if options.stacked else apart.PLATFORMS
        with mock.patch.object(apart, "PLATFORMS", platforms), traced_for_gpus(target):
            programs, _ = trial.of(options.batch)
        if options.gpus == 1:
            for row in rows_of(model, options.batch, chips[0], programs):
                print(row)
        needs.append(f"{model} at batch {options.batch} needs {needed(programs) / GIB:.1f} GiB")
    print("", *(f"{need} a GPU" for need in needs), sep="\n")


if __name__ == "__main__":
    main()
