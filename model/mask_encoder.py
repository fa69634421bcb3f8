"""From masks to the sixteen codes the model is trained to write for them.

    encoder = MaskEncoder.load("vae-oid.npz")
    codes = encoder.encode(crop(mask, box)[None])

The other half of `model.mask_codec`, of the same file and paper: four convolutions halve a mask of
64 x 64 to a grid of 4 x 4, and each cell takes the code whose vector is nearest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from model.boxes import CODES_PER_MASK, Box
from model.mask_codec import (
    EMBEDDING,
    MASK_SIZE,
    SHAPES,
    MaskCodecError,
    convolve,
    read_arrays,
    read_file,
    residual,
)

DOWNSAMPLING = ("encoder.0", "encoder.2", "encoder.4", "encoder.6")
RESIDUAL = ("encoder.8", "encoder.9")
LAST = "encoder.10"

_LAYERS = (*DOWNSAMPLING, *(f"{b}.net.{n}" for b in RESIDUAL for n in (0, 2, 4)), LAST)
NAMES = (EMBEDDING, *(f"{layer}.{part}" for layer in _LAYERS for part in ("weight", "bias")))
"""Every array the encoder needs; the number of channels is read off the kernels."""

_BATCH = 32


class MaskEncoder:
    """Encodes masks; made by `load`, `from_bytes` or from arrays by their names in NAMES."""

    def __init__(self, arrays: Mapping[str, np.ndarray], name: str = "mask encoder"):
        """Raises MaskCodecError if an array is missing or the layers don't fit each other."""
        for key in NAMES:
            if key not in arrays:
                raise MaskCodecError(f"{name}: has no array {key}. It should be vae-oid.npz.")
        self._weights = {key: jnp.asarray(arrays[key], jnp.float32) for key in NAMES}
        masks = jax.ShapeDtypeStruct((1, MASK_SIZE, MASK_SIZE), jnp.float32)
        try:
            found = jax.eval_shape(encode_vectors, self._weights, masks).shape
        except (TypeError, ValueError) as error:
            raise MaskCodecError(f"{name}: the encoder's layers don't fit each other") from error
        expected = (1, CODES_PER_MASK, SHAPES[EMBEDDING][1])
        if found != expected or arrays[EMBEDDING].shape != SHAPES[EMBEDDING]:
            raise MaskCodecError(
                f"{name}: the encoder gives {found} for a codebook {arrays[EMBEDDING].shape}; "
                f"expected {expected} and {SHAPES[EMBEDDING]}"
            )

    @classmethod
    def load(cls, path: str | Path) -> MaskEncoder:
        """Reads an `.npz` from a local file."""
        return cls.from_bytes(read_file(path), name=str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "mask encoder") -> MaskEncoder:
        """Takes an `.npz`, from wherever it was read; name: what error messages call it."""
        return cls(read_arrays(content, name), name)

    def encode(self, masks: np.ndarray) -> np.ndarray:
        """float32[B, 64, 64], 1 on the object and -1 around it -> int32[B, 16], row by row."""
        if masks.ndim != 3 or masks.shape[1:] != (MASK_SIZE, MASK_SIZE):
            raise ValueError(f"masks are [B, {MASK_SIZE}, {MASK_SIZE}], not {list(masks.shape)}")
        padded = np.zeros((-(-len(masks) // _BATCH) * _BATCH, *masks.shape[1:]), np.float32)
        padded[: len(masks)] = masks
        codes = np.empty((len(padded), CODES_PER_MASK), np.int32)
        for start in range(0, len(padded), _BATCH):
            batch = slice(start, start + _BATCH)
            codes[batch] = _encode(self._weights, padded[batch])
        return codes[: len(masks)]


def crop(mask: np.ndarray, box: Box) -> np.ndarray:
    """What the encoder sees of an object: bool[H, W] within its box -> float32[64, 64] of -1 to 1.

    The inverse of `mask_codec.paste`, up to its threshold.
    """
    height, width = mask.shape
    picture = Image.fromarray(mask.astype(np.float32) * 2 - 1, mode="F")
    place = box.pixels(width, height)
    resized = picture.resize((MASK_SIZE, MASK_SIZE), Image.Resampling.BILINEAR, box=place)
    return np.asarray(resized)


def encode_vectors(weights: Mapping[str, jax.Array], masks: jax.Array) -> jax.Array:
    """float32[B, 64, 64] -> [B, 16, 512], before each takes the nearest code's vector."""
    x = masks[..., None]
    for name in DOWNSAMPLING:
        x = jax.nn.relu(convolve(weights, name, x, stride=2))
    for name in RESIDUAL:
        x = residual(weights, name, x)
    x = convolve(weights, LAST, x)
    return x.reshape(len(x), -1, x.shape[-1])


def nearest_codes(codebook: jax.Array, vectors: jax.Array) -> jax.Array:
    """The code of least squared distance: [128, 512], [B, 16, 512] -> int32[B, 16]."""
    # |v - c|² without |v|², which is the same for every code.
    products = jnp.einsum("BNE,CE->BNC", vectors, codebook, precision=jax.lax.Precision.HIGHEST)
    return jnp.argmin(jnp.sum(codebook**2, axis=1) - 2 * products, axis=-1).astype(jnp.int32)


@jax.jit
def _encode(weights: Mapping[str, jax.Array], masks: jax.Array) -> jax.Array:
    return nearest_codes(weights[EMBEDDING], encode_vectors(weights, masks))
