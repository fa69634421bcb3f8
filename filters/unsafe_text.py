"""Unsafe text: pornographic, vulgar and offensive terms, and sexual language about children.

The words decide, without understanding: tiers keep an innocent listed word from dropping a
caption, and words with an innocent meaning count only beside others that leave no doubt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from filters.contract import Filter, Item, Scores, Subject
from filters.language import language_of
from filters.lexicon import Hit, Lexicon, count, lexicon
from filters.normalise import fold, words
from filters.thresholds import ThresholdPolicy

# The most serious first: it is the reason that the ledger gives.
DROPPED_TIERS = ("csai", "explicit", "slur", "vulgar")
TIERS = (*DROPPED_TIERS, "mild", "listed")

# Distances in words, chosen on the development half of the labelled lines.
SEXUAL_NEAR_MINOR = 4
NUDE_NEAR_MINOR = 2

OLDEST_MINOR = 17
_YEARS = re.compile("years?|yrs?|yo|y|años?|jahren?|jährig(?:e[rsn]?)?|ans|anos?|anni|anno")


@dataclass(frozen=True)
class UnsafeTextScorer:
    """Counts the terms of each tier; the labels name list, language and tier.

    A text in a language without a list has no opinion, unless a term of another list stands in it.
    """

    lists: Lexicon
    name: str = "unsafe-text-lexicon"

    @classmethod
    def carried(cls) -> UnsafeTextScorer:
        """With the lists that the project carries."""
        return cls(lexicon())

    @property
    def version(self) -> str:
        return f"1-{self.lists.digest}"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> Scores:
        if item.text is None:
            return Scores(missing="no_text")
        language = language_of(item)
        literal, *others = self.lists.find(item.text, language)
        hits = {*literal, *(hit for reading in others for hit in reading)}
        if _positions(literal, "protect"):
            hits = {hit for hit in hits if hit.tag.tier != "csai"}
        counts = {tier: float(count(hits, tier)) for tier in TIERS}
        labels = {hit.tag.label for hit in hits if hit.tag.tier in TIERS}
        if explicit_in_context(literal):
            counts["explicit"] += 1
            labels.add("own:en:explicit")
        if sexual_about_minor(item.text, literal):
            counts["csai"] += 1
            labels.add(f"own:{language}:csai")
        if not labels and not self.lists.covers(language):
            return Scores(missing=f"language_{language}")
        return Scores(counts, tuple(sorted(labels)))


def unsafe_text_filter(
    tiers: Iterable[str] = DROPPED_TIERS,
    subject: Subject = Subject.TEXT,
    name: str = "unsafe_text",
    fail_open: bool = False,
) -> Filter:
    """Drops a text with a term of `tiers`. ValueError where one of them isn't in `TIERS`."""
    chosen = tuple(tiers)
    if unknown := sorted(set(chosen) - set(TIERS)):
        raise ValueError(f"unknown tiers {unknown}; the tiers are {', '.join(TIERS)}")
    policy = ThresholdPolicy(dict.fromkeys(chosen, 1.0))
    return Filter(name, subject, UnsafeTextScorer.carried(), policy, fail_open)


def explicit_in_context(hits: Sequence[Hit]) -> bool:
    """A word with an innocent meaning (a bird, a first name) beside one that leaves no doubt."""
    ambiguous = _positions(hits, "ambiguous")
    return bool(ambiguous) and bool(_positions(hits, "context") - ambiguous)


def sexual_about_minor(text: str, hits: Sequence[Hit]) -> bool:
    """A word for a child, or an age under 18, near a sexual word.

    hits: those of the text's literal reading.

    Nudity counts when it is nearer, and not in the description of a work of art. Words of
    protection (education, prevention, law) anywhere in the text clear it: the rule is conservative
    and misses much.
    """
    sexual = _positions(hits, "sexual") | _positions(hits, "explicit")
    nude = set() if _positions(hits, "art") else _positions(hits, "nude")
    if not (sexual or nude) or _positions(hits, "protect"):
        return False
    minors = _positions(hits, "minor") | _young_ages(words(fold(text)))
    return _near(minors, sexual, SEXUAL_NEAR_MINOR) or _near(minors, nude, NUDE_NEAR_MINOR)


def _positions(hits: Iterable[Hit], tier: str) -> set[int]:
    return {hit.position for hit in hits if hit.tag.tier == tier}


def _young_ages(text: Sequence[str]) -> set[int]:
    return {
        position
        for position, (word, after) in enumerate(pairwise(text))
        if len(word) <= 2
        and word.isdecimal()
        and int(word) <= OLDEST_MINOR
        and _YEARS.fullmatch(after)
    }


def _near(some: set[int], others: set[int], distance: int) -> bool:
    return any(0 < abs(one - other) <= distance for one in some for other in others)
