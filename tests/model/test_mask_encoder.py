"""Masks to codes: what is refused, and that a trained codec gives back the masks it is shown."""

from __future__ import annotations

import numpy as np
import pytest

from model import small
from model.boxes import Box
from model.mask_codec import EMBEDDING, MASK_SIZE, MaskCodecError, MaskDecoder, paste
from model.mask_encoder import MaskEncoder, crop, nearest_codes
from model.mask_training import MaskTraining, save, train


def discs(number: int) -> np.ndarray:
    """float32[number, 64, 64]: ellipses of -1 and 1, each of another shape."""
    rows, columns = (np.indices((MASK_SIZE, MASK_SIZE)) + 0.5) / MASK_SIZE * 2 - 1
    random = np.random.default_rng(0)
    powers = random.uniform(0.7, 4, (number, 2))
    return np.stack(
        [
            np.where(np.abs(rows) ** y + np.abs(columns) ** x < 1, 1, -1).astype(np.float32)
            for y, x in powers
        ]
    )


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(((one & other).sum((1, 2)) / (one | other).sum((1, 2))).mean())


def test_the_carried_codec_gives_back_masks_it_was_not_trained_on():
    encoder, decoder = (kind.load(small.MASK_CODEC) for kind in (MaskEncoder, MaskDecoder))
    masks = discs(40)
    codes = encoder.encode(masks)
    assert codes.shape == (40, 16)
    assert overlap(decoder.decode(codes) > 0, masks > 0) > 0.85


def test_codes_do_not_depend_on_the_other_masks_of_a_call():
    encoder = MaskEncoder.load(small.MASK_CODEC)
    masks = discs(35)
    codes = encoder.encode(masks)
    np.testing.assert_array_equal(encoder.encode(masks[33:34])[0], codes[33])


def test_the_nearest_code_is_that_of_least_distance():
    random = np.random.default_rng(1)
    codebook, vectors = random.normal(size=(128, 512)), random.normal(size=(2, 16, 512))
    distances = np.linalg.norm(vectors[:, :, None] - codebook, axis=-1)
    np.testing.assert_array_equal(nearest_codes(codebook, vectors), distances.argmin(-1))


def test_a_mask_cropped_and_pasted_is_the_mask():
    mask = np.zeros((90, 120), bool)
    mask[20:60, 30:100] = True
    mask[20:35, 30:50] = False
    box = Box(20 / 90, 30 / 120, 60 / 90, 100 / 120)
    assert overlap(paste(crop(mask, box), box, 90, 120)[None], mask[None]) > 0.99


@pytest.mark.slow
def test_a_codec_learns_the_masks_it_is_trained_on_and_loads_again(tmp_path):
    masks = discs(4)
    losses: list[float] = []
    settings = MaskTraining(
        steps=60, free_steps=40, batch_size=4, revive_every=20, learning_rate=2e-3
    )
    arrays = train(masks, settings, lambda step, loss: losses.append(loss))
    assert losses[1] < losses[0] / 3
    path = tmp_path / "codec.npz"
    save(path, arrays)
    decoded = MaskDecoder.load(path).decode(MaskEncoder.load(path).encode(masks))
    assert overlap(decoded > 0, masks > 0) > 0.7


def carried() -> dict[str, np.ndarray]:
    with np.load(small.MASK_CODEC) as arrays:
        return dict(arrays)


def test_a_decoder_without_an_encoder_is_refused_by_name():
    arrays = {name: array for name, array in carried().items() if not name.startswith("encoder")}
    with pytest.raises(MaskCodecError, match=r"^mine\.npz: has no array encoder\.0\.weight"):
        MaskEncoder(arrays, "mine.npz")


def test_layers_that_do_not_fit_each_other_are_refused():
    arrays = carried()
    arrays["encoder.4.weight"] = arrays["encoder.4.weight"][:, :-1]
    with pytest.raises(MaskCodecError, match="layers don't fit each other"):
        MaskEncoder(arrays)


def test_a_codebook_of_another_size_is_refused():
    arrays = carried()
    arrays[EMBEDDING] = arrays[EMBEDDING][:64]
    with pytest.raises(MaskCodecError, match=r"for a codebook \(64, 512\)"):
        MaskEncoder(arrays)


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"masks are \[B, 64, 64\], not \[1, 32, 32\]"):
        MaskEncoder.load(small.MASK_CODEC).encode(np.zeros((1, 32, 32)))
