"""How long from the command to the first annotation? Prints the phases, with and without a cache.

    python benchmarks/start_up.py [--runs 3]

Runs `palipipe annotate` with the small model over the scenes that come along, in a process of its
own, and watches from outside: until it says what it is going to do (imports, options, plan), until
the model is loaded and compiled, until the first rows are committed, until it ends. Once with an
empty cache of compiled programs, then again with what that run left in it.

Goal: on a warm cache the first annotations are committed within 15 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from model import small

SCENES = Path(__file__).parents[1] / "examples" / "scenes" / "garments.tar"
PHASES = ("imports and plan", "model loaded, compiled", "first rows committed", "end")
POLL_SECONDS = 0.02


def instants(output: Path, cache: Path) -> Iterator[float]:
    """Seconds since the start at which each of PHASES was over."""
    command = [
        *(sys.executable, "-m", "pipelines.main", "annotate", "--progress", "lines"),
        *("--input", str(SCENES), "--output", str(output), "--checkpoint", str(small.CHECKPOINT)),
    ]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    began = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    for said in ("output  ", "loaded in "):
        for line in process.stdout:
            if line.startswith(said):
                break
        else:
            sys.exit(f"annotate ended with {process.wait()} before it said {said!r}")
        yield time.perf_counter() - began
    while not list(output.glob("commits/*.json")):
        if process.poll():
            sys.exit(f"annotate ended with {process.returncode}")
        time.sleep(POLL_SECONDS)
    yield time.perf_counter() - began
    process.communicate()
    yield time.perf_counter() - began


def report(name: str, runs: list[list[float]]) -> None:
    medians = [statistics.median(column) for column in zip(*runs, strict=True)]
    before = [0.0, *medians[:-1]]
    for phase, now, then in zip(PHASES, medians, before, strict=True):
        print(f"{name:<12}{phase:<24}{now - then:>8.2f} s{now:>10.2f} s")
    each = " ".join(f"{run[2]:.1f}" for run in runs)
    print(f"{name:<12}first annotations after {medians[2]:.1f} s (of {each})\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        runs = [
            list(instants(root / f"out{number}", root / "cache"))
            for number in range(options.runs + 1)
        ]
    print(f"{'cache':<12}{'phase':<24}{'takes':>10}{'ends at':>12}")
    report("empty", runs[:1])
    report("warm", runs[1:])


if __name__ == "__main__":
    main()
