"""Labels of locations: a share for those nearby, and for nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from model.boxes import LOCATION_SCALE
from model.tokenizer import LOCATIONS
from model.training.loss import LocationBlur, token_losses

FIRST = 40
VOCABULARY = FIRST + LOCATIONS + 128
BLUR = LocationBlur(3.0, FIRST)


def dense(wanted: list[int], blur: LocationBlur = BLUR) -> np.ndarray:
    """The labels as rows over the whole vocabulary."""
    tokens, shares = map(np.asarray, blur.labels(jnp.array(wanted)))
    table = np.zeros((len(wanted), VOCABULARY))
    for row in range(len(wanted)):
        inside = shares[row] > 0
        table[row, tokens[row, inside]] = shares[row, inside]
    return table


def test_a_location_shares_its_label_with_its_neighbours_alike():
    [row] = dense([FIRST + 500])
    assert row.sum() == pytest.approx(1)
    assert row.argmax() == FIRST + 500
    np.testing.assert_allclose(row[FIRST + 490 : FIRST + 500], row[FIRST + 510 : FIRST + 500 : -1])
    places = np.arange(VOCABULARY)
    assert (row * (places - FIRST - 500) ** 2).sum() ** 0.5 == pytest.approx(3, rel=0.05)


def test_no_label_goes_beyond_the_locations_and_words_keep_theirs():
    first, last, word, mask = dense([FIRST, FIRST + LOCATIONS - 1, FIRST - 1, FIRST + LOCATIONS])
    for row in (first, last):
        assert row.sum() == pytest.approx(1)
        assert row[:FIRST].sum() == row[FIRST + LOCATIONS :].sum() == 0
    assert first.argmax() == FIRST
    assert last.argmax() == FIRST + LOCATIONS - 1
    assert word[FIRST - 1] == mask[FIRST + LOCATIONS] == 1


def test_words_cost_what_they_do_without_blur_and_the_right_distribution_nothing():
    logits = jax.random.normal(jax.random.key(0), (1, 2, VOCABULARY))
    words = jnp.array([[3, VOCABULARY - 1]])
    plain = optax.softmax_cross_entropy_with_integer_labels(logits, words)
    np.testing.assert_allclose(token_losses(logits, words, BLUR), plain, rtol=1e-5)

    place = FIRST + 7
    right = jnp.log(jnp.asarray(dense([place])) + 1e-12)[None]
    nothing, something = token_losses(
        jnp.broadcast_to(right, (1, 2, VOCABULARY)), jnp.array([[place, place + 1]]), BLUR
    )[0].tolist()
    assert nothing == pytest.approx(0, abs=1e-4)
    assert something > 0.01


def test_with_steps_only_the_locations_they_end_at_have_shares():
    pixels = 112
    blur = LocationBlur(LOCATION_SCALE / pixels, FIRST, steps=pixels)
    every = np.asarray(blur.locations(np.arange(pixels + 1)))
    for row, wanted in zip(dense(every.tolist(), blur), every, strict=True):
        assert row.argmax() == wanted
        assert set(np.flatnonzero(row)) <= set(every)
        assert row.sum() == pytest.approx(1)
    [between] = dense([every[50] + 3], blur)
    np.testing.assert_allclose(between, dense([every[50]], blur)[0])
    place = np.flatnonzero(every == every[50])[0]
    assert between[every[place - 1]] == pytest.approx(between.max() * np.exp(-0.5), rel=1e-4)


def test_more_steps_than_locations_are_refused():
    with pytest.raises(ValueError, match="1 to 1023"):
        LocationBlur(3.0, FIRST, steps=1024)
