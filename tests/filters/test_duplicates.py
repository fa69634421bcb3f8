"""Which copies go and which picture stands for them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.duplicates import (
    Duplicate,
    Fingerprints,
    find_duplicates,
    first_equal,
    first_survivors,
)


def digest(name: str) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(name.encode()).digest(), np.uint8)


def ramp(bits: int) -> np.ndarray:
    """A hash of `bits` ones, so that two of them differ by the difference."""
    return np.packbits(np.arange(256) < bits)


def pictures(*rows: tuple[str, str, int], **columns) -> Fingerprints:
    """Of (id, file, place on the ramp), quality 100."""
    ids, files, places = zip(*rows, strict=True)
    defaults = {"quality": np.full(len(ids), 100)}
    return Fingerprints(
        ids=ids,
        sha256=np.stack([digest(file) for file in files]),
        pdq=np.stack([ramp(place) for place in places]),
        **(defaults | columns),
    )


def test_copies_point_at_the_first_id_and_say_how_near_they_are():
    found = find_duplicates(
        pictures(("c", "file1", 0), ("a", "file1", 0), ("b", "file2", 20), ("d", "file3", 200))
    )
    assert found == [Duplicate("b", "a", "near", 20), Duplicate("c", "a", "exact", 0)]


def test_a_chain_is_cut_where_the_ends_are_not_near():
    found = find_duplicates(pictures(("a", "1", 0), ("b", "2", 25), ("c", "3", 50), ("d", "4", 75)))
    assert found == [Duplicate("b", "a", "near", 25), Duplicate("d", "c", "near", 25)]


def test_an_exact_copy_of_a_dropped_picture_goes_to_the_one_that_survived():
    found = find_duplicates(pictures(("a", "1", 0), ("b", "2", 25), ("c", "2", 25)))
    assert found == [Duplicate("b", "a", "near", 25), Duplicate("c", "a", "near", 25)]


def test_survivors_of_earlier_runs_stand_whatever_their_ids_and_are_not_judged_again():
    found = find_duplicates(
        pictures(
            ("a", "1", 0),
            ("y", "2", 10),
            ("z", "3", 20),
            earlier=np.array([False, True, True]),
        )
    )
    assert found == [Duplicate("a", "y", "near", 10)]


def test_pictures_of_low_quality_are_compared_by_file_alone():
    found = find_duplicates(
        pictures(("a", "1", 0), ("b", "2", 0), ("c", "1", 0), quality=np.array([49, 49, 49]))
    )
    assert found == [Duplicate("c", "a", "exact", 0)]


def test_equal_hashes_of_different_files_are_near():
    found = find_duplicates(pictures(*((f"{i:05}", str(i), 8) for i in range(20_000))))
    assert len(found) == 19_999
    assert {one.survivor for one in found} == {"00000"}
    assert {(one.kind, one.distance) for one in found} == {("near", 0)}


def test_a_copy_is_found_by_a_form_of_either():
    forms = np.stack([np.stack([ramp(0), ramp(120)]), np.stack([ramp(128), ramp(250)])])
    rows = (("a", "1", 0), ("b", "2", 128))
    assert find_duplicates(pictures(*rows)) == []
    assert find_duplicates(pictures(*rows, forms=forms)) == [Duplicate("b", "a", "near", 8)]
    swapped = (("b", "1", 0), ("a", "2", 128))
    assert find_duplicates(pictures(*swapped, forms=forms)) == [Duplicate("b", "a", "near", 8)]


@given(st.permutations(range(12)))
def test_the_order_of_reading_changes_nothing(order):
    rows = [(f"id{i}", f"file{i // 2}", 12 * (i // 2)) for i in range(12)]
    assert find_duplicates(pictures(*(rows[i] for i in order))) == find_duplicates(pictures(*rows))


@given(
    st.integers(1, 30).flatmap(
        lambda n: st.tuples(
            st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)))
        )
    )
)
def test_every_dropped_picture_is_near_a_survivor_and_survivors_are_apart(case):
    count, pairs = case
    near = {frozenset(pair) for pair in pairs if pair[0] != pair[1]}
    left, right = (np.array([p[side] for p in pairs if p[0] != p[1]], int) for side in (0, 1))
    stands = first_survivors(count, left, right)
    for picture, survivor in enumerate(stands.tolist()):
        assert stands[survivor] == survivor
        assert picture == survivor or frozenset((picture, survivor)) in near
    survivors = {int(s) for s in stands}
    assert not any(pair <= survivors for pair in near)


def test_first_equal_finds_the_earliest():
    rows = np.stack([digest(name) for name in "abacbca"])
    assert first_equal(rows).tolist() == [0, 1, 0, 3, 1, 3, 0]
    assert first_equal(rows[:0]).tolist() == []


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="quality: 1 rows for 2 ids"):
        pictures(("a", "1", 0), ("b", "2", 0), quality=np.array([9]))
    with pytest.raises(ValueError, match="an id occurs more than once"):
        pictures(("a", "1", 0), ("a", "2", 0))


def test_an_empty_corpus_has_no_duplicates():
    empty = np.empty((0, 32), np.uint8)
    assert find_duplicates(Fingerprints([], empty, empty, np.empty(0, int))) == []
