"""Weights from and to files: research `.npz` and Hugging Face folders, streamed and never pickled.

    config, params = load("paligemma2-3b-pt-224.b16.npz", "bfloat16")

An array is read piece by piece into memory of its final type and layout, which JAX then takes as
it is, so that loading needs the weights' own size and a few megabytes.
"""

from model.checkpoint.digest import weights_digest
from model.checkpoint.errors import CheckpointError
from model.checkpoint.hugging_face_writer import save_hugging_face
from model.checkpoint.loading import load, open_checkpoint, read_config
from model.checkpoint.npz import save_npz
from model.checkpoint.storage import LOCAL, Storage

__all__ = [
    "LOCAL",
    "CheckpointError",
    "Storage",
    "load",
    "open_checkpoint",
    "read_config",
    "save_hugging_face",
    "save_npz",
    "weights_digest",
]
