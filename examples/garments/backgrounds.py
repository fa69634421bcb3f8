"""Grounds for scenes: subdued, so that no garment's colour is lost on them."""

from __future__ import annotations

import colorsys

import numpy as np

_MOST_SATURATION = 0.3
_BRIGHTNESS = (0.1, 0.6)
_NOISE = 6.0


def background(random: np.random.Generator, size: int) -> np.ndarray:
    """uint8[size, size, 3]: two muted colours, mixed by a pattern, with a little noise."""
    first, second = (_muted_colour(random) for _ in range(2))
    pattern = _PATTERNS[random.integers(len(_PATTERNS))]
    share = pattern(random, size)[..., None]
    pixels = share * first + (1 - share) * second + random.normal(0, _NOISE, (size, size, 1))
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def _muted_colour(random: np.random.Generator) -> np.ndarray:
    hue, saturation = random.random(), random.random() * _MOST_SATURATION
    return np.array(colorsys.hsv_to_rgb(hue, saturation, random.uniform(*_BRIGHTNESS))) * 255


def _plain(random: np.random.Generator, size: int) -> np.ndarray:
    return np.ones((size, size))


def _gradient(random: np.random.Generator, size: int) -> np.ndarray:
    return (_along(random, size) / size + 1) / 2


def _stripes(random: np.random.Generator, size: int) -> np.ndarray:
    return (_along(random, size) // _period(random) % 2).astype(float)


def _checks(random: np.random.Generator, size: int) -> np.ndarray:
    rows, columns = np.indices((size, size)) // _period(random)
    return ((rows + columns) % 2).astype(float)


def _spots(random: np.random.Generator, size: int) -> np.ndarray:
    period = 2 * _period(random)
    rows, columns = np.indices((size, size)) % period - period / 2
    return (np.hypot(rows, columns) < period / 3).astype(float)


def _along(random: np.random.Generator, size: int) -> np.ndarray:
    """How far each pixel lies in some direction, in pixels."""
    angle = random.uniform(0, 2 * np.pi)
    rows, columns = np.indices((size, size)) - size / 2
    return np.cos(angle) * rows + np.sin(angle) * columns


def _period(random: np.random.Generator) -> int:
    return int(random.integers(6, 20))


_PATTERNS = (_plain, _gradient, _stripes, _checks, _spots)
