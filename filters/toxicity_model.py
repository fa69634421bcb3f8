"""The six-label toxicity network in NumPy: word vectors, a bidirectional LSTM, two dense layers.

The weights are those of the package toxic-comment-classifier 0.3.0, trained on the comments of
Wikipedia's talk pages (Jigsaw 2018); for texts of up to 100 known words the scores equal its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

WEIGHTS = Path(__file__).parent / "data" / "toxicity.npz"

LABELS = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")

# The network reads 100 words, shorter texts after padding with index 0, which is not masked.
WINDOW = 100
PADDING = 0
# Measured: more rows make BLAS share products among threads that are too small to be shared.
ROWS_AT_ONCE = 64

# Padding steps end once no state moves by more: far below the fourth decimal of a score.
SETTLED = 1e-6

# What Keras' Tokenizer takes for a space.
_SEPARATORS = str.maketrans(dict.fromkeys('!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n', " "))


class _Direction(NamedTuple):
    """One direction's LSTM: kernel f32[50,200], recurrent f32[50,200], bias f32[200].

    Gates stand as input, forget, candidate, output. The sigmoid ones are halved, since
    sigmoid(x) = (1 + tanh(x / 2)) / 2 lets one tanh serve all four.
    """

    kernel: np.ndarray
    recurrent: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray], side: str) -> _Direction:
        units = arrays[f"{side}_recurrent"].shape[0]
        halve = np.full(4 * units, 0.5, np.float32)
        halve[2 * units : 3 * units] = 1
        return cls(*(arrays[f"{side}_{part}"] * halve for part in cls._fields))

    def step(self, inputs: np.ndarray, hidden: np.ndarray, cell: np.ndarray) -> None:
        """One word: inputs f32[B,200] (kernel and bias applied); updates hidden, cell f32[B,50]."""
        units = hidden.shape[1]
        gates = hidden @ self.recurrent
        gates += inputs
        np.tanh(gates, out=gates)
        gate_in, forget, candidate, gate_out = (
            gates[:, at : at + units] for at in range(0, 4 * units, units)
        )
        # (1 + i)/2 * g + (1 + f)/2 * c, and then (1 + o)/2 * tanh(c)
        cell *= 1 + forget
        cell += (1 + gate_in) * candidate
        cell *= 0.5
        np.multiply(1 + gate_out, np.tanh(cell), out=hidden)
        hidden *= 0.5


class ToxicityModel:
    """Scores texts. `digest` names the weights; `vocabulary` maps a word to its index."""

    def __init__(self, path: Path = WEIGHTS) -> None:
        with np.load(path) as file:
            arrays = dict(file)
        self.digest = _digest(arrays)
        known = arrays.pop("vocabulary").tobytes().decode("utf-8").split("\n")
        self.vocabulary = {word: index for index, word in enumerate(known, start=1)}
        self._arrays = arrays
        self._forward = _Direction.of(arrays, "forward")
        self._backward = _Direction.of(arrays, "backward")
        self._start = self._padding_states()

    def score(self, texts: Sequence[str]) -> np.ndarray:
        """float32[N,6], the probabilities of `LABELS`.

        A text of more than 100 known words is read in windows, and has its highest scores.
        """
        windows = [(row, ids) for row, text in enumerate(texts) for ids in self._windows(text)]
        windows.sort(key=lambda window: -len(window[1]))
        scores = np.zeros((len(texts), len(LABELS)), np.float32)
        for start in range(0, len(windows), ROWS_AT_ONCE):
            chunk = windows[start : start + ROWS_AT_ONCE]
            rows = [row for row, _ in chunk]
            np.maximum.at(scores, rows, self._score_sorted([ids for _, ids in chunk]))
        return scores

    def _windows(self, text: str) -> list[list[int]]:
        tokens = text.lower().translate(_SEPARATORS).split(" ")
        ids = [self.vocabulary[token] for token in tokens if token in self.vocabulary]
        # The last window ends with the text, as the package's only one does.
        ends = range(len(ids), 0, -WINDOW) if ids else [0]
        return [ids[max(0, end - WINDOW) : end] for end in ends]

    def _padding_states(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Hidden and cell state and highest output of the forward LSTM after 0 to 100 paddings.

        f32[101,50] each: what a text finds that begins after so much padding.
        """
        units = self._forward.recurrent.shape[0]
        hidden, cell = np.zeros((2, 1, units), np.float32)
        padding = self._inputs(self._forward, np.array([PADDING]))
        hiddens, cells, highest = [hidden[0].copy()], [cell[0].copy()], [np.full(units, -np.inf)]
        for _ in range(WINDOW):
            self._forward.step(padding, hidden, cell)
            hiddens.append(hidden[0].copy())
            cells.append(cell[0].copy())
            highest.append(np.maximum(highest[-1], hidden[0]))
        return np.stack(hiddens), np.stack(cells), np.stack(highest).astype(np.float32)

    def _inputs(self, direction: _Direction, ids: np.ndarray) -> np.ndarray:
        return self._arrays["embedding"][ids] @ direction.kernel + direction.bias

    def _score_sorted(self, rows: list[list[int]]) -> np.ndarray:
        """rows: word indices, longest row first. float32[len(rows),6]."""
        lengths = np.array([len(row) for row in rows])
        # From the end, so that all rows have their last word in one column.
        ids = np.zeros((len(rows), max(lengths[0], 1)), np.int64)
        for row, indices in enumerate(rows):
            ids[row, : lengths[row]] = indices[::-1]
        pooled = np.concatenate(
            [self._run_forward(ids, lengths), self._run_backward(ids, lengths)], axis=1
        )
        arrays = self._arrays
        dense = np.maximum(pooled @ arrays["dense_kernel"] + arrays["dense_bias"], 0)
        return 1 / (1 + np.exp(-(dense @ arrays["dense_1_kernel"] + arrays["dense_1_bias"])))

    def _run_forward(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The highest output of each unit over padding and text, f32[B,50]."""
        hidden, cell, highest = (states[WINDOW - lengths] for states in self._start)
        for column in range(lengths[0] - 1, -1, -1):
            active = int(np.count_nonzero(lengths > column))
            inputs = self._inputs(self._forward, ids[:active, column])
            self._forward.step(inputs, hidden[:active], cell[:active])
            np.maximum(highest[:active], hidden[:active], out=highest[:active])
        return highest

    def _run_backward(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The same, read from the last word to the first and on through the padding."""
        shape = (len(lengths), self._backward.recurrent.shape[0])
        hidden, cell = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        highest = np.full(shape, -np.inf, np.float32)
        for column in range(lengths[0]):
            active = int(np.count_nonzero(lengths > column))
            inputs = self._inputs(self._backward, ids[:active, column])
            self._backward.step(inputs, hidden[:active], cell[:active])
            np.maximum(highest[:active], hidden[:active], out=highest[:active])
        padding = self._inputs(self._backward, np.array([PADDING]))
        for done in range(WINDOW - lengths[-1]):
            # The shorter rows, which stand last, have more padding.
            first = int(np.count_nonzero(WINDOW - lengths <= done))
            before = hidden[first:].copy()
            self._backward.step(padding, hidden[first:], cell[first:])
            np.maximum(highest[first:], hidden[first:], out=highest[first:])
            if np.abs(hidden[first:] - before).max() < SETTLED:
                break
        return highest


def _digest(arrays: dict[str, np.ndarray]) -> str:
    """Of the content alone, whatever compressed the file."""
    content = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        content.update(f"{name} {array.dtype} {array.shape}".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()[:12]


@cache
def toxicity_model() -> ToxicityModel:
    """The model that the project carries, read once a process."""
    return ToxicityModel()
