"""Run lengths against pycocotools, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as coco

from model import rle

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40))


def coco_counts(mask: np.ndarray) -> str:
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def test_counts_by_hand():
    # Columns 0 1, 1 1, 0 0: runs of 1, 3 and 2, each a single group: chr(48 + n).
    assert rle.encode(np.array([[0, 1, 0], [1, 1, 0]], bool)) == "132"
    # A first run of 1s is preceded by an empty run of 0s.
    assert rle.encode(np.ones((2, 2), bool)) == "04"
    # 40 = 8 + 1 * 32: the group 8 with the bit for more, chr(48 + 40), then chr(48 + 1).
    assert rle.encode(np.zeros((40, 1), bool)) == "X1"
    # From the fourth run on, differences: runs 1 1 1 1 are 1 1 1 0.
    assert rle.encode(np.array([[0, 0], [1, 1]], bool)) == "1110"


@given(MASKS)
def test_counts_are_those_of_pycocotools(mask):
    counts = rle.encode(mask)
    assert counts == coco_counts(mask)
    np.testing.assert_array_equal(rle.decode(counts, *mask.shape), mask)


@pytest.mark.parametrize("radius", [0, 3, 150, 900])
def test_a_large_disc_is_encoded_as_pycocotools_does(radius):
    y, x = np.mgrid[:700, :1100]
    disc = (y - 350) ** 2 + (x - 500) ** 2 < radius**2
    assert rle.encode(disc) == coco_counts(disc)
    np.testing.assert_array_equal(rle.decode(rle.encode(disc), 700, 1100), disc)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120)), st.integers(1, 9))
def test_letters_that_are_no_mask_are_refused_and_others_have_the_size_asked_for(counts, side):
    try:
        mask = rle.decode(counts, side, side)
    except ValueError:
        return
    assert (mask.shape, mask.dtype) == ((side, side), bool)


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [("13", "add up to 4"), ("X", "within a number"), ("1 2", "no letter"), ("O", "negative")],
)
def test_what_is_wrong_with_counts_is_said(counts, complaint):
    with pytest.raises(ValueError, match=complaint):
        rle.decode(counts, 2, 3)


def test_an_array_that_is_no_mask_is_refused():
    with pytest.raises(ValueError, match=r"bool\[H, W\], not uint8\[2, 2\]"):
        rle.encode(np.zeros((2, 2), np.uint8))
