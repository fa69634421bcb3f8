"""Size and blankness of pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from filters.contract import Item, Verdict
from filters.limits import Limit
from filters.quality import (
    DATACOMP_MAX_ASPECT,
    DATACOMP_MIN_SIDE,
    blank_image_filter,
    image_size_filter,
)


def decide(one_filter, **facts):
    return one_filter.screen([Item("a", **facts)])[0]


@pytest.mark.parametrize(
    ("width", "height", "reason", "score", "threshold"),
    [
        (199, 400, "too_small", 199, 200),
        (400, 199, "too_small", 199, 200),
        (601, 200, "too_narrow", 601 / 200, 3.0),
        (200, 601, "too_narrow", 601 / 200, 3.0),
    ],
)
def test_the_limit_that_dropped_a_picture_is_recorded(width, height, reason, score, threshold):
    size = image_size_filter(min_side=DATACOMP_MIN_SIDE, max_aspect=DATACOMP_MAX_ASPECT)
    decision = decide(size, width=width, height=height)
    assert decision.verdict is Verdict.DROP
    assert (decision.reason, decision.score, decision.threshold) == (reason, score, threshold)


def test_a_picture_on_the_limits_is_kept():
    size = image_size_filter(min_side=200, max_aspect=3.0, max_pixels=120_000, max_bytes=10)
    decision = decide(size, width=600, height=200, encoded=b"x" * 10)
    assert (decision.verdict, decision.reason) == (Verdict.KEEP, None)
    assert decision.scores == {
        "shorter_side": 200,
        "aspect_ratio": 3.0,
        "pixels": 120_000,
        "bytes": 10,
    }


def test_too_many_pixels_and_too_many_bytes_have_their_own_reasons():
    assert decide(image_size_filter(max_pixels=99), width=10, height=10).reason == "too_many_pixels"
    assert decide(image_size_filter(max_bytes=3), encoded=b"four").reason == "too_large_bytes"


def test_without_limits_everything_is_kept():
    assert decide(image_size_filter(), width=1, height=9000).verdict is Verdict.KEEP


def test_a_size_nobody_knows_gets_no_verdict_where_it_matters():
    decision = decide(image_size_filter(min_side=10), encoded=b"")
    assert (decision.verdict, decision.reason) == (Verdict.NO_VERDICT, "shorter_side_unknown")
    assert decide(image_size_filter(max_bytes=10), encoded=b"").verdict is Verdict.KEEP


def test_a_known_fault_outweighs_an_unknown_measurement():
    decision = decide(image_size_filter(min_side=10, max_bytes=1), encoded=b"long")
    assert (decision.verdict, decision.reason) == (Verdict.DROP, "too_large_bytes")


def test_a_limit_that_nothing_can_meet_is_refused():
    with pytest.raises(ValueError, match="words: the minimum 5 is above the maximum 4"):
        Limit("words", "odd", minimum=5, maximum=4)


def test_a_measurement_that_is_not_a_number_breaks_its_limit():
    assert Limit("x", "odd", maximum=1).broken_by(float("nan")) == 1


def as_jpeg(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 120, 90)])
def test_one_colour_is_blank_even_after_jpeg(colour):
    pixels = as_jpeg(np.full((240, 320, 3), colour, np.uint8))
    decision = decide(blank_image_filter(), pixels=pixels)
    assert (decision.verdict, decision.reason) == (Verdict.DROP, "blank")


def test_a_page_with_a_speck_is_blank_and_a_line_drawing_is_not():
    page = np.full((300, 300, 3), 255, np.uint8)
    page[150:155, 150:155] = 0
    assert decide(blank_image_filter(), pixels=page).reason == "blank"
    page[100, 20:280] = page[200, 20:280] = 0
    assert decide(blank_image_filter(), pixels=page).verdict is Verdict.KEEP


def test_two_colours_of_one_lightness_are_not_blank():
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, :32] = (76, 76, 76)
    pixels[:, 32:] = (255, 0, 0)
    decision = decide(blank_image_filter(), pixels=pixels)
    assert decision.verdict is Verdict.KEEP
    assert decision.scores["spread"] == pytest.approx(89.5)
    assert decision.scores["entropy"] == pytest.approx(1.0)


def test_a_picture_without_pixels_is_not_called_blank():
    decision = decide(blank_image_filter())
    assert (decision.verdict, decision.reason) == (
        Verdict.NO_VERDICT,
        "blank_image:no_verdict:no_pixels",
    )
