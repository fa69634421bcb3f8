"""Quality of a caption: its length in words and characters, and how much it repeats itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from filters.contract import Filter, Item, Scores, Subject
from filters.limits import Limit, LimitsPolicy

# DataComp's basic filtering asks for more than 2 words and more than 5 characters
# (Gadre et al. 2023, arXiv:2304.14108, section 3.4).
DATACOMP_MIN_WORDS = 3
DATACOMP_MIN_CHARACTERS = 6

REPETITION_WORDS = 3

# Scripts written without spaces between words: there a letter counts as a word. Thai, Lao,
# Myanmar, Khmer; kana, Han (with extension A and the compatibility block) and the later planes.
_UNSPACED = re.compile(
    "[\u0e00-\u0e30\u0e40-\u0e46\u0e80-\u0eb0\u0ec0-\u0ec6\u1000-\u102a\u1780-\u17b3"
    "\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def words(text: str) -> list[str]:
    """The words of a caption in lower case; single letters in scripts that don't space words.

    Parts without a letter or digit (dashes, emoji) are no words.
    """
    found: list[str] = []
    for part in text.lower().split():
        found += _UNSPACED.findall(part)
        rest = _UNSPACED.sub("", part)
        if any(character.isalnum() for character in rest):
            found.append(rest)
    return found


def repetition(tokens: Sequence[str], size: int = REPETITION_WORDS) -> float:
    """Share of the runs of `size` words that occurred before in the same caption; 0 if too short.

    The n-gram repetition of Gopher's quality rules (Rae et al. 2021, arXiv:2112.11446, A.1.1),
    counted in runs and not in characters, which suits captions of a line.
    """
    runs = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


@dataclass(frozen=True)
class TextShape:
    """Measures `words`, `characters` (outer white space left out) and `repetition` (0 to 1)."""

    name: str = "text-shape"
    version: str = "1"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        return [_shape(item.text) for item in items]


def _shape(text: str | None) -> Scores:
    if text is None:
        return Scores(missing="no_text")
    tokens = words(text)
    return Scores(
        {
            "words": float(len(tokens)),
            "characters": float(len(text.strip())),
            "repetition": repetition(tokens),
        }
    )


def text_quality_filter(
    min_words: int | None = None,
    max_words: int | None = None,
    min_characters: int | None = None,
    max_characters: int | None = None,
    max_repetition: float | None = None,
    subject: Subject = Subject.TEXT,
    name: str = "text_quality",
    fail_open: bool = False,
) -> Filter:
    """Drops by length and repetition: too_few_words, too_many_words, too_short, too_long,
    repetitive. None is no limit."""
    limits = (
        Limit("words", "too_few_words", minimum=min_words),
        Limit("words", "too_many_words", maximum=max_words),
        Limit("characters", "too_short", minimum=min_characters),
        Limit("characters", "too_long", maximum=max_characters),
        Limit("repetition", "repetitive", maximum=max_repetition),
    )
    return Filter(name, subject, TextShape(), LimitsPolicy.of(limits), fail_open)
