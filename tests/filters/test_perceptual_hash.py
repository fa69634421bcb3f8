"""PDQ against Meta's own bits, and what a hash survives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from filters.contract import Item, Verdict
from filters.hash_join import hamming
from filters.perceptual_hash import (
    PerceptualHashes,
    hash_forms,
    hash_pixels,
    parse_hash,
    perceptual_hash_filter,
    recorded_hashes,
)

# Made by make_pdq_goldens.py beside it, with pdqhash 0.2.8, which wraps Meta's C++.
GOLDENS = json.loads((Path(__file__).parents[1] / "data" / "pdq" / "goldens.json").read_text())


def picture(name: str) -> np.ndarray:
    pixels = getattr(data, name)()
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)


@pytest.mark.parametrize("name", sorted(GOLDENS))
def test_hashes_are_those_of_the_reference(name):
    found, golden = hash_pixels(picture(name), side=None), GOLDENS[name]
    # A coefficient equal to the median, but for rounding, may fall on either side of it.
    assert hamming(found.bits, parse_hash(golden["hash"])) <= 2
    assert found.quality == golden["quality"]


def test_scaling_first_changes_nothing_at_its_own_size_and_little_at_others():
    astronaut = picture("astronaut")
    assert hash_pixels(astronaut).hex == GOLDENS["astronaut"]["hash"]
    for name in ("chelsea", "coffee", "rocket"):
        assert hamming(hash_pixels(picture(name)).bits, parse_hash(GOLDENS[name]["hash"])) <= 24


def test_the_copy_at_half_size_and_a_grey_one_have_nearly_the_same_hash():
    pixels = picture("coffee")
    half = np.asarray(Image.fromarray(pixels).resize((300, 200)))
    grey = np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))
    for copy in (half, grey):
        assert hamming(hash_pixels(copy).bits, hash_pixels(pixels).bits) <= 18


def test_forms_find_mirrored_and_cropped_copies():
    pixels = picture("coffee")
    forms = hash_forms(pixels, crop=0.05)
    assert forms.shape == (12, 32)
    height, width = pixels.shape[:2]
    y, x = round(height * 0.05), round(width * 0.05)
    copies = {
        "mirror": pixels[:, ::-1],
        "around": pixels[y // 2 : height - y // 2, x // 2 : width - x // 2],
        "corner": pixels[y:, x:],
        "mirrored corner": pixels[y:, x:][:, ::-1],
    }
    for name, copy in copies.items():
        bits = hash_pixels(np.ascontiguousarray(copy)).bits
        assert hamming(bits, forms[0]) > 31, name
        assert hamming(bits, forms).min() <= 31, name


def test_without_a_crop_there_are_the_picture_and_its_mirror_image():
    pixels = picture("coffee")
    forms = hash_forms(pixels)
    assert forms.shape == (2, 32)
    assert forms[0].tolist() == hash_pixels(pixels).bits.tolist()


@pytest.mark.parametrize("shape", [(4, 900, 3), (900, 4, 3), (1, 1, 3)])
def test_a_picture_too_small_to_hash_has_quality_0(shape):
    found = hash_pixels(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    assert (found.quality, set(found.bits.tolist())) == (0, {0})


def test_one_colour_has_quality_0():
    assert hash_pixels(np.full((300, 200, 3), 90, np.uint8)).quality == 0


def test_the_hash_goes_into_the_decision_and_drops_nothing():
    pixels = picture("astronaut")
    decision = perceptual_hash_filter().screen([Item("a", pixels=pixels)])[0]
    assert decision.verdict is Verdict.KEEP
    assert decision.labels == ("pdq:" + GOLDENS["astronaut"]["hash"],)
    assert decision.scores == {"pdq_quality": 100}


def test_forms_are_recorded_when_asked_for():
    pixels = picture("astronaut")
    labels = perceptual_hash_filter(crop=0.05).screen([Item("a", pixels=pixels)])[0].labels
    forms = hash_forms(pixels, 0.05)
    assert [label.split(":")[0] for label in labels] == ["pdq"] + ["pdq-form"] * 11
    assert labels[1] == "pdq-form:" + forms[1].tobytes().hex()
    assert np.array_equal(recorded_hashes(labels), forms)
    assert recorded_hashes(["EMAIL_ADDRESS"]).shape == (0, 32)


def test_no_pixels_no_verdict():
    decision = perceptual_hash_filter().screen([Item("a")])[0]
    assert decision.verdict is Verdict.NO_VERDICT


def test_wrong_options_and_hashes_are_refused():
    with pytest.raises(ValueError, match=r"crop: 0\.5 is not a share"):
        PerceptualHashes(crop=0.5)
    with pytest.raises(ValueError, match="64 hexadecimal digits, this has 3"):
        parse_hash("abc")
