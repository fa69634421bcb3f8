"""Examples in batches of fixed shapes, in an order that a seed and a step number determine.

An epoch holds every example once. Its batches are planned as a whole, so that training can go on
from any step without what came before being read again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.training.examples import Examples

LENGTH_STEP = 8
"""Text lengths are rounded up to a multiple of this, in tokens."""

NO_EXAMPLE = -1
"""In place of an example's number: a row that fills a batch and counts for nothing."""


class Batch(NamedTuple):
    """K microbatches of B rows each; what the step takes.

    images: uint8[K, B, S, S, 3]. text: int32[K, B, T], prompt, answer, EOS, padding.
    prompt_length, length: int32[K, B], tokens without and with answer and EOS; equal in a row that
    only fills the batch.
    """

    images: np.ndarray
    text: np.ndarray
    prompt_length: np.ndarray
    length: np.ndarray

    @property
    def rows(self) -> int:
        """Rows that are examples."""
        return int(np.sum(self.length > self.prompt_length))


@dataclass(frozen=True)
class Shapes:
    """What is compiled: text lengths T in ascending order, and the longest answer's tokens."""

    lengths: tuple[int, ...]
    answer: int

    @classmethod
    def of(cls, corpora: Sequence[Examples], buckets: int = 1) -> Shapes:
        """As long as the longest example; with more buckets, about as many examples in each.

        Attention and MLP cost as much for padding as for text, and a corpus of captions with a
        few long masks among them is mostly padding in one shape.
        """
        lengths = np.concatenate([corpus.length for corpus in corpora])
        answers = [corpus.length - corpus.prompt_length for corpus in corpora]
        shares = np.quantile(lengths, np.arange(1, buckets + 1) / buckets, method="higher")
        rounded = -(-shares.astype(int) // LENGTH_STEP) * LENGTH_STEP
        return cls(tuple(sorted(set(rounded.tolist()))), int(np.max(np.concatenate(answers))))


class Order:
    """Which examples make up the batch of each step.

    Batches of one epoch: the examples in random order, each going to the shortest shape that
    holds it, as many as a batch has rows; what is left over of all shapes makes the epoch's last
    batches, filled up with rows that count for nothing. The same for the same arguments.
    """

    def __init__(self, length: np.ndarray, shapes: Shapes, batch_size: int, seed: int | None):
        """length: int[n], of each example. seed: None for the order they are in."""
        self._bucket = np.searchsorted(shapes.lengths, length)
        self._lengths = shapes.lengths
        self._batch_size = batch_size
        self._seed = seed
        self.batches_per_epoch = len(self.epoch(0))

    def epoch(self, number: int) -> list[tuple[int, np.ndarray]]:
        """Every batch's text length, and its examples: int64[batch_size]."""
        numbers = np.arange(len(self._bucket))
        random = np.random.default_rng([self._seed or 0, number])
        if self._seed is not None:
            numbers = random.permutation(numbers)
        full, left = [], []
        for bucket in range(len(self._lengths)):
            members = numbers[self._bucket[numbers] == bucket]
            whole = len(members) // self._batch_size * self._batch_size
            full += [(bucket, rows) for rows in members[:whole].reshape(-1, self._batch_size)]
            left.append(members[whole:])
        batches = full + self._filled(np.concatenate(left))
        if self._seed is not None:
            batches = [batches[place] for place in random.permutation(len(batches))]
        return [(self._lengths[bucket], rows) for bucket, rows in batches]

    def from_step(self, step: int) -> Iterator[tuple[int, np.ndarray]]:
        """The batches of step `step` (from 0) and of all that follow, epoch after epoch."""
        epoch, place = divmod(step, self.batches_per_epoch)
        while True:
            yield from self.epoch(epoch)[place:]
            epoch, place = epoch + 1, 0

    def _filled(self, numbers: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """Examples of ascending shapes in batches, the last of them filled up."""
        missing = -len(numbers) % self._batch_size
        filled = np.concatenate([numbers, np.full(missing, NO_EXAMPLE, numbers.dtype)])
        return [
            (int(self._bucket[rows[rows != NO_EXAMPLE]].max()), rows)
            for rows in filled.reshape(-1, self._batch_size)
        ]


def assemble(examples: Examples, length: int, numbers: np.ndarray, microbatches: int) -> Batch:
    """The rows of one batch. numbers: int64[batch_size], a multiple of `microbatches`."""
    real = numbers != NO_EXAMPLE
    rows = numbers[real]
    prompt_length, total = np.ones((2, len(numbers)), np.int32)
    prompt_length[real] = examples.prompt_length[rows]
    total[real] = examples.length[rows]
    text = np.zeros((len(numbers), length), np.int32)
    text[real] = examples.text(rows, length)
    images = np.zeros((len(numbers), *examples.pictures.shape[1:]), np.uint8)
    images[real] = examples.pictures[examples.picture[rows]]

    def split(array: np.ndarray) -> np.ndarray:
        return array.reshape(microbatches, -1, *array.shape[1:])

    return Batch(split(images), split(text), split(prompt_length), split(total))
