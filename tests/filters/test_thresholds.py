"""A threshold drops what reaches it, and never keeps what has no score."""

import math

import pytest

from filters.contract import Scores, Verdict
from filters.thresholds import ThresholdPolicy

POLICY = ThresholdPolicy({"toxicity": 0.8, "insult": 0.6})


def test_a_score_at_the_threshold_is_dropped_with_its_label() -> None:
    answer = POLICY.decide(Scores({"toxicity": 0.1, "insult": 0.6}))
    assert answer == (Verdict.DROP, "insult", 0.6, 0.6)


def test_what_is_kept_shows_the_score_closest_to_its_threshold() -> None:
    answer = POLICY.decide(Scores({"toxicity": 0.7, "insult": 0.1}))
    assert answer == (Verdict.KEEP, None, 0.7, 0.8)


@pytest.mark.parametrize("values", [{}, {"toxicity": 0.0}, {"toxicity": 0.0, "insult": math.nan}])
def test_a_label_without_a_score_is_never_kept(values: dict[str, float]) -> None:
    verdict, *_ = POLICY.decide(Scores(values))
    assert verdict is Verdict.NO_VERDICT


def test_a_drop_needs_only_its_own_label() -> None:
    verdict, reason, *_ = POLICY.decide(Scores({"insult": 0.9}))
    assert (verdict, reason) == (Verdict.DROP, "insult")


@pytest.mark.parametrize("thresholds", [{}, {"toxicity": math.nan}])
def test_a_policy_that_could_not_drop_is_refused(thresholds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="threshold"):
        ThresholdPolicy(thresholds)
