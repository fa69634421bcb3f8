"""Does a long run stay level in memory and straight in time? Prints both.

    python benchmarks/long_run.py [--records 100000]

Writes a corpus of WebDataset shards, annotates it in a process of its own with the tiny model, and
watches from outside: resident memory and committed rows, four times a second.
Goals: memory at the end within 10 % of memory after a tenth of the records; time linear in records.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from model import tiny

SHARD_RECORDS = 1000
SIDE = 64  # pixels: small, so that records and not decoding are what there is much of


def write_shard(path: Path, first: int, count: int) -> None:
    """A tar of distinct noisy JPEGs with a caption each; the same for the same numbers."""
    random = np.random.default_rng(first)
    with tarfile.open(path, "w") as tar:
        for index in range(first, first + count):
            colours = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(colours).resize((SIDE, SIDE)).save(buffer, "JPEG")
            for suffix, data in (("jpg", buffer.getvalue()), ("txt", f"noise {index}".encode())):
                member = tarfile.TarInfo(f"{index:08}.{suffix}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def resident_mb(pid: int) -> float:
    """Resident memory of a process, from the kernel; 0 once it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0.0
    return pages * 4096 / 1e6


def watch(process: subprocess.Popen, commits: Path) -> list[tuple[float, int, float]]:
    """(seconds since the start, rows committed, resident MB) until the process ends."""
    began, samples, rows, seen = time.monotonic(), [], 0, set()
    while process.poll() is None:
        for path in set(commits.glob("*.json")) - seen:
            rows += json.loads(path.read_text())["rows"]
            seen.add(path)
        memory = resident_mb(process.pid)
        if memory:
            samples.append((time.monotonic() - began, rows, memory))
        time.sleep(0.25)
    return samples


def report(samples: list[tuple[float, int, float]], records: int) -> None:
    seconds, rows, memory = (np.array(column) for column in zip(*samples, strict=True))
    # Memory goes up and down within a wave; the level is what it comes back to.
    window = max(len(samples) // 20, 1)
    level = np.array([np.median(memory[max(i - window, 0) : i + 1]) for i in range(len(memory))])
    at_tenth = level[np.searchsorted(rows, records // 10)]
    # Changes of the number of committed rows, from the first one on: start-up is not the run's.
    steps = np.flatnonzero(np.diff(rows)) + 1
    slope, offset = np.polyfit(rows[steps], seconds[steps], 1)
    residual = seconds[steps] - (slope * rows[steps] + offset)
    fit = 1 - residual.var() / seconds[steps].var()
    half = np.searchsorted(rows[steps], records // 2)
    first, second = (
        np.polyfit(rows[part], seconds[part], 1)[0] for part in (steps[:half], steps[half:])
    )
    print(f"records            {records:>10,}")
    print(f"images a second    {1 / slope:>10,.0f}")
    print(f"memory after 10 %  {at_tenth:>10,.0f} MB")
    print(f"memory at the end  {level[-1]:>10,.0f} MB   ({level[-1] / at_tenth - 1:+.1%})")
    print(f"highest memory     {memory.max():>10,.0f} MB")
    print(f"time, straight line{fit:>10.4f} R²")
    print(f"second half        {second / first:>10.2f} times the first half's time a record")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--filters", default="off", help="off, so that the pipeline is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus, output = Path(folder, "corpus"), Path(folder, "out")
        corpus.mkdir()
        for first in range(0, options.records, SHARD_RECORDS):
            count = min(SHARD_RECORDS, options.records - first)
            write_shard(corpus / f"{first:08}.tar", first, count)
        command = [
            *(sys.executable, "-m", "pipelines.annotate", "--progress", "none"),
            *("--input", f"{corpus}/*.tar", "--output", str(output), "--checkpoint", tiny.NAME),
            *("--batch-size", str(options.batch_size), "--max-new-tokens", "8"),
            *("--filters", options.filters),
        ]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        samples = watch(process, output / "commits")
        if process.returncode:
            sys.exit(f"annotate ended with {process.returncode}")
        report(samples, options.records)


if __name__ == "__main__":
    main()
