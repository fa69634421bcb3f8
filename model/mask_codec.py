"""From the sixteen mask codes of an object to its mask.

The codes name vectors of a learned codebook; a small convolutional decoder turns their 4 x 4 grid
into 64 x 64 values, which are then stretched over the object's box. The weights are those of
`vae-oid.npz`, which the PaliGemma release carries beside its checkpoints.

Codebook and training: Ning et al., 2023, "All in Tokens", https://arxiv.org/abs/2301.02229.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from model.boxes import CODES_PER_MASK, Box
from model.errors import ModelError
from model.tokenizer import MASK_CODES

GRID = 4
MASK_SIZE = 64

# Decoded at once: one shape, so one compiled program however many objects a picture has.
_BATCH = 8

_WIDTH = 128
# A TPU would multiply in bfloat16, and masks would depend on the device.
_PRECISION = jax.lax.Precision.HIGHEST

_EMBEDDING = "_vq_vae._embedding"
_UPSAMPLING = {
    "decoder.4": (128, 128),
    "decoder.6": (128, 64),
    "decoder.8": (64, 32),
    "decoder.10": (32, 16),
}
"""Transposed convolutions by name, with their channels (in, out)."""

# What NumPy raises for other files; TypeError: a lone .npy, which is no archive.
_NOT_NPZ = (ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error)


def _expected_shapes() -> dict[str, tuple[int, ...]]:
    """Every array of `vae-oid.npz`: kernels as PyTorch has them, (out, in, height, width)."""
    kernels = {"decoder.0": (_WIDTH, 512, 1, 1), "decoder.12": (1, 16, 1, 1)}
    for block in ("decoder.2", "decoder.3"):
        kernels[f"{block}.net.0"] = kernels[f"{block}.net.2"] = (_WIDTH, _WIDTH, 3, 3)
        kernels[f"{block}.net.4"] = (_WIDTH, _WIDTH, 1, 1)
    shapes: dict[str, tuple[int, ...]] = {_EMBEDDING: (MASK_CODES, 512)}
    for name, kernel in kernels.items():
        shapes |= {f"{name}.weight": kernel, f"{name}.bias": kernel[:1]}
    # PyTorch keeps the kernels of transposed convolutions as (in, out, height, width).
    for name, channels in _UPSAMPLING.items():
        shapes |= {f"{name}.weight": (*channels, 4, 4), f"{name}.bias": channels[1:]}
    return shapes


SHAPES = _expected_shapes()


class MaskCodecError(ModelError):
    """A file that doesn't hold the mask decoder; the message names the first array that is off."""


