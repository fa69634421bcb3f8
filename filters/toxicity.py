"""Toxic text: the six-label network for English; word lists beside it and in other languages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from filters.contract import Answer, Filter, Item, Scores, Subject
from filters.language import UNDETERMINED, language_of
from filters.lexicon import Lexicon, count, lexicon
from filters.normalise import fold, readings
from filters.thresholds import ThresholdPolicy
from filters.toxicity_model import LABELS, ToxicityModel, toxicity_model

# Tiers whose terms speak of or to someone; what is only explicit is for the unsafe-text filter.
TIERS = ("vulgar", "slur", "insult", "threat", "hate")


# Who writes to somebody says "you"; a caption describes. So in a caption the words with an innocent
# meaning (the ass in the stable, the calf sucking milk) are kept from the network, which knows them
# from insults alone.
ADDRESSED = frozenset({"you", "your", "yours", "yourself", "u", "ur", "youre", "ya"})


def terms(tier: str) -> str:
    """The label under which the terms of a tier are counted, apart from the network's labels."""
    return f"{tier}_terms"


@dataclass(frozen=True)
class ToxicityScorer:
    """The network's six probabilities for English, and counts of listed terms for all languages.

    The network was trained on English alone and scores other languages by chance, so it is not
    asked about them. A text in a language without a list has no opinion, unless a term of another
    list stands in it.
    """

    model: ToxicityModel
    lists: Lexicon
    name: str = "toxicity-lstm"

    @classmethod
    def carried(cls) -> ToxicityScorer:
        """With the weights and lists that the project carries."""
        return cls(toxicity_model(), lexicon())

    @property
    def version(self) -> str:
        return f"1-{self.model.digest}-{self.lists.digest}"

    @cached_property
    def _homonyms(self) -> frozenset[str]:
        return self.lists.words("en", "homonym")

    def score(self, items: Sequence[Item]) -> list[Scores]:
        languages = [language_of(item) for item in items]
        read = {
            row: plain
            for row, (item, language) in enumerate(zip(items, languages, strict=True))
            if item.text is not None and (plain := self._english(item.text, language)) is not None
        }
        scored = dict(zip(read, self.model.score(list(read.values())), strict=True))
        return [
            self._one(item, language, scored.get(row))
            for row, (item, language) in enumerate(zip(items, languages, strict=True))
        ]

    def _english(self, text: str, language: str) -> str | None:
        """What the network shall read: the reading with the fewest words that it doesn't know.

        None for other languages; a text too short to tell is English where all words are known.
        """
        if language not in ("en", UNDETERMINED):
            return None
        vocabulary = self.model.vocabulary
        folded = fold(text)
        ways = readings(folded)
        unknown = [sum(word not in vocabulary for word in way) for way in ways]
        if language == UNDETERMINED and min(unknown):
            return None
        best = unknown.index(min(unknown))
        if ADDRESSED.isdisjoint(ways[best]):
            return " ".join(word for word in ways[best] if word not in self._homonyms)
        # The literal reading goes with its apostrophes, which the vocabulary has.
        return " ".join(ways[best]) if best else folded

    def _one(self, item: Item, language: str, probabilities: np.ndarray | None) -> Scores:
        if item.text is None:
            return Scores(missing="no_text")
        hits = {hit for hits in self.lists.find(item.text, language) for hit in hits}
        found = {hit.tag.label for hit in hits if hit.tag.tier in TIERS}
        if not found and probabilities is None and not self.lists.covers(language):
            return Scores(missing=f"language_{language}")
        values = {terms(tier): float(count(hits, tier)) for tier in TIERS}
        if probabilities is not None:
            values |= {
                label: float(score) for label, score in zip(LABELS, probabilities, strict=True)
            }
        return Scores(values, tuple(sorted(found)))


# By the digest of the weights that they were chosen for, on the development half of the labelled
# lines. `toxic` and `identity_hate` are left out: they rise where a group is merely named.
NETWORK_THRESHOLDS = {"7ec6afe1ece0": {"obscene": 0.5, "insult": 0.5, "threat": 0.12}}


@dataclass(frozen=True)
class ToxicityPolicy:
    """Thresholds for the listed terms, and for the network's labels where it was asked."""

    network: Mapping[str, float]
    terms: Mapping[str, float]

    def decide(self, scores: Scores) -> Answer:
        asked = any(label in scores.values for label in LABELS)
        thresholds = {**self.terms, **self.network} if asked else self.terms
        return ThresholdPolicy(thresholds).decide(scores)


def toxicity_filter(
    thresholds: Mapping[str, float] | None = None,
    tiers: Iterable[str] = TIERS,
    subject: Subject = Subject.TEXT,
    name: str = "toxicity",
    fail_open: bool = False,
) -> Filter:
    """Drops a text with a listed term of `tiers`, or with a score at a threshold or above.

    thresholds: for `LABELS`; those chosen for the carried weights where None. ValueError for a
        label or tier that doesn't exist, and where nothing is known for the weights.
    """
    scorer = ToxicityScorer.carried()
    network = thresholds_for(scorer.model.digest) if thresholds is None else thresholds
    chosen = tuple(tiers)
    if unknown := sorted((set(network) - set(LABELS)) | (set(chosen) - set(TIERS))):
        raise ValueError(f"unknown {unknown}; labels are {LABELS} and tiers are {TIERS}")
    policy = ToxicityPolicy(network, {terms(tier): 1.0 for tier in chosen})
    return Filter(name, subject, scorer, policy, fail_open)


def thresholds_for(digest: str) -> Mapping[str, float]:
    """The thresholds chosen for these weights; ValueError where none were."""
    if digest not in NETWORK_THRESHOLDS:
        raise ValueError(f"no thresholds were chosen for the toxicity weights {digest}; name some")
    return NETWORK_THRESHOLDS[digest]
