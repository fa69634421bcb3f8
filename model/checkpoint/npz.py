"""The research release's `.npz`: a zip of arrays whose names are the network's own.

Layers are stacked on the first axis. There is no configuration beside the arrays; it follows from
their shapes.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import ml_dtypes
import numpy as np

from model.checkpoint.buffers import fill
from model.checkpoint.errors import CheckpointError, Shape, check_shapes
from model.checkpoint.storage import LOCAL, Storage, npz_files, open_joined
from model.checkpoint.tree import flatten, parameter_shapes
from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig

PREFIX = "params/"

GEMMA2_ATTENTION_CAP = 50.0


class NpzCheckpoint:
    """An open `.npz`, its configuration known and its shapes checked; close it or use `with`.

    Raises CheckpointError for anything but a whole PaliGemma.
    """

    def __init__(self, path: str, storage: Storage = LOCAL):
        self.path = path
        self._file = open_joined(npz_files(path, storage), storage)
        try:
            self._zip = self._open_zip()
            headers = {name: self._header(name) for name in self._names()}
            self._dtypes = {name: dtype for name, (_, dtype) in headers.items()}
            shapes = {name: shape for name, (shape, _) in headers.items()}
            self.config = infer_config(path, shapes)
            check_shapes(path, parameter_shapes(self.config), shapes)
        except BaseException:
            self.close()
            raise

    def read(self, name: str, target: np.ndarray) -> None:
        """Fills `target` with the array `name` (without `params/`), converted to target's dtype."""
        try:
            with self._zip.open(f"{PREFIX}{name}.npy") as member:
                stream = cast(BinaryIO, member)
                _, fortran_order, _ = _read_header(stream)
                fill(target.T if fortran_order else target, stream, self._dtypes[name])
        except (EOFError, ValueError, zipfile.BadZipFile) as error:
            raise CheckpointError(self.path, f"{name} is truncated or damaged: {error}") from error

    def stored_dtype(self, name: str) -> np.dtype:
        """The floating-point type that the file holds an array in."""
        return self._dtypes[name]

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> NpzCheckpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_zip(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self._file)
        except zipfile.BadZipFile as error:
            raise CheckpointError(
                self.path, f"truncated, or no .npz at all ({error}); fetch it again"
            ) from error

    def _names(self) -> list[str]:
        """Arrays under `params/`; what else training left there (`opt/`) isn't of the model."""
        members = [name.removesuffix(".npy") for name in self._zip.namelist()]
        names = [name.removeprefix(PREFIX) for name in members if name.startswith(PREFIX)]
        if not names:
            first = f"the first array is {members[0]}" if members else "it is empty"
            raise CheckpointError(
                self.path, f"holds no array under {PREFIX}; {first}. Expected PaliGemma's weights"
            )
        return names

    def _header(self, name: str) -> tuple[Shape, np.dtype]:
        try:
            with self._zip.open(f"{PREFIX}{name}.npy") as member:
                shape, _, dtype = _read_header(cast(BinaryIO, member))
        except (EOFError, ValueError, zipfile.BadZipFile) as error:
            raise CheckpointError(self.path, f"{name} is no readable array: {error}") from error
        number_type = _number_type(dtype)
        if number_type is None:
            raise CheckpointError(
                self.path, f"{name} holds {dtype}; expected float32, float16 or bfloat16"
            )
        return shape, number_type


def _read_header(stream: BinaryIO) -> tuple[Shape, bool, np.dtype]:
    """Shape, whether the first axis runs fastest, and dtype, of a `.npy`; ValueError if none."""
    version = np.lib.format.read_magic(stream)
    readers: dict[tuple[int, int], Callable[..., tuple[Any, bool, np.dtype]]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f".npy of version {version}; expected 1.0 or 2.0")
    return readers[version](stream)


def _number_type(dtype: np.dtype) -> np.dtype | None:
    """The floating-point type of stored elements; None for what is no weight."""
    if dtype == np.dtype("V2"):  # what NumPy makes of a type it doesn't know
        return np.dtype(ml_dtypes.bfloat16)
    return dtype if dtype.kind == "f" else None


def infer_config(path: str, shapes: dict[str, Shape]) -> PaliGemmaConfig:
    """The configuration that arrays of these shapes belong to.

    Two settings are in no array. Norms after a layer's halves mean Gemma 2, and with it the cap of
    50 on attention logits; the width and heads of the 27B mean its own query scale. The cap on
    final logits is none, as the research release has it for transfer.
    """

    def axes(name: str, rank: int) -> Shape:
        if name not in shapes:
            raise CheckpointError(path, f"has no array {name}; expected PaliGemma's weights")
        if len(shapes[name]) != rank:
            raise CheckpointError(path, f"{name} has shape {shapes[name]}; expected {rank} axes")
        return shapes[name]

    patch_size, _, _, vision_width = axes("img/embedding/kernel", 4)
    block = "img/Transformer/encoderblock"
    vision_depth, _, vision_mlp = axes(f"{block}/MlpBlock_0/Dense_0/kernel", 3)
    vision_heads = axes(f"{block}/MultiHeadDotProductAttention_0/query/kernel", 4)[2]
    depth, num_heads, width, head_dim = axes("llm/layers/attn/q_einsum/w", 4)
    post_norms = "llm/layers/post_attention_norm/scale" in shapes
    try:
        return PaliGemmaConfig(
            VisionConfig(
                image_size=math.isqrt(axes("img/pos_embedding", 3)[1]) * patch_size,
                patch_size=patch_size,
                width=vision_width,
                depth=vision_depth,
                mlp_dim=vision_mlp,
                num_heads=vision_heads,
            ),
            GemmaConfig(
                width=width,
                depth=depth,
                mlp_dim=axes("llm/layers/mlp/linear", 3)[1],
                num_heads=num_heads,
                num_kv_heads=axes("llm/layers/attn/kv_einsum/w", 5)[2],
                head_dim=head_dim,
                query_scale=(144 if (width, num_heads) == (4608, 32) else head_dim) ** -0.5,
                vocab_size=axes("llm/embedder/input_embedding", 2)[0],
                attention_cap=GEMMA2_ATTENTION_CAP if post_norms else None,
                post_norms=post_norms,
                tied="llm/embedder/output_embedding" not in shapes,
            ),
        )
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(path, f"has arrays of no possible PaliGemma: {error}") from error


def save_npz(path: str, params: dict, dtype: str | None = None) -> None:
    """Writes a parameter tree as the research release does; equal parameters give equal bytes.

    dtype: of the stored arrays; each array's own where None.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in sorted(flatten(params).items()):
            array = np.asarray(value)
            if dtype is not None:
                array = array.astype(np.dtype(dtype))
            # A ZipInfo made by hand has a fixed date, so that the digest is of the weights alone.
            entry = zipfile.ZipInfo(f"{PREFIX}{name}.npy")
            with archive.open(entry, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