class MaskDecoder:
    """Decodes mask codes; made by `load`, `from_bytes` or from arrays by their names in SHAPES."""

    def __init__(self, arrays: Mapping[str, np.ndarray], name: str = "mask decoder"):
        """Raises MaskCodecError if an array is missing or has another shape; others are left."""
        for key, shape in SHAPES.items():
            if key not in arrays:
                raise MaskCodecError(f"{name}: has no array {key}. It should be vae-oid.npz.")
            if arrays[key].shape != shape:
                raise MaskCodecError(
                    f"{name}: {key} is {arrays[key].shape}, in vae-oid.npz it is {shape}."
                )
        self._weights = {key: jnp.asarray(arrays[key], jnp.float32) for key in SHAPES}

    @classmethod
    def load(cls, path: str | Path) -> MaskDecoder:
        """Reads an `.npz` from a local file."""
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            raise MaskCodecError(
                f"{path}: can't be read ({error.strerror}). Name the release's vae-oid.npz."
            ) from error
        return cls.from_bytes(content, name=str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "mask decoder") -> MaskDecoder:
        """Takes an `.npz`, from wherever it was read; name: what error messages call it."""
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                present = {key: arrays[key] for key in SHAPES if key in arrays}
        except _NOT_NPZ as error:
            raise MaskCodecError(
                f"{name}: isn't an .npz of plain arrays, or is cut short. Fetch vae-oid.npz again."
            ) from error
        return cls(present, name)

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """int[B, 16], row by row of a 4 x 4 grid -> float32[B, 64, 64].

        Values are about -1 outside the object to 1 inside. ValueError for codes that aren't any.
        """
        codes = np.asarray(codes)
        if codes.ndim != 2 or codes.shape[1] != CODES_PER_MASK:
            raise ValueError(f"mask codes are int[B, {CODES_PER_MASK}], not {list(codes.shape)}")
        if codes.size and not 0 <= codes.min() <= codes.max() < MASK_CODES:
            raise ValueError(f"mask codes are from 0 to {MASK_CODES - 1}")
        padded = np.zeros((-(-len(codes) // _BATCH) * _BATCH, CODES_PER_MASK), np.int32)
        padded[: len(codes)] = codes
        masks = np.empty((len(padded), MASK_SIZE, MASK_SIZE), np.float32)
        for start in range(0, len(padded), _BATCH):
            batch = slice(start, start + _BATCH)
            masks[batch] = _decode(self._weights, padded[batch])
        return masks[: len(codes)]


def paste(mask: np.ndarray, box: Box, height: int, width: int) -> np.ndarray:
    """A decoded mask at its place: float[64, 64] -> bool[height, width], True on the object.

    The mask is stretched over the box bilinearly (with antialias where the box is smaller than
    the mask) and thresholded at 0. A pixel belongs to the box if its centre does.
    """
    left, top, right, bottom = box.pixels(width, height)
    rows, from_y = _resampling(top, bottom, height, mask.shape[0])
    columns, from_x = _resampling(left, right, width, mask.shape[1])
    picture = np.zeros((height, width), bool)
    picture[rows, columns] = from_y @ mask @ from_x.T > 0
    return picture


def _resampling(start: float, stop: float, pixels: int, size: int) -> tuple[slice, np.ndarray]:
    """Pixels with their centre in [start, stop), and their weights [n, size] on the mask's cells.

    The weights are a triangle as wide as a cell, or as a pixel where that is wider.
    """
    first, last = (min(max(int(np.ceil(edge - 0.5)), 0), pixels) for edge in (start, stop))
    centres = np.arange(first, last) + 0.5
    cells_per_pixel = size / (stop - start) if last > first else 1.0
    position = (centres - start) * cells_per_pixel - 0.5
    distance = np.abs(position[:, None] - np.arange(size)) / max(cells_per_pixel, 1.0)
    weights = np.maximum(1.0 - distance, 0.0)
    return slice(first, last), weights / weights.sum(axis=1, keepdims=True)


@jax.jit
def _decode(weights: Mapping[str, jax.Array], codes: jax.Array) -> jax.Array:
    vectors = weights[_EMBEDDING][codes]
    x = vectors.reshape(-1, GRID, GRID, vectors.shape[-1]).transpose(0, 3, 1, 2)
    layer = partial(_convolve, weights)
    x = jax.nn.relu(layer("decoder.0", x))
    for block in ("decoder.2.net", "decoder.3.net"):
        inner = jax.nn.relu(layer(f"{block}.0", x))
        inner = jax.nn.relu(layer(f"{block}.2", inner))
        x = x + layer(f"{block}.4", inner)
    for name in _UPSAMPLING:
        x = jax.nn.relu(_upsample(weights, name, x))
    return layer("decoder.12", x)[:, 0]


def _convolve(weights: Mapping[str, jax.Array], name: str, x: jax.Array) -> jax.Array:
    """[B, C, H, W] -> [B, C', H, W]; the picture is padded to keep its size."""
    kernel = weights[f"{name}.weight"]
    x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", precision=_PRECISION)
    return x + weights[f"{name}.bias"][:, None, None]


def _upsample(weights: Mapping[str, jax.Array], name: str, x: jax.Array) -> jax.Array:
    """[B, C, H, W] -> [B, C', 2H, 2W]: PyTorch's ConvTranspose2d(kernel 4, stride 2, padding 1).

    That is a convolution with the flipped kernel over a picture spread out by 2, padded by
    kernel - 1 - padding.
    """
    kernel = jnp.flip(weights[f"{name}.weight"], (2, 3))
    x = jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1, 1),
        padding=((2, 2), (2, 2)),
        lhs_dilation=(2, 2),
        dimension_numbers=("NCHW", "IOHW", "NCHW"),
        precision=_PRECISION,
    )
    return x + weights[f"{name}.bias"][:, None, None]
