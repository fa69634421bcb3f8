"""Benchmark pictures in the corpus: found by file or perceptual hash, and dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from filters.contract import Filter, Item, Scores, Subject
from filters.hash_lists import KnownPictures
from filters.limits import Limit, LimitsPolicy
from filters.perceptual_hash import MIN_QUALITY, QUALITY_SCORE, hash_pixels

DISTANCE = "benchmark_distance"
LABEL = "benchmark:"
REASON = "benchmark_image"


@dataclass(frozen=True)
class BenchmarkDistance:
    """Measures `benchmark_distance`, in bits: 0 for the same file, threshold + 1 for no match.

    The picture it matched is the label ``benchmark:NAME``. A picture with too little in it for
    its hash to mean anything (quality under 50) is compared by file alone. Needs pixels.
    """

    known: KnownPictures
    name: str = "benchmark-distance"

    @property
    def version(self) -> str:
        return f"1+{self.known.digest}"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        hashes = [None if item.pixels is None else hash_pixels(item.pixels) for item in items]
        able = [h.bits for h in hashes if h is not None and h.quality >= MIN_QUALITY]
        matches = iter(self.known.by_hash(np.stack(able)) if able else [])
        found = []
        for item, own in zip(items, hashes, strict=True):
            name, distance = None, self.known.threshold + 1
            if own is not None and own.quality >= MIN_QUALITY:
                name, distance = next(matches)
            same = None if item.encoded is None else self.known.by_file(item.encoded)
            if same is not None:
                name, distance = same, 0
            elif own is None:
                found.append(Scores(missing="no_pixels"))
                continue
            values = {DISTANCE: float(distance)}
            if own is not None:
                values[QUALITY_SCORE] = float(own.quality)
            found.append(Scores(values, labels=() if name is None else (LABEL + name,)))
        return found


def decontamination_filter(
    known: KnownPictures, name: str = "decontamination", fail_open: bool = False
) -> Filter:
    """Drops what is a benchmark's picture or nearly one: reason `benchmark_image`."""
    limit = Limit(DISTANCE, REASON, minimum=known.threshold + 1)
    return Filter(name, Subject.IMAGE, BenchmarkDistance(known), LimitsPolicy((limit,)), fail_open)
