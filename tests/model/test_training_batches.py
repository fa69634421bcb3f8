"""Every example once an epoch, in an order that a seed and a step determine."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import training_parts as parts
from hypothesis import given
from hypothesis import strategies as st

from model.tiny import TOKENIZER
from model.tokenizer import BOS, EOS, PAD, Tokenizer
from model.training.batching import LENGTH_STEP, NO_EXAMPLE, Order, Shapes, assemble
from model.training.examples import encode_pair

lengths = st.lists(st.integers(3, 90), min_size=1, max_size=60).map(np.array)


def shapes_for(length: np.ndarray, buckets: int) -> Shapes:
    edges = np.quantile(length, np.arange(1, buckets + 1) / buckets, method="higher")
    rounded = -(-edges // LENGTH_STEP) * LENGTH_STEP
    return Shapes(tuple(sorted({int(edge) for edge in rounded})), 1)


@given(lengths, st.integers(1, 4), st.integers(1, 9), st.none() | st.integers(0, 3))
def test_an_epoch_holds_every_example_once_in_a_shape_that_holds_it(length, buckets, size, seed):
    order = Order(length, shapes_for(length, buckets), size, seed)
    batches = order.epoch(1)
    assert len(batches) == order.batches_per_epoch
    rows = np.concatenate([numbers for _, numbers in batches])
    assert sorted(rows[rows != NO_EXAMPLE]) == list(range(len(length)))
    for text_length, numbers in batches:
        assert len(numbers) == size
        assert all(length[number] <= text_length for number in numbers if number != NO_EXAMPLE)
    assert np.sum(rows == NO_EXAMPLE) < size


@given(lengths, st.integers(1, 3), st.integers(1, 9), st.integers(0, 40))
def test_batches_from_a_step_are_those_of_an_undisturbed_run(length, buckets, size, step):
    order = Order(length, shapes_for(length, buckets), size, 5)
    whole = list(islice(order.from_step(0), step + 4))[step:]
    again = list(islice(order.from_step(step), 4))
    for (length_a, rows_a), (length_b, rows_b) in zip(whole, again, strict=True):
        assert length_a == length_b
        np.testing.assert_array_equal(rows_a, rows_b)


def test_the_order_follows_from_the_seed_and_differs_between_epochs():
    length = np.full(64, 8)
    order, same, other = (Order(length, Shapes((8,), 1), 8, seed) for seed in (1, 1, 2))

    def epoch(order: Order, number: int) -> list[int]:
        return np.concatenate([rows for _, rows in order.epoch(number)]).tolist()

    assert epoch(order, 0) == epoch(same, 0)
    assert epoch(order, 0) != epoch(other, 0)
    assert epoch(order, 0) != epoch(order, 1)
    unshuffled = Order(length, Shapes((8,), 1), 8, None)
    assert epoch(unshuffled, 0) == list(range(64))


def test_a_batch_holds_its_examples_pictures_and_tokens():
    learned = parts.examples(count=5)
    numbers = np.array([4, 0, NO_EXAMPLE, 2])
    made = assemble(learned, 24, numbers, microbatches=2)
    assert made.images.shape == (2, 2, 28, 28, 3)
    assert made.rows == 3
    for place, number in enumerate(numbers):
        row = tuple(array[place // 2, place % 2] for array in made)
        image, text, prompt_length, length = row
        if number == NO_EXAMPLE:
            assert prompt_length == length
            continue
        pair = learned.pair(number)
        assert tuple(text[:length]) == pair.tokens
        assert (text[length:] == PAD).all()
        assert prompt_length == pair.prompt_length
        np.testing.assert_array_equal(image, learned.pictures[learned.picture[number]])


def test_a_selection_holds_the_examples_asked_for():
    learned = parts.examples(count=9)
    numbers = np.array([7, 0, 3])
    chosen = learned.select(numbers)
    assert [chosen.pair(place) for place in range(3)] == [learned.pair(n) for n in numbers]
    np.testing.assert_array_equal(chosen.picture, learned.picture[numbers])
    assert len(learned.select(np.array([], int))) == 0


def test_more_buckets_leave_less_padding():
    learned = parts.examples(count=200)
    padding = []
    for buckets in (1, 3):
        shapes = Shapes.of([learned], buckets)
        batches = Order(learned.length, shapes, 4, 0).epoch(0)
        padding.append(sum(length * len(rows) for length, rows in batches))
    assert padding[1] < padding[0]


@pytest.mark.parametrize("suffix", ["a red shoe", "", "<loc0010><loc0020><loc0500><loc0600> shoe"])
def test_a_pair_is_bos_prefix_newline_suffix_eos(suffix: str):
    tokenizer = Tokenizer.load(TOKENIZER)
    pair = encode_pair(tokenizer, "caption en", suffix)
    prompt, answer = pair.tokens[: pair.prompt_length], pair.tokens[pair.prompt_length :]
    assert prompt[0] == BOS
    assert tokenizer.decode(prompt) == "caption en\n"
    assert answer[-1] == EOS
    assert tokenizer.decode(answer) == suffix
