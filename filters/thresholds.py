"""Scores held to thresholds: the policy of a classifier's labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from filters.contract import Answer, Scores, Verdict


@dataclass(frozen=True)
class ThresholdPolicy:
    """Drops what scores a threshold or more; the reason is the label.

    thresholds: label to the lowest score that is dropped, in the order in which they are looked at.

    A label that has no score (or not a number) gives NO_VERDICT, unless another one drops. What
    is kept shows the score that came closest to its threshold.
    """

    thresholds: Mapping[str, float]

    def __post_init__(self) -> None:
        if not self.thresholds:
            raise ValueError("a policy without thresholds would keep everything; give it a label")
        for label, threshold in self.thresholds.items():
            if not math.isfinite(threshold):
                raise ValueError(f"{label}: the threshold is {threshold}; it must be a number")

    def decide(self, scores: Scores) -> Answer:
        unscored: str | None = None
        closest: tuple[float, float] | None = None
        for label, threshold in self.thresholds.items():
            value = scores.values.get(label, math.nan)
            if value >= threshold:
                return Verdict.DROP, label, value, threshold
            if math.isnan(value):
                unscored = unscored or label
            elif closest is None or threshold - value < closest[1] - closest[0]:
                closest = value, threshold
        if unscored is not None or closest is None:
            return Verdict.NO_VERDICT, f"{unscored}_unknown", None, None
        return Verdict.KEEP, None, *closest
