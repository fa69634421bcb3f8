"""Mask codes to masks: against PyTorch, and pasted into pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mask_decoder_golden import GOLDEN, random_weights
from PIL import Image

from model.boxes import Box
from model.mask_codec import SHAPES, MaskCodecError, MaskDecoder, paste

WEIGHTS = random_weights(SHAPES)


def npz(arrays: dict) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.fixture(scope="module")
def decoder() -> MaskDecoder:
    return MaskDecoder.from_bytes(npz(WEIGHTS))


def test_masks_are_those_of_pytorch_with_the_same_weights(decoder):
    with np.load(GOLDEN, allow_pickle=False) as golden:
        assert sorted(SHAPES) == golden["names"].tolist()
        masks = decoder.decode(golden["codes"])
        np.testing.assert_allclose(masks, golden["masks"], atol=2e-5)


def test_a_mask_depends_on_neither_the_number_nor_the_order_of_the_others(decoder):
    codes = np.random.default_rng(0).integers(0, 128, (11, 16))
    masks = decoder.decode(codes)
    assert (masks.shape, masks.dtype) == ((11, 64, 64), np.float32)
    np.testing.assert_allclose(decoder.decode(codes[9:10])[0], masks[9], atol=1e-5)
    np.testing.assert_allclose(decoder.decode(codes[::-1]), masks[::-1], atol=1e-5)


def test_no_codes_are_no_masks(decoder):
    assert decoder.decode(np.zeros((0, 16), int)).shape == (0, 64, 64)


@pytest.mark.parametrize("codes", [[[128] * 16], [[-1] * 16], [[0] * 15], [0] * 16])
def test_codes_that_are_none_are_refused(decoder, codes):
    with pytest.raises(ValueError, match="mask codes are"):
        decoder.decode(np.array(codes))


def test_the_decoder_loads_from_a_file_in_which_more_is_kept(tmp_path, decoder):
    # The released file holds the encoder as well.
    path = tmp_path / "vae-oid.npz"
    path.write_bytes(npz({**WEIGHTS, "encoder.0.weight": np.zeros(3)}))
    codes = np.arange(16)[None]
    np.testing.assert_array_equal(MaskDecoder.load(path).decode(codes), decoder.decode(codes))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "isn't an .npz"),
        (b"not an archive", "isn't an .npz"),
        (npz(WEIGHTS)[:-3000], "isn't an .npz"),
        (npy(np.zeros(3)), "isn't an .npz"),
        (npz({**WEIGHTS, "decoder.0.bias": np.array([object()])}), "isn't an .npz of plain"),
        (npz({"params/img/pos_embedding": np.zeros(3)}), "has no array _vq_vae._embedding"),
        (
            npz({**WEIGHTS, "decoder.4.weight": np.zeros((128, 64, 4, 4))}),
            r"decoder.4.weight is \(128, 64, 4, 4\), in vae-oid.npz it is \(128, 128, 4, 4\)",
        ),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(content, complaint):
    with pytest.raises(MaskCodecError, match=complaint) as caught:
        MaskDecoder.from_bytes(content, name="weights/vae-oid.npz")
    assert str(caught.value).startswith("weights/vae-oid.npz: ")


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(MaskCodecError, match=r"vae\.npz: can't be read.*Name the release's"):
        MaskDecoder.load(tmp_path / "vae.npz")


@pytest.mark.parametrize(("width", "height"), [(64, 64), (200, 130), (90, 33), (7, 5), (1, 1)])
def test_a_mask_is_stretched_over_its_box_as_pillow_resizes(decoder, width, height):
    mask = decoder.decode(np.arange(16)[None])[0] + 2.0
    resized = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.BILINEAR))
    picture_height, picture_width, top, left = 256, 512, 16, 128
    box = Box(
        top / picture_height,
        left / picture_width,
        (top + height) / picture_height,
        (left + width) / picture_width,
    )
    pasted = paste(mask, box, picture_height, picture_width)
    within = pasted[top : top + height, left : left + width]
    certain = np.abs(resized) > 1e-4
    np.testing.assert_array_equal(within[certain], (resized > 0)[certain])
    assert pasted.sum() == within.sum()


def test_what_is_not_above_zero_is_not_on_the_object():
    whole = Box(0, 0, 1, 1)
    assert not paste(np.zeros((64, 64), np.float32), whole, 10, 10).any()
    assert paste(np.full((64, 64), 0.1, np.float32), whole, 10, 10).all()


FRACTION = st.floats(0, 1)


@given(FRACTION, FRACTION, FRACTION, FRACTION, st.integers(1, 80), st.integers(1, 80))
def test_a_full_mask_covers_the_pixels_whose_centres_are_in_the_box(y1, y2, x1, x2, height, width):
    box = Box(min(y1, y2), min(x1, x2), max(y1, y2), max(x1, x2))
    y, x = (np.arange(height) + 0.5), (np.arange(width) + 0.5)
    left, top, right, bottom = box.pixels(width, height)
    expected = np.outer((top <= y) & (y < bottom), (left <= x) & (x < right))
    np.testing.assert_array_equal(paste(np.ones((64, 64)), box, height, width), expected)
