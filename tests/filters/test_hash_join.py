"""The join by bands finds what comparing all pairs finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.hash_join import Bands, NearDuplicateIndex, hamming


def altered(bits: np.ndarray, flips: int, rng: np.random.Generator) -> np.ndarray:
    plain = np.unpackbits(bits)
    plain[rng.choice(256, flips, replace=False)] ^= 1
    return np.packbits(plain)


def corpus(size: int, seed: int) -> np.ndarray:
    """Random hashes, every second of which is an altered copy of the one before."""
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 256, (size, 32), dtype=np.uint8)
    for row in range(1, size, 2):
        hashes[row] = altered(hashes[row - 1], int(rng.integers(0, 64)), rng)
    return hashes


@pytest.mark.parametrize("threshold", [0, 1, 15, 23, 31, 63])
@pytest.mark.parametrize("size", [0, 1, 2, 800])
def test_pairs_are_those_of_comparing_all(threshold, size):
    hashes = corpus(size, seed=threshold)
    matches = NearDuplicateIndex.build(hashes, threshold).pairs()
    distances = hamming(hashes[:, None], hashes[None])
    expected = np.argwhere(np.triu(distances <= threshold, k=1))
    assert np.array_equal(np.stack([matches.left, matches.right], axis=1), expected)
    assert np.array_equal(matches.distance, distances[matches.left, matches.right])
    assert size < 800 or len(expected) > 0


@pytest.mark.parametrize("threshold", [0, 31])
def test_a_query_finds_what_comparing_all_finds(threshold):
    hashes = corpus(900, seed=1)
    probes, filed = hashes[1::2], hashes[::2]
    matches = NearDuplicateIndex.build(filed, threshold).query(probes)
    expected = np.argwhere(hamming(probes[:, None], filed[None]) <= threshold)
    assert np.array_equal(np.stack([matches.left, matches.right], axis=1), expected)


def test_a_crowd_of_equal_hashes_makes_every_pair():
    hashes = np.repeat(corpus(2, seed=0)[:1], 50, axis=0)
    matches = NearDuplicateIndex.build(hashes).pairs()
    assert len(matches.left) == 50 * 49 // 2
    assert not matches.distance.any()


def test_the_nearest_is_named_and_nothing_near_is_said_so():
    rng = np.random.default_rng(3)
    filed = rng.integers(0, 256, (3, 32), dtype=np.uint8)
    filed = np.concatenate([filed, altered(filed[1], 6, rng)[None], filed[1][None]])
    probes = np.stack([altered(filed[1], 2, rng), rng.integers(0, 256, 32, dtype=np.uint8)])
    position, distance = NearDuplicateIndex.build(filed, threshold=10).nearest(probes)
    assert position.tolist() == [1, -1]
    assert distance.tolist() == [2, 11]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.integers(0, 40), data=st.data())
def test_bands_and_probes_of_near_hashes_meet_under_a_key(seed, threshold, data):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 256, 32, dtype=np.uint8)
    second = altered(first, data.draw(st.integers(0, threshold)), rng)
    bands = Bands.for_size(threshold, data.draw(st.integers(0, 10**7)))
    assert set(bands.bands(first)) & set(bands.probes(second))


@given(threshold=st.integers(0, 63), size=st.integers(0, 10**9))
def test_bands_deal_out_every_bit(threshold, size):
    bands = Bands.for_size(threshold, size)
    assert sum(bands.width(band) for band in range(bands.count)) == 256
    assert len(bands.bands(np.zeros(32, np.uint8))) == bands.count


def test_impossible_bands_are_refused():
    with pytest.raises(ValueError, match="64 bits is not within 0 to 63"):
        NearDuplicateIndex.build(corpus(4, 0), threshold=64)
    with pytest.raises(ValueError, match="15 bands do not find pairs 31 bits apart"):
        Bands(threshold=31, count=15)
    with pytest.raises(ValueError, match="too few: at least 11"):
        Bands(threshold=1, count=10)


@pytest.mark.slow
def test_a_million_hashes_are_joined_in_minutes():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (1_000_000, 32), dtype=np.uint8)
    copies = rng.choice(500_000, 1000, replace=False)
    for row in copies:
        hashes[500_000 + row] = altered(hashes[row], 31, rng)
    matches = NearDuplicateIndex.build(hashes).pairs()
    assert sorted(matches.left.tolist()) == sorted(copies.tolist())
    assert np.array_equal(matches.right, matches.left + 500_000)
