"""Batches of records that bring their own prompts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tasks import Prompt, Task, expected_tokens
from transforms.batching import WINDOW_BATCHES, batches, window_size
from transforms.prepare import CHUNK_RECORDS, FIRST_CHUNK, Example, chunks
from transforms.record import Record, Source

PROMPTS = ("caption en", "answer en why?", "detect a ; b ; c", "segment cat", "ocr", "anything")
PIXELS = np.zeros((2, 2, 3), np.uint8)


def examples(prompts):
    return [
        Example(
            Record(str(number), Source("u", "s", number, str(number)), b""),
            {},
            PIXELS,
            (Prompt(text),),
        )
        for number, text in enumerate(prompts)
    ]


@given(st.lists(st.sampled_from(PROMPTS), max_size=70), st.integers(1, 9))
def test_each_example_is_in_one_batch_and_only_the_last_is_partial(prompts, size):
    window = examples(prompts)
    formed = batches(window, size)
    assert sorted(e.record.source.index for batch in formed for e in batch) == list(
        range(len(window))
    )
    assert all(len(batch) == size for batch in formed[:-1])


@given(st.lists(st.sampled_from(PROMPTS), max_size=70), st.integers(1, 9))
def test_answers_of_like_length_come_together_and_equals_keep_their_order(prompts, size):
    order = [example for batch in batches(examples(prompts), size) for example in batch]
    lengths = [expected_tokens(example.prompts[0].text) for example in order]
    assert lengths == sorted(lengths)
    for text in PROMPTS:
        numbers = [e.record.source.index for e in order if e.prompts[0].text == text]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize(
    ("tasks", "size", "expected"),
    [
        (["caption en"], 224, 8),
        (["caption en", "detect cat"], 224, 8),
        (["answer en {question}"], 224, 8 * WINDOW_BATCHES),
        (["caption en", "{prompt}"], 896, 8 * WINDOW_BATCHES),
        (["{prompt}"], 10_000, 8),
    ],
)
def test_a_window_is_wider_than_a_batch_where_prompts_vary_and_memory_allows(tasks, size, expected):
    parsed = [Task.parse(task) for task in tasks]
    assert window_size(parsed, 8, 3 * size * size) == expected


def test_the_first_pictures_of_a_unit_do_not_wait_for_a_whole_chunk():
    sizes = [len(chunk) for chunk in chunks(example.record for example in examples("a" * 300))]
    assert sizes[0] == FIRST_CHUNK
    assert max(sizes) == CHUNK_RECORDS
    assert sum(sizes) == 300
