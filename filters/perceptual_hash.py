"""PDQ, a perceptual hash of 256 bits, and the hashes of a picture's mirror image and crops.

Written from the description of the hash (Meta, "The TMK+PDQF Video-Hashing Algorithm and the PDQ
Image-Hashing Algorithm", ThreatExchange, 2019): luma, two passes of a box filter half a cell wide
sampled on a grid of 64 × 64, the DCT's coefficients 1 to 16 each way, and one bit for each that
lies above their median. The bits are Meta's own, but for a coefficient that ties with the median.

The filter and the sampling are linear and separable. Together they are a weighted sum of a few
rows and then of a few columns here, and that is most of what a hash costs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from filters.contract import Answer, Filter, Item, Scores, Subject, Verdict

BITS = 256
BYTES = BITS // 8
GRID = 64
SIDE = 16

# Smaller pictures have no hash: all bits 0 and quality 0.
MIN_SIDE = 5
# The filter's windows are whole pixels, so that a small picture and its copy at half the size are
# sampled at places some way apart. Scaled to one size first, they aren't.
WORKING_SIDE = 512
# Hashes of lower quality come from pictures with little in them, and match by accident.
MIN_QUALITY = 50

HASH_LABEL = "pdq:"
FORM_LABEL = "pdq-form:"
QUALITY_SCORE = "pdq_quality"


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """bits: uint8[32], the most significant bit of the printed number first; quality: 0 to 100."""

    bits: np.ndarray
    quality: int

    @property
    def hex(self) -> str:
        return self.bits.tobytes().hex()


def parse_hash(text: str) -> np.ndarray:
    """uint8[32] of the 64 hexadecimal digits that name a hash; ValueError where they are not."""
    if len(text) != 2 * BYTES:
        raise ValueError(f"a PDQ hash has {2 * BYTES} hexadecimal digits, this has {len(text)}")
    return np.frombuffer(bytes.fromhex(text), np.uint8)


def hash_pixels(pixels: np.ndarray, side: int | None = WORKING_SIDE) -> PerceptualHash:
    """The hash of uint8[H,W,3], scaled to `side` × `side` pixels first; None hashes it as it is."""
    grid = _grid(luma(pixels, side))
    return PerceptualHash(_bits(_coefficients(grid)), _quality(grid))


def hash_forms(pixels: np.ndarray, crop: float = 0.0) -> np.ndarray:
    """uint8[F,32]: the hashes under which altered copies of uint8[H,W,3] are looked for.

    First the picture itself, then its mirror image; with a `crop` (share of each side), also what
    remains when that much is cut away around it or towards one of its corners, and the mirror
    images of those: F is 2 or 12.
    """
    grey = luma(pixels)
    parts = [grey, *_crops(grey, crop)]
    grids = [_grid(form) for part in parts for form in (part, part[:, ::-1])]
    return np.stack([_bits(_coefficients(grid)) for grid in grids])


def luma(pixels: np.ndarray, side: int | None = WORKING_SIDE) -> np.ndarray:
    """float32[side,side] of uint8[H,W,3]: grey levels (ITU-R BT.601); None keeps H and W.

    A picture with a side under 5 pixels has nothing to scale and stays as it is.
    """
    image = Image.fromarray(pixels).convert("L")
    if side is not None and min(image.size) >= MIN_SIDE:
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32)


def _crops(grey: np.ndarray, share: float) -> list[np.ndarray]:
    height, width = grey.shape
    cut_y, cut_x = round(height * share), round(width * share)
    if not cut_y and not cut_x:
        return []
    origins = [(cut_y // 2, cut_x // 2), (0, 0), (0, cut_x), (cut_y, 0), (cut_y, cut_x)]
    return [grey[y : y + height - cut_y, x : x + width - cut_x] for y, x in origins]


def _grid(grey: np.ndarray) -> np.ndarray | None:
    """float32[64,64] of float32[H,W], or None where there is too little to hash."""
    height, width = grey.shape
    if min(height, width) < MIN_SIDE:
        return None
    if height == width == GRID:
        return grey
    rows, row_weights = _taps(height)
    columns, column_weights = _taps(width)
    # Not a product of matrices: BLAS would start threads of its own in every bundle's thread.
    strips = np.einsum("itw,it->iw", grey[rows], row_weights)
    return np.einsum("ijt,jt->ij", strips[:, columns], column_weights)


@lru_cache(maxsize=256)
def _taps(size: int) -> tuple[np.ndarray, np.ndarray]:
    """int[64,T] and float32[64,T]: which of `size` pixels make up each of 64 cells, and how much.

    Two passes of a box filter with windows of whole pixels, read at the centre of each cell.
    """
    window = -(-size // (2 * GRID))
    before = (window - 1) // 2
    reach = np.arange(size)[None, :] - (np.arange(size)[:, None] - before)
    box = ((reach >= 0) & (reach < window)).astype(np.float32)
    box /= box.sum(axis=1, keepdims=True)
    centres = ((np.arange(GRID) + 0.5) * size / GRID).astype(int)
    cells = box[centres] @ box
    first = np.minimum((cells > 0).argmax(axis=1), size - min(2 * window - 1, size))
    pixels = first[:, None] + np.arange(min(2 * window - 1, size))
    return pixels, np.take_along_axis(cells, pixels, axis=1)


@lru_cache(maxsize=1)
def _cosines() -> np.ndarray:
    """float32[16,64]: rows 1 to 16 of the orthonormal DCT-II of 64 points."""
    waves, points = np.arange(1, SIDE + 1)[:, None], np.arange(GRID)[None, :]
    table = np.sqrt(2 / GRID) * np.cos(np.pi / (2 * GRID) * waves * (2 * points + 1))
    return table.astype(np.float32)


def _coefficients(grid: np.ndarray | None) -> np.ndarray:
    if grid is None:
        return np.zeros((SIDE, SIDE), np.float32)
    return _cosines() @ grid @ _cosines().T


def _bits(coefficients: np.ndarray) -> np.ndarray:
    """uint8[32] of float32[16,16]: above the median or not, the last coefficient first."""
    flat = coefficients.ravel()
    median = np.partition(flat, BITS // 2 - 1)[BITS // 2 - 1]
    return np.packbits(flat[::-1] > median)


def _quality(grid: np.ndarray | None) -> int:
    """0 to 100: sum of the steps between neighbours, in whole hundredths of the range, over 90."""
    if grid is None:
        return 0
    steps = [np.trunc(np.diff(grid, axis=axis) * (100 / 255)) for axis in (0, 1)]
    return int(min(100, sum(np.abs(step).sum() for step in steps) // 90))


def recorded_hashes(labels: Collection[str]) -> np.ndarray:
    """uint8[F,32]: the hash and then the forms that a decision's labels hold; F may be 0."""
    found = [
        parse_hash(label.removeprefix(prefix))
        for prefix in (HASH_LABEL, FORM_LABEL)
        for label in labels
        if label.startswith(prefix)
    ]
    return np.stack(found) if found else np.empty((0, BYTES), np.uint8)


@dataclass(frozen=True)
class PerceptualHashes:
    """Records each picture's hash as the label ``pdq:HEX`` and its quality as a score.

    crop: where it isn't None, the hashes of `hash_forms` follow as labels ``pdq-form:HEX``, so
        that later runs recognise mirrored copies, and cropped ones where it isn't 0.
    """

    crop: float | None = None
    name: str = "pdq"

    def __post_init__(self) -> None:
        if self.crop is not None and not 0 <= self.crop < 0.5:
            raise ValueError(f"crop: {self.crop} is not a share of a side from 0 to below 0.5")

    @property
    def version(self) -> str:
        return f"1@{WORKING_SIDE}"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        return [self._score(item.pixels) for item in items]

    def _score(self, pixels: np.ndarray | None) -> Scores:
        if pixels is None:
            return Scores(missing="no_pixels")
        found = hash_pixels(pixels)
        labels = [HASH_LABEL + found.hex]
        if self.crop is not None:
            forms = hash_forms(pixels, self.crop)[1:]
            labels += [FORM_LABEL + form.tobytes().hex() for form in forms]
        return Scores({QUALITY_SCORE: float(found.quality)}, labels=tuple(labels))


@dataclass(frozen=True)
class KeepAll:
    """For a scorer that only records."""

    def decide(self, scores: Scores) -> Answer:
        return Verdict.KEEP, None, None, None


def perceptual_hash_filter(crop: float | None = None, name: str = "perceptual_hash") -> Filter:
    """Drops nothing; leaves the hashes in the row's decisions for duplicates to be joined by."""
    return Filter(name, Subject.IMAGE, PerceptualHashes(crop), KeepAll())
