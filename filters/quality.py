"""Quality of a picture: its size from the header, before any pixel is decoded, and blankness.

A truncated picture is not a matter of quality: decoding it fails, and that has its own outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from filters.contract import Filter, Item, Scores, Subject
from filters.limits import Limit, LimitsPolicy

# DataComp's basic filtering (Gadre et al. 2023, arXiv:2304.14108, section 3.4).
DATACOMP_MIN_SIDE = 200
DATACOMP_MAX_ASPECT = 3.0

# A picture saved as one colour strays by a level or so after JPEG; a page of 0.1 % ink by 8.
BLANK_SPREAD = 2.0
# A page of 0.1 % ink has 0.011 bits a pixel, one of 1 % has 0.08.
BLANK_ENTROPY = 0.02
# A larger picture is measured on every second pixel each way, or every third.
_ENOUGH_PIXELS = 250_000


@dataclass(frozen=True)
class ImageHeader:
    """Measures what the header tells: `shorter_side`, `aspect_ratio`, `pixels`, `bytes`.

    Sides in pixels; aspect ratio is longer side over shorter side, at least 1; bytes as encoded.
    """

    name: str = "image-header"
    version: str = "1"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        return [Scores(_header_facts(item)) for item in items]


def _header_facts(item: Item) -> dict[str, float]:
    facts: dict[str, float] = {}
    if item.width and item.height:
        shorter, longer = sorted((item.width, item.height))
        facts["shorter_side"] = float(shorter)
        facts["aspect_ratio"] = longer / shorter
        facts["pixels"] = float(shorter * longer)
    if item.encoded is not None:
        facts["bytes"] = float(len(item.encoded))
    return facts


def image_size_filter(
    min_side: int | None = None,
    max_aspect: float | None = None,
    max_pixels: int | None = None,
    max_bytes: int | None = None,
    name: str = "image_size",
    fail_open: bool = False,
) -> Filter:
    """Drops by size: too_small, too_narrow, too_many_pixels, too_large_bytes. None is no limit.

    min_side: pixels of the shorter side that are enough. max_aspect: longer over shorter side.
    max_pixels: width × height. max_bytes: of the encoded file.
    A picture whose header gave no size gets NO_VERDICT where a limit needs it.
    """
    limits = (
        Limit("bytes", "too_large_bytes", maximum=max_bytes),
        Limit("pixels", "too_many_pixels", maximum=max_pixels),
        Limit("shorter_side", "too_small", minimum=min_side),
        Limit("aspect_ratio", "too_narrow", maximum=max_aspect),
    )
    return Filter(name, Subject.IMAGE, ImageHeader(), LimitsPolicy.of(limits), fail_open)


@dataclass(frozen=True)
class Blankness:
    """Measures how much there is to see: `spread` and `entropy`, of the liveliest channel.

    spread: standard deviation in grey levels, 0 to 127.5; entropy: of the histogram of 256
    levels, in bits a pixel, 0 to 8. Needs pixels.
    """

    name: str = "blankness"
    version: str = "1"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        return [_blankness(item.pixels) for item in items]


def _blankness(pixels: np.ndarray | None) -> Scores:
    if pixels is None:
        return Scores(missing="no_pixels")
    step = max(1, int(np.sqrt(pixels.size / 3 / _ENOUGH_PIXELS)))
    # uint8[H,W,3] -> float[3,256]: everything below follows from the three histograms.
    channels = pixels[::step, ::step].reshape(-1, 3).T
    shares = np.stack([np.bincount(c, minlength=256) for c in channels]) / channels.shape[1]
    levels = np.arange(256)
    mean = shares @ levels
    variance = np.maximum(shares @ levels**2 - mean**2, 0)
    entropy = -np.sum(shares * np.log2(shares, out=np.zeros_like(shares), where=shares > 0), axis=1)
    return Scores({"spread": float(np.sqrt(variance.max())), "entropy": float(entropy.max())})


def blank_image_filter(
    min_spread: float | None = BLANK_SPREAD,
    min_entropy: float | None = BLANK_ENTROPY,
    name: str = "blank_image",
    fail_open: bool = False,
) -> Filter:
    """Drops a picture of one colour, or all but one: reason `blank`. None is no limit."""
    limits = (
        Limit("spread", "blank", minimum=min_spread),
        Limit("entropy", "blank", minimum=min_entropy),
    )
    return Filter(name, Subject.IMAGE, Blankness(), LimitsPolicy.of(limits), fail_open)
