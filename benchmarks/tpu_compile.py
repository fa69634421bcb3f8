"""What the TPU compiler says of PaliGemma, on a machine without a TPU.

    make test                                               # puts libtpu beside the environment
    python -m benchmarks.tpu_compile whole                  # does it compile, and what fits
    python -m benchmarks.tpu_compile layers paligemma-3b-224 --batch 128

`whole` compiles the engine's programs (encoding; prefill and decoding loop) for the models, pixels
and chips that matter, each at the largest batch that fits, or at `--batch`. `layers` compiles one
layer of each kind, compares the estimate with max(flops / peak, bytes that must move / bandwidth),
and adds them up to images a second. Bfloat16, 8-token prompt, 16 new tokens. A program takes about
a minute and 2 GB on two cores; `whole` without `--batch` compiles some eighty of them.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass

from benchmarks.tpu_compiler import CHIPS, Chip, devices, environment

GIB = 1 << 30
PROMPT, NEW = 8, 16


@dataclass(frozen=True)
class Case:
    """A model on the chips of a host. tensor_parallel: chips for a copy of it."""

    model: str
    topology: str = "v5e:1x1"
    tensor_parallel: int = 1

    @property
    def chip(self) -> Chip:
        return CHIPS[self.topology.split(":")[0]]


CASES = (
    *(
        Case(f"{model}-{size}")
        for model in ("paligemma-3b", "paligemma2-3b")
        for size in (224, 448, 896)
    ),
    Case("paligemma-3b-224", "v6e:1x1"),
    Case("paligemma2-3b-224", "v6e:1x1"),
    Case("paligemma2-10b-224", "v5e:2x2", 4),
)


def whole(case: Case, batch: int | None) -> str:
    """A row of the table: what a case needs at a batch, or at the largest that fits."""
    from model.config import CONFIGS
    from model.fit import Trial
    from model.memory import needed
    from model.programs import EngineSpec
    from model.sharding import Placement

    spec = EngineSpec(case.model, "bfloat16", prompt_lengths=(PROMPT,), max_new_tokens=NEW)
    placement = Placement.over(devices(case.topology), case.tensor_parallel)
    trial = Trial(spec, CONFIGS[case.model], placement, int(case.chip.memory))
    began = time.perf_counter()
    if batch is None:
        found = trial.largest(below=trial.enough + 1)
        rows, programs = (found.spec.rows, found.programs) if found else (0, None)
    else:
        rows, (programs, _) = batch, trial.of(batch)
    seconds = time.perf_counter() - began
    name = f"| {case.model} | {case.topology} | {case.tensor_parallel} | {rows} "
    if programs is None:
        return f"{name}| doesn't fit | | | {seconds:.0f} |"
    encode = programs.encode.memory_analysis().temp_size_in_bytes
    generate = programs.generate[PROMPT].memory_analysis().temp_size_in_bytes
    return (
        f"{name}| {trial.weights / GIB:.2f} | {encode / GIB:.2f}, {generate / GIB:.2f} "
        f"| {needed(programs) / GIB:.2f} of {case.chip.memory / GIB:.2f} | {seconds:.0f} |"
    )


def print_layers(case: Case, batch: int) -> None:
    """The table of one model's layers, and what they add up to."""
    from benchmarks.tpu_layers import estimate, layers
    from model.config import CONFIGS

    print("| layer | runs | floor, ms | optimal_seconds, ms | ratio | scheduled, ms | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    floor = optimal = scheduled = 0.0
    for layer in layers(CONFIGS[case.model], batch, devices(case.topology)[0]):
        least, found = layer.floor(case.chip), estimate(layer, case.chip)
        floor += layer.times * least
        optimal += layer.times * found.optimal
        scheduled += layer.times * found.scheduled
        print(
            f"| {layer.kind} | {layer.times} | {least * 1e3:.3f} | {found.optimal * 1e3:.3f} "
            f"| {found.optimal / least:.2f} | {found.scheduled * 1e3:.3f} "
            f"| {found.scheduled / least:.2f} |",
            flush=True,
        )
    for name, total in (("floor", floor), ("optimal", optimal), ("scheduled", scheduled)):
        a_picture = total / batch
        print(f"{name}: {a_picture * 1e3:.2f} ms an image, {1 / a_picture:.0f} images a second")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["whole", "layers"])
    parser.add_argument("models", nargs="*", help="paligemma2-3b-448 …; all that matter if none")
    parser.add_argument("--batch", type=int, help="instead of the largest that fits")
    parser.add_argument("--topology", help="v5e:1x1, v6e:1x1, v5e:2x2 …")
    options = parser.parse_args()
    variables = environment()
    if variables is None:
        parser.error("libtpu isn't installed: pip install libtpu, or name it in TPU_LIBRARY_PATH")
    os.environ.update(variables)
    cases = [
        case
        for case in CASES
        if (not options.models or case.model in options.models)
        and options.topology in (None, case.topology)
    ]
    if not cases:
        parser.error("no such case; `whole` without names lists them")
    if options.what == "layers":
        for case in cases:
            print(f"\n{case.model} on {case.topology}, batch {options.batch or 128}\n")
            print_layers(case, options.batch or 128)
        return
    print(
        "| model | chips | for a copy | batch | weights, GiB | temporaries, GiB | needs, GiB | s |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in cases:
        print(whole(case, options.batch), flush=True)


if __name__ == "__main__":
    main()
