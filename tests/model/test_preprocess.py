"""Resizing as the model was trained on it."""

import numpy as np
import pytest
from skimage import data

from model.preprocess import resize


def levels_apart(ours, theirs):
    return np.abs(ours.astype(int) - theirs.astype(int)).max()


@pytest.mark.parametrize("size", [56, 224, 896])
def test_bilinear_is_within_a_level_of_what_training_used(size):
    import tensorflow as tf

    pixels = data.astronaut()[:400]  # 400 x 512: proportions are not kept
    reference = tf.image.resize(pixels, (size, size), method="bilinear", antialias=True)
    ours = resize(pixels, size)
    assert ours.shape == (size, size, 3)
    assert levels_apart(ours, np.round(reference.numpy())) <= 1


def test_bicubic_is_another_method_and_has_to_be_asked_for():
    pixels = data.astronaut()
    assert levels_apart(resize(pixels, 224, "bicubic"), resize(pixels, 224)) > 5


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_anything_but_rgb_bytes_is_refused(pixels):
    with pytest.raises(ValueError, match=r"expected uint8\[H, W, 3\]"):
        resize(pixels, 8)


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="'lanczos'; expected one of bilinear, bicubic"):
        resize(np.zeros((4, 4, 3), np.uint8), 8, "lanczos")
