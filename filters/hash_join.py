"""Finds all pairs of 256-bit hashes within a Hamming distance, without comparing all pairs.

Multi-index hashing (Norouzi, Punjani and Fleet 2014, arXiv:1307.2982): the bits are dealt into m
bands. Two hashes that differ in fewer than 2 m bits differ in at most one bit in some band, so it
is enough to compare those that share a band's key or have keys one bit apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BITS = 256
# Meta's advice for PDQ: pictures at 31 bits or fewer are the same.
DEFAULT_THRESHOLD = 31

# A table of 2**24 offsets takes 64 MB; wider bands would need larger ones.
_WIDEST = 24
_CHUNK = 1 << 21


@dataclass(frozen=True, slots=True)
class Bands:
    """A partition of the bits that finds every pair at `threshold` bits or fewer.

    Bit i belongs to band i mod `count`, which spreads the bits of one frequency over the bands.
    """

    threshold: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < BITS // 4:
            raise ValueError(f"threshold: {self.threshold} bits is not within 0 to {BITS // 4 - 1}")
        if not self.threshold < 2 * self.count <= BITS:
            raise ValueError(f"{self.count} bands do not find pairs {self.threshold} bits apart")
        if self.width(0) > _WIDEST:
            raise ValueError(f"{self.count} bands are too few: at least {-(-BITS // _WIDEST)}")

    @classmethod
    def for_size(cls, threshold: int, size: int) -> Bands:
        """Bands that suit `size` hashes: no more of them, and no wider, than that asks for."""
        width = min(_WIDEST, math.ceil(math.log2(max(size, 2))) + 3)
        return cls(threshold, max(threshold // 2 + 1, -(-BITS // width)))

    def width(self, band: int) -> int:
        """Bits in the keys of one band."""
        return len(range(band, BITS, self.count))

    def keys(self, hashes: np.ndarray) -> np.ndarray:
        """uint32[count,N]: the key of each of uint8[N,32] in every band."""
        found = np.empty((self.count, len(hashes)), np.uint32)
        for rows in _slices(np.arange(len(hashes))):
            bits = np.unpackbits(hashes[rows], axis=1)
            for band in range(self.count):
                packed = np.packbits(bits[:, band :: self.count], axis=1)
                words = np.zeros((len(bits), 4), np.uint8)
                words[:, : packed.shape[1]] = packed
                key = words.view(">u4")[:, 0] >> (32 - self.width(band))
                found[band, rows] = key
        return found

    def bands(self, bits: np.ndarray) -> list[tuple[int, int]]:
        """(band, key) of one hash uint8[32]: where it is filed."""
        return list(enumerate(self.keys(bits[None])[:, 0].tolist()))

    def probes(self, bits: np.ndarray) -> list[tuple[int, int]]:
        """(band, key) to look under for whatever may be near one hash uint8[32].

        What is filed by `bands` and looked for by `probes` meets under at least one of them.
        """
        return [(band, key ^ mask) for band, key in self.bands(bits) for mask in self.masks(band)]

    def masks(self, band: int) -> list[int]:
        """What a key may differ by: nothing, or one bit."""
        return [0, *(1 << bit for bit in range(self.width(band)))]


@dataclass(frozen=True, slots=True)
class Matches:
    """left, right: int64[P], positions of two hashes; distance: uint8[P], in bits."""

    left: np.ndarray
    right: np.ndarray
    distance: np.ndarray


@dataclass(frozen=True, slots=True)
class NearDuplicateIndex:
    """N hashes filed under their bands.

    words: uint64[N,4]. orders: int32[count,N], the positions sorted by key, and starts: for each
    band int32[2**width + 1], where each key's positions begin in its order.
    """

    bands: Bands
    words: np.ndarray
    keys: np.ndarray
    orders: np.ndarray
    starts: tuple[np.ndarray, ...]

    @classmethod
    def build(cls, hashes: np.ndarray, threshold: int = DEFAULT_THRESHOLD) -> NearDuplicateIndex:
        """An index of uint8[N,32] that answers for `threshold` bits."""
        bands = Bands.for_size(threshold, len(hashes))
        keys = bands.keys(hashes)
        orders = np.argsort(keys, axis=1, kind="stable").astype(np.int32)
        starts = tuple(_starts(keys[band], bands.width(band)) for band in range(bands.count))
        return cls(bands, _words(hashes), keys, orders, starts)

    def pairs(self) -> Matches:
        """Every two of the index's own that are near, once, left before right."""
        found = [self._band_pairs(band) for band in range(self.bands.count)]
        left, right = (np.concatenate(side) for side in zip(*found, strict=True))
        return self._matches(np.minimum(left, right), np.maximum(left, right), self.words)

    def query(self, probes: np.ndarray) -> Matches:
        """Every probe uint8[Q,32] (left) with every hash of the index (right) near it, once."""
        words, keys = _words(probes), self.bands.keys(probes)
        found = [self._band_query(band, words, keys[band]) for band in range(self.bands.count)]
        left, right = (np.concatenate(side) for side in zip(*found, strict=True))
        return self._matches(left, right, words)

    def nearest(self, probes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64[Q] each: position of the hash nearest to each probe, and its distance in bits.

        Position -1 and distance threshold + 1 where none is near. Of equals the first.
        """
        matches = self.query(probes)
        position = np.full(len(probes), -1)
        distance = np.full(len(probes), self.bands.threshold + 1)
        best = np.lexsort((matches.right, matches.distance, matches.left))
        left, first = np.unique(matches.left[best], return_index=True)
        position[left] = matches.right[best][first]
        distance[left] = matches.distance[best][first]
        return position, distance

    def _band_pairs(self, band: int) -> tuple[np.ndarray, np.ndarray]:
        order, starts = self.orders[band], self.starts[band]
        keys, words = self.keys[band][order], self.words[order]
        near = []
        for mask in self.bands.masks(band):
            # Two keys a bit apart are met from the one without the bit, and so met once.
            rows = np.flatnonzero((keys & mask) == 0)
            keys_there = keys[rows] ^ np.uint32(mask)
            first = starts[keys_there] if mask else (rows + 1).astype(np.int32)
            ends = starts[keys_there + 1]
            near += list(_near(words, words, rows, first, ends, self.bands.threshold))
        return _join([(order[left], order[right]) for left, right in near])

    def _band_query(
        self, band: int, probes: np.ndarray, keys: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        order, starts = self.orders[band], self.starts[band]
        words = self.words[order]
        masks = np.array(self.bands.masks(band), np.uint32)
        near = []
        # In the order of the keys neighbouring probes read neighbouring places.
        for part in _slices(np.argsort(keys, kind="stable")):
            keys_there = (keys[part] ^ masks[:, None]).ravel()
            rows = np.tile(part, len(masks))
            first, ends = starts[keys_there], starts[keys_there + 1]
            near += list(_near(probes, words, rows, first, ends, self.bands.threshold))
        return _join([(left, order[right]) for left, right in near])

    def _matches(self, left: np.ndarray, right: np.ndarray, probes: np.ndarray) -> Matches:
        """The pairs in order, each once though several bands found it."""
        places = np.unique(left.astype(np.int64) * len(self.words) + right)
        left, right = np.divmod(places, max(len(self.words), 1))
        return Matches(left, right, _distance(probes[left], self.words[right]))


def hamming(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Bits in which hashes uint8[...,32] differ, broadcast over the leading axes."""
    return np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.int64)


