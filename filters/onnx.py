"""ONNX models on the CPU, loaded once in a process and known by the digest of their weights."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np


@lru_cache(maxsize=64)
def file_digest(path: Path) -> str:
    """64 hexadecimal digits: SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run(path: Path, threads: int, batch: np.ndarray, output: str | None = None) -> np.ndarray:
    """What the model at `path` answers to `batch`: its output of that name, or its first.

    threads: that one call may use. Calls from several threads run side by side.
    The model has one input; ValueError where it has more, or no output of that name.
    """
    session = _session(path, threads)
    inputs, outputs = session.get_inputs(), [one.name for one in session.get_outputs()]
    if len(inputs) != 1:
        raise ValueError(f"{path}: {len(inputs)} inputs; a classifier of pictures has one")
    if output is not None and output not in outputs:
        raise ValueError(f"{path}: no output {output!r}; it has {', '.join(outputs)}")
    return session.run([output or outputs[0]], {inputs[0].name: batch})[0]


@lru_cache(maxsize=8)
def _session(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    # Threads that spin while they wait double the time where the cores have other work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Scores have to be the same on every worker: other providers round otherwise.
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )
