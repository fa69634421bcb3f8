"""A picture of any shape to the square the model sees."""

from __future__ import annotations

from typing import Literal

import numpy as np
from PIL import Image

Resampling = Literal["bilinear", "bicubic"]

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def resize(pixels: np.ndarray, size: int, method: Resampling = "bilinear") -> np.ndarray:
    """uint8[H, W, 3] -> uint8[size, size, 3]; the picture's proportions are not kept.

    PaliGemma was trained on pictures that TensorFlow had resized bilinearly with antialiasing.
    Pillow's bilinear filter, which widens with the reduction and so antialiases, is within one
    level of 255 of that and needs no TensorFlow; hence the default. Bicubic is what transformers'
    processor does: sharper, off by up to some thirty levels, and there for comparing with it.

    Raises ValueError for another shape, dtype or method.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels are {pixels.dtype}{list(pixels.shape)}; expected uint8[H, W, 3]")
    if method not in _FILTERS:
        raise ValueError(f"resize method {method!r}; expected one of {', '.join(_FILTERS)}")
    return np.asarray(Image.fromarray(pixels).resize((size, size), _FILTERS[method]))
