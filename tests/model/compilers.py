"""Programs that are run with the compiler of an accelerator that isn't here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lines_of(program, variables):
    """The JSON lines that a program prints. variables: its environment's, None for no compiler."""
    if variables is None:
        pytest.skip("the compiler isn't here; `make test` installs it on Linux x86_64")
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]