def _words(hashes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(hashes, np.uint8).view(np.uint64).reshape(-1, 4)


def _starts(keys: np.ndarray, width: int) -> np.ndarray:
    counts = np.bincount(keys, minlength=1 << width)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)


def _distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.bitwise_count(first ^ second).sum(axis=-1, dtype=np.uint16)


def _near(
    probes: np.ndarray,
    words: np.ndarray,
    rows: np.ndarray,
    first: np.ndarray,
    ends: np.ndarray,
    threshold: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each probe `rows[i]` with each of `words[first[i]:ends[i]]`, those that are near.

    Half the bits are compared first: hardly an unrelated pair comes through that.
    """
    for left, right in _candidates(rows, first, ends):
        half = np.bitwise_count(probes[left, 0] ^ words[right, 0])
        half += np.bitwise_count(probes[left, 1] ^ words[right, 1])
        close = np.flatnonzero(half <= threshold)
        left, right = left[close], right[close]
        close = np.flatnonzero(_distance(probes[left], words[right]) <= threshold)
        yield left[close], right[close]


def _candidates(
    rows: np.ndarray, first: np.ndarray, ends: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(row, place) for every place from first to end of each row, some millions at a time."""
    counts = ends - first
    rows, first, counts = rows[counts > 0], first[counts > 0], counts[counts > 0]
    totals = np.cumsum(counts, dtype=np.int64)
    start, done = 0, 0
    while start < len(rows):
        stop = max(start + 1, int(np.searchsorted(totals, done + _CHUNK, side="right")))
        part = counts[start:stop]
        # A run of places per row: count on from where the row's own begins.
        shift = first[start:stop] - (totals[start:stop] - part - done)
        right = np.arange(totals[stop - 1] - done) + np.repeat(shift, part)
        yield np.repeat(rows[start:stop], part), right
        start, done = stop, int(totals[stop - 1])


def _slices(rows: np.ndarray, size: int = 1 << 16) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _join(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    empty = np.empty(0, np.int64)
    left, right = zip((empty, empty), *parts, strict=True)
    return np.concatenate(left), np.concatenate(right)
