"""Running the command as a user does, and reading what it wrote as a reader should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from model import tiny
from pipelines.main import main

COMMAND = (sys.executable, "-m", "pipelines.main")
# Programs compiled by one test's process serve the next one's.
CACHE = Path(__file__).parent.parent / ".cache" / "compiled"
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": str(CACHE)}


def start(*arguments: Any, **options: Any) -> subprocess.Popen:
    """The command in a process of its own."""
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        **options,
    )


def palipipe(*arguments: Any, code: int = 0, **options: Any) -> subprocess.CompletedProcess:
    """The command run to its end, which must be with the given exit code."""
    process = start(*arguments, **options)
    out, err = process.communicate()
    assert process.returncode == code, f"exit code {process.returncode}\n{out}\n{err}"
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def annotate(inputs: Any, output: Path, *arguments: Any, code: int = 0):
    """`palipipe annotate` with the tiny model and answers short enough for a test."""
    inputs = inputs if isinstance(inputs, list) else [inputs]
    return palipipe(
        "annotate",
        *("--input", *inputs, "--output", output, "--checkpoint", tiny.NAME),
        *("--filters", "off", "--max-new-tokens", 6, *arguments),
        code=code,
    )


def annotate_here(inputs: Any, output: Path, *arguments: Any) -> int:
    """The same in this process: faster, and a test can put its hand in. Returns the exit code."""
    inputs = inputs if isinstance(inputs, list) else [inputs]
    line = ["annotate", "--input", *inputs, "--output", output, "--checkpoint", tiny.NAME]
    return here(*line, "--filters", "off", "--max-new-tokens", 6, *arguments)


def screen_here(inputs: Any, output: Path, *arguments: Any) -> int:
    """`palipipe screen` in this process, by size alone unless filters are named."""
    inputs = inputs if isinstance(inputs, list) else [inputs]
    line = ["screen", "--input", *inputs, "--output", output, "--filters", "off"]
    return here(*line, "--progress", "none", *arguments)


def here(*line: Any) -> int:
    """A command in this process; returns its exit code."""
    try:
        return main([str(word) for word in line])
    except SystemExit as stopped:
        return int(stopped.code or 0)


def commits(output: Path) -> list[dict[str, Any]]:
    """The commit records, by the units' names."""
    paths = sorted((Path(output) / "commits").glob("*.json"))
    return [json.loads(path.read_text()) for path in paths]


def rows(output: Path) -> list[dict[str, Any]]:
    """Every committed row, by shard and index."""
    found = [
        row
        for commit in commits(output)
        for row in pq.read_table(output / commit["data"]).to_pylist()
    ]
    return sorted(found, key=lambda row: (row["source"]["shard"], row["source"]["index"]))
