"""What training moves, and the file that it goes on from: arrays by name, nothing pickled."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from model.errors import ModelError

KEPT = 2
"""States on disk. The last but one is there in case the last can't be read."""


class TrainState(NamedTuple):
    """weights: float32 arrays that are trained, by name (`params/…`, `low_rank/…`).

    optimiser: optax's, of the same arrays. step: int32, optimiser steps done.
    """

    weights: dict[str, Any]
    optimiser: Any
    step: Any


class StateError(ModelError):
    """A saved state that can't be gone on from."""


def save_state(folder: Path, state: TrainState) -> Path:
    """Writes the state under its step's number, whole or not at all, and drops older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    step = int(state.step)
    path = folder / f"step-{step:09}.npz"
    temporary = path.with_suffix(".partial")
    with open(temporary, "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, leaf in _leaves(state):
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(leaf), allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    for old in saved_states(folder)[:-KEPT]:
        old.unlink()
    return path


def saved_states(folder: Path) -> list[Path]:
    """Whole states, the latest last."""
    return sorted(folder.glob("step-*.npz"))


def restore_state(path: Path, like: TrainState) -> TrainState:
    """The state in a file, each array placed as the one in `like`.

    Raises StateError where the file is damaged or of another training.
    """
    names = [name for name, _ in _leaves(like)]
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if sorted(arrays.files) != sorted(names):
                raise StateError(f"{path}: is of another training; start in an empty folder")
            found = [arrays[name] for name in names]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StateError(
            f"{path}: can't be read ({error}). Remove it, and training goes on from the one before"
        ) from error
    leaves, structure = jax.tree.flatten(like)
    for name, array, leaf in zip(names, found, leaves, strict=True):
        if array.shape != leaf.shape:
            raise StateError(f"{path}: {name} has shape {array.shape}; expected {leaf.shape}")
    placed = [
        jax.device_put(array, leaf.sharding) for array, leaf in zip(found, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, placed)


def _leaves(state: TrainState) -> list[tuple[str, Any]]:
    """Arrays with names that say where in the state they are."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
