"""How a filter answers: scoring and deciding are two things.

A scorer looks at a batch of items and gives scores; a policy turns one item's scores into a
verdict. Scores are kept with the decision, so that a threshold can be changed later without
the scorer. A filter that can't answer never says KEEP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np


class Verdict(StrEnum):
    """What a filter says of one item; NO_VERDICT and ERROR quarantine the record."""

    KEEP = "keep"
    DROP = "drop"
    NO_VERDICT = "no_verdict"
    ERROR = "error"


# In the reason of a NO_VERDICT that a scorer gave no scores for.
NO_OPINION = "no_verdict"


class Subject(StrEnum):
    """What a filter looks at: the picture, the text that came with it, or what the model wrote."""

    IMAGE = "image"
    TEXT = "text"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Item:
    """What a scorer may look at.

    pixels: uint8[H,W,3] in RGB, upright; None before decoding and for a text alone.
    width, height: of the picture as displayed, in pixels, from its header.
    language: BCP 47 tag, or None where nobody said.
    """

    id: str
    text: str | None = None
    language: str | None = None
    encoded: bytes | None = None
    pixels: np.ndarray | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """What a scorer found for one item.

    values: label to score. Empty together with a `missing` reason means the scorer has no opinion
        (a language it can't read, say), which is not a score of 0.
    labels: findings that have no score (kinds of personal information, name of a word list);
        never any matched text.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    missing: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """One line of the ledger: who looked at what, with which version, and what came of it."""

    filter: str
    subject: str
    scorer: str
    version: str
    verdict: Verdict
    reason: str | None = None
    score: float | None = None
    threshold: float | None = None
    labels: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)


class BackendDown(RuntimeError):  # noqa: N818 (it reads as what happened)
    """What a filter depends on can't be used, and the run has to stop.

    The one exception that leaves a filter. Its message names the backend and the remedy, and
    quotes neither a record nor a key.
    """


class OtherScorerError(ValueError):
    """Scores that another scorer gave, or another version: thresholds don't carry over."""


class Scorer(Protocol):
    """Gives one `Scores` for each item, in order.

    name: stable name of the scorer; version: its release and, where it has weights, their digest.
    May raise: the filter then asks for the items one by one, and only those that fail again get
    the verdict ERROR.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def score(self, items: Sequence[Item]) -> list[Scores]: ...


# The verdict, its reason, and the score and the threshold that decided.
Answer = tuple[Verdict, str | None, float | None, float | None]


class Policy(Protocol):
    """Turns scores into a verdict.

    Returns (verdict, reason, score, threshold): the score and the threshold that decided.
    `scores` has neither `missing` nor `error`; those are the filter's to answer.
    """

    def decide(self, scores: Scores) -> Answer: ...


@dataclass(frozen=True)
class Filter:
    """A scorer and a policy under one name.

    fail_open: verdicts NO_VERDICT and ERROR let the record pass; recorded with the run.
    """

    name: str
    subject: Subject
    scorer: Scorer
    policy: Policy
    fail_open: bool = False

    def screen(self, items: Sequence[Item]) -> list[Decision]:
        """One decision for each item, in order. Of what a scorer raises, only BackendDown."""
        return [self._decide(scores) for scores in self._score(items)]

    def redecide(self, stored: Decision) -> Decision:
        """What this filter says of the scores that an earlier decision of its scorer kept.

        Where there were none to decide on (no opinion, an error) the decision stays as it was.
        Raises OtherScorerError for scores of another scorer or version.
        """
        if (stored.scorer, stored.version) != (self.scorer.name, self.scorer.version):
            raise OtherScorerError(
                f"its scores are of {stored.scorer} {stored.version}, not of "
                f"{self.scorer.name} {self.scorer.version}"
            )
        unanswered = (stored.reason or "").startswith(f"{self.name}:{NO_OPINION}:")
        if unanswered or stored.verdict is Verdict.ERROR:
            return stored
        return self._decide(Scores(stored.scores, stored.labels))

    def _score(self, items: Sequence[Item]) -> list[Scores]:
        try:
            scores = self.scorer.score(items)
            if len(scores) != len(items):
                raise ValueError(f"{len(scores)} scores for {len(items)} items")
            return list(scores)
        except BackendDown as down:
            raise BackendDown(f"filter {self.name}: {down}") from None
        except Exception as error:
            if len(items) == 1:
                # The exception's text may quote the item, so only its type is kept.
                return [Scores(error=type(error).__name__)]
            return [one for item in items for one in self._score([item])]

    def _decide(self, scores: Scores) -> Decision:
        answer: Answer
        if scores.error is not None:
            answer = (Verdict.ERROR, f"{self.name}:error:{scores.error}", None, None)
        elif scores.missing is not None:
            answer = (Verdict.NO_VERDICT, f"{self.name}:{NO_OPINION}:{scores.missing}", None, None)
        else:
            answer = self.policy.decide(scores)
        verdict, reason, score, threshold = answer
        return Decision(
            filter=self.name,
            subject=self.subject.value,
            scorer=self.scorer.name,
            version=self.scorer.version,
            verdict=verdict,
            reason=reason,
            score=score,
            threshold=threshold,
            labels=scores.labels,
            scores=dict(scores.values),
        )
