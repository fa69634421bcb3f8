"""What is learned from: pictures once, and the tokens of each question and answer about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.tokenizer import EOS, PAD, Tokenizer


@dataclass(frozen=True)
class Pair:
    """The tokens of one example: prompt (BOS to newline), then answer and EOS."""

    tokens: tuple[int, ...]
    prompt_length: int

    @property
    def answer_length(self) -> int:
        return len(self.tokens) - self.prompt_length


def encode_pair(tokenizer: Tokenizer, prefix: str, suffix: str) -> Pair:
    """[BOS] + prefix + newline, + suffix + [EOS], each encoded apart as in the reference."""
    prompt = tokenizer.encode_prompt(prefix)
    return Pair((*prompt, *tokenizer.encode(suffix), EOS), len(prompt))


@dataclass(frozen=True)
class Examples:
    """n examples about m pictures, several examples often sharing one.

    pictures: uint8[m, S, S, 3], in memory or mapped from a file. picture: int64[n], which one.
    tokens: the examples' tokens one behind the other, int32; example i has those from start[i] to
        start[i + 1]. start: int64[n + 1]. prompt_length: int32[n].
    """

    pictures: np.ndarray
    picture: np.ndarray
    tokens: np.ndarray
    start: np.ndarray
    prompt_length: np.ndarray

    @classmethod
    def of(cls, pictures: np.ndarray, picture: Sequence[int], pairs: Sequence[Pair]) -> Examples:
        lengths = np.array([len(pair.tokens) for pair in pairs], np.int64)
        return cls(
            pictures,
            np.array(picture, np.int64),
            np.array([token for pair in pairs for token in pair.tokens], np.int32),
            np.concatenate([[0], np.cumsum(lengths)]),
            np.array([pair.prompt_length for pair in pairs], np.int32),
        )

    def __len__(self) -> int:
        return len(self.picture)

    @property
    def length(self) -> np.ndarray:
        """int64[n]: tokens of prompt, answer and EOS."""
        return np.diff(self.start)

    def pair(self, number: int) -> Pair:
        tokens = self.tokens[self.start[number] : self.start[number + 1]]
        return Pair(tuple(tokens.tolist()), int(self.prompt_length[number]))

    def text(self, numbers: np.ndarray, length: int) -> np.ndarray:
        """int32[len(numbers), length], padded on the right; no example is longer."""
        text = np.full((len(numbers), length), PAD, np.int32)
        for row, number in enumerate(numbers):
            tokens = self.tokens[self.start[number] : self.start[number + 1]]
            text[row, : len(tokens)] = tokens
        return text

    def select(self, numbers: np.ndarray) -> Examples:
        """Some of the examples, in the order given, about the same pictures."""
        length = self.length[numbers]
        start = np.concatenate([[0], np.cumsum(length)])
        # Each token's place among its example's, plus where that example began.
        within = np.arange(start[-1]) - np.repeat(start[:-1], length)
        tokens = self.tokens[np.repeat(self.start[:-1][numbers], length) + within]
        return Examples(
            self.pictures, self.picture[numbers], tokens, start, self.prompt_length[numbers]
        )
