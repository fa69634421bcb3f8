"""From a path to parameters on the device, one array at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from model.checkpoint.buffers import aligned_empty
from model.checkpoint.errors import CheckpointError
from model.checkpoint.hugging_face import CONFIG, HuggingFaceCheckpoint
from model.checkpoint.npz import NpzCheckpoint
from model.checkpoint.storage import LOCAL, Storage
from model.checkpoint.tree import parameter_shapes, unflatten
from model.config import PaliGemmaConfig


class Checkpoint(Protocol):
    """An open checkpoint of either format."""

    config: PaliGemmaConfig

    def read(self, name: str, target: np.ndarray) -> None: ...
    def stored_dtype(self, name: str) -> np.dtype: ...
    def close(self) -> None: ...
    def __enter__(self) -> Checkpoint: ...
    def __exit__(self, *_: object) -> None: ...


def open_checkpoint(path: str, storage: Storage = LOCAL) -> Checkpoint:
    """Opens a Hugging Face folder, a `.npz` or the parts of one, and checks its shapes.

    Raises CheckpointError for what is missing, damaged or no PaliGemma.
    """
    try:
        if storage.exists(f"{path.rstrip('/')}/{CONFIG}"):
            return HuggingFaceCheckpoint(path, storage)
        return NpzCheckpoint(path, storage)
    except OSError as error:
        raise CheckpointError(path, f"can't be read as a checkpoint: {error}") from error


def read_config(path: str, storage: Storage = LOCAL) -> PaliGemmaConfig:
    """A checkpoint's configuration, no weight being read."""
    with open_checkpoint(path, storage) as checkpoint:
        return checkpoint.config


def load(
    path: str,
    dtype: str = "float32",
    storage: Storage = LOCAL,
    place: Callable[[str, np.ndarray], Any] = lambda _, array: jax.device_put(array),
) -> tuple[PaliGemmaConfig, dict]:
    """Configuration and parameters, stored as `dtype` whatever the file holds.

    place: puts one array, given with its name, where it belongs. On a CPU the default takes over
        the memory as it is; on accelerators no more than one array is in host memory at a time.
    Raises CheckpointError.
    """
    with open_checkpoint(path, storage) as checkpoint:
        arrays = {}
        for name, shape in parameter_shapes(checkpoint.config).items():
            target = aligned_empty(shape, jnp.dtype(dtype))
            try:
                checkpoint.read(name, target)
            except OSError as error:
                raise CheckpointError(path, f"{name} can't be read: {error}") from error
            arrays[name] = jax.block_until_ready(place(name, target))
        return checkpoint.config, unflatten(arrays)
