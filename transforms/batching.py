"""Which pictures go through the model together.

A batch is decoded until its longest answer ends, and its prompts are filled up to the longest.
Where records bring their own prompts, those of a like kind and length are therefore put together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from model.tasks import Task, expected_tokens

if TYPE_CHECKING:
    from transforms.prepare import Example

# Batches that are sorted together. A window of one kind of answer more gains little: eight kinds of
# prompts evenly mixed are then about one to a batch.
WINDOW_BATCHES = 8
# A picture of 896 pixels a side has 2.4 MB: of those a window holds fewer.
WINDOW_BYTES = 256 << 20


def window_size(tasks: Sequence[Task], batch_size: int, picture_bytes: int) -> int:
    """Examples to sort together: a whole number of batches, one where all prompts are the same."""
    if not any(task.fields for task in tasks):
        return batch_size
    affordable = WINDOW_BYTES // max(batch_size * picture_bytes, 1)
    return batch_size * max(min(WINDOW_BATCHES, affordable), 1)


def batches(window: Sequence[Example], batch_size: int) -> list[tuple[Example, ...]]:
    """A window's examples in batches of those alike; only the last may be smaller.

    Their order depends on the window alone, and so does each row's result to the last bit.
    """
    ordered = sorted(window, key=_effort)
    return [
        tuple(ordered[start : start + batch_size]) for start in range(0, len(ordered), batch_size)
    ]


def _effort(example: Example) -> tuple[int, int]:
    """What to sort by: decoding steps, each of which reads all weights, before prompt letters."""
    texts = [prompt.text for prompt in example.prompts]
    return sum(map(expected_tokens, texts)), sum(map(len, texts))
