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

EMBEDDING = "_vq_vae._embedding"
"""The codebook's name: float[128, 512]."""

_ARRAYS = ("_vq_vae.", "encoder.", "decoder.")
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
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (MASK_CODES, 512)}
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
        return cls.from_bytes(read_file(path), name=str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "mask decoder") -> MaskDecoder:
        """Takes an `.npz`, from wherever it was read; name: what error messages call it."""
        return cls(read_arrays(content, name), name)

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


def read_file(path: str | Path) -> bytes:
    """A local file's bytes; raises MaskCodecError."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise MaskCodecError(
            f"{path}: can't be read ({error.strerror}). Name the release's vae-oid.npz."
        ) from error


def read_arrays(content: bytes, name: str) -> dict[str, np.ndarray]:
    """The codec's arrays in an `.npz`, encoder and decoder; raises MaskCodecError."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays if key.startswith(_ARRAYS)}
    except _NOT_NPZ as error:
        raise MaskCodecError(
            f"{name}: isn't an .npz of plain arrays, or is cut short. Fetch vae-oid.npz again."
        ) from error


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
    return decode_vectors(weights, weights[EMBEDDING][codes])


def decode_vectors(weights: Mapping[str, jax.Array], vectors: jax.Array) -> jax.Array:
    """Vectors of the codebook, or near them while it is learnt: [B, 16, 512] -> [B, 64, 64].

    weights: arrays by their names in SHAPES.
    """
    x = vectors.reshape(-1, GRID, GRID, vectors.shape[-1])
    x = jax.nn.relu(convolve(weights, "decoder.0", x))
    for block in ("decoder.2", "decoder.3"):
        x = residual(weights, block, x)
    for name in _UPSAMPLING:
        x = jax.nn.relu(_upsample(weights, name, x))
    return convolve(weights, "decoder.12", x)[..., 0]


def convolve(
    weights: Mapping[str, jax.Array], name: str, x: jax.Array, stride: int = 1
) -> jax.Array:
    """[B, H, W, C] -> [B, H / stride, W / stride, C'], padded so that no pixel is lost."""
    kernel = weights[f"{name}.weight"].transpose(2, 3, 1, 0)
    before = (len(kernel) - stride) // 2
    after = len(kernel) - stride - before
    x = jnp.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))
    return _apply(kernel, _windows(x, len(kernel), stride)) + weights[f"{name}.bias"]


def residual(weights: Mapping[str, jax.Array], name: str, x: jax.Array) -> jax.Array:
    """[B, H, W, C] plus what three convolutions make of it."""
    inner = jax.nn.relu(convolve(weights, f"{name}.net.0", x))
    inner = jax.nn.relu(convolve(weights, f"{name}.net.2", inner))
    return x + convolve(weights, f"{name}.net.4", inner)


def _upsample(weights: Mapping[str, jax.Array], name: str, x: jax.Array) -> jax.Array:
    """[B, H, W, C] -> [B, 2H, 2W, C']: PyTorch's ConvTranspose2d(kernel 4, stride 2, padding 1).

    An output pixel sees two by two pixels, through the taps of the flipped kernel that its row and
    column, being even or odd, fall upon.
    """
    kernel = jnp.flip(weights[f"{name}.weight"], (2, 3)).transpose(2, 3, 0, 1)
    B, H, W, _ = x.shape
    windows = _windows(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), 2, 1)
    quarters = [
        _apply(kernel[row::2, column::2], windows[:, row : row + H, column : column + W])
        for row in (0, 1)
        for column in (0, 1)
    ]
    joined = jnp.stack(quarters, axis=3).reshape(B, H, W, 2, 2, -1)
    return joined.transpose(0, 1, 3, 2, 4, 5).reshape(B, 2 * H, 2 * W, -1) + weights[f"{name}.bias"]


# Windows and one product, as XLA's convolutions on a CPU are many times slower where they are
# strided or transposed, and so are the gradients of all of them.
def _windows(x: jax.Array, size: int, stride: int) -> jax.Array:
    """[B, H, W, C] -> [B, H', W', size * size * C], the windows that lie within."""
    rows, columns = x.shape[1] - size + 1, x.shape[2] - size + 1
    return jnp.concatenate(
        [
            x[:, top : top + rows : stride, left : left + columns : stride]
            for top in range(size)
            for left in range(size)
        ],
        axis=-1,
    )


def _apply(kernel: jax.Array, windows: jax.Array) -> jax.Array:
    """[size, size, C, C'] on windows [B, H, W, size * size * C] -> [B, H, W, C']."""
    return jnp.matmul(windows, kernel.reshape(-1, kernel.shape[-1]), precision=_PRECISION)
