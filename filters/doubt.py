"""Two thresholds for one score: drop from the upper one, quarantine from the lower one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from filters.contract import Answer, Scores, Verdict
from filters.thresholds import ThresholdPolicy


@dataclass(frozen=True)
class DoubtPolicy:
    """ThresholdPolicy with a band below each threshold where people have to look.

    drop: label to the lowest score that is dropped.
    doubt: label to the lowest score that is quarantined, reason ``LABEL:uncertain``. May be empty,
        and may have labels that nothing is dropped for.
    """

    drop: Mapping[str, float]
    doubt: Mapping[str, float]

    def __post_init__(self) -> None:
        ThresholdPolicy({**self.doubt, **self.drop})
        for label in self.drop.keys() & self.doubt.keys():
            if self.doubt[label] >= self.drop[label]:
                raise ValueError(
                    f"{label}: uncertain from {self.doubt[label]} is not below the drop threshold "
                    f"{self.drop[label]}"
                )

    def decide(self, scores: Scores) -> Answer:
        dropped = ThresholdPolicy(self.drop).decide(scores) if self.drop else None
        if dropped is not None and dropped[0] is Verdict.DROP:
            return dropped
        doubted = ThresholdPolicy(self.doubt).decide(scores) if self.doubt else None
        if doubted is not None and doubted[0] is Verdict.DROP:
            _, label, score, threshold = doubted
            return Verdict.NO_VERDICT, f"{label}:uncertain", score, threshold
        answers = [answer for answer in (dropped, doubted) if answer is not None]
        return next((a for a in answers if a[0] is Verdict.NO_VERDICT), answers[0])
