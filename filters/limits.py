"""Measurements held to limits: the policy of every quality filter."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from filters.contract import Answer, Scores, Verdict


@dataclass(frozen=True, slots=True)
class Limit:
    """The range that one measurement must lie in; both ends belong to it, None is no limit.

    label: name of the measurement among the scores.
    reason: the stable word that goes with a drop.
    """

    label: str
    reason: str
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(
                f"{self.label}: the minimum {self.minimum} is above the maximum {self.maximum}"
            )

    @property
    def active(self) -> bool:
        return self.minimum is not None or self.maximum is not None

    def broken_by(self, value: float) -> float | None:
        """The threshold that `value` breaks, or None. Not a number breaks every limit."""
        if self.minimum is not None and not value >= self.minimum:
            return self.minimum
        if self.maximum is not None and not value <= self.maximum:
            return self.maximum
        return None


@dataclass(frozen=True)
class LimitsPolicy:
    """Drops at the first broken limit, in the order given.

    A measurement that the scorer couldn't make gives NO_VERDICT, unless another limit is broken.
    """

    limits: tuple[Limit, ...]

    @classmethod
    def of(cls, limits: Iterable[Limit]) -> LimitsPolicy:
        """A policy of those limits that limit something."""
        return cls(tuple(limit for limit in limits if limit.active))

    def decide(self, scores: Scores) -> Answer:
        unmeasured: str | None = None
        for limit in self.limits:
            value = scores.values.get(limit.label)
            if value is None:
                unmeasured = unmeasured or limit.label
            elif (threshold := limit.broken_by(value)) is not None:
                return Verdict.DROP, limit.reason, value, threshold
        if unmeasured is not None:
            return Verdict.NO_VERDICT, f"{unmeasured}_unknown", None, None
        return Verdict.KEEP, None, None, None
