"""ONNX models on the CPU, loaded once in a process and known by the digest of their weights."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from filters.contract import BackendDown

# How a tensor says in which other file its values are: an entry of TensorProto.external_data with
# the key `location`, as protobuf writes it (field 1, 8 bytes).
_ELSEWHERE = b"\x0a\x08location"


@lru_cache(maxsize=64)
def file_digest(path: Path) -> str:
    """64 hexadecimal digits: SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def run(path: Path, threads: int, batch: np.ndarray, output: str | None = None) -> np.ndarray:
    """What the model at `path` answers to `batch`: its output of that name, or its first.

    The model has one input; ValueError where it has more, or no output of that name.
    """
    names = inputs(path, threads)
    if len(names) != 1:
        raise ValueError(f"{path}: {len(names)} inputs; a classifier of pictures has one")
    return ask(path, threads, {names[0]: batch}, output)


def ask(
    path: Path, threads: int, feeds: Mapping[str, np.ndarray], output: str | None = None
) -> np.ndarray:
    """What the model answers to its inputs by their names: the output named, or its first.

    threads: that one call may use. Calls from several threads run side by side.
    """
    session = _session(path, threads)
    outputs = [one.name for one in session.get_outputs()]
    if output is not None and output not in outputs:
        raise ValueError(f"{path}: no output {output!r}; it has {', '.join(outputs)}")
    return session.run([output or outputs[0]], dict(feeds))[0]


def inputs(path: Path, threads: int) -> list[str]:
    """The names of what the model has to be given."""
    return [one.name for one in _session(path, threads).get_inputs()]


@lru_cache(maxsize=8)
def _session(path: Path, threads: int) -> Any:
    """BackendDown for a file that can't be loaded, or that doesn't hold its own weights."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    # Threads that spin while they wait double the time where the cores have other work.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # Scores have to be the same on every worker: other providers round otherwise.
        session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise BackendDown(f"{path}: onnxruntime can't load it: {error}") from error
    if not _whole(path):
        raise BackendDown(
            f"{path}: its weights are in another file, which its SHA-256 doesn't cover; export it "
            "into one file (torch.onnx.export: external_data=False)"
        )
    return session


def _whole(path: Path) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(_ELSEWHERE) < 0
