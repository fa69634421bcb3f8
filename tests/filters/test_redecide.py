"""Deciding anew from the scores that a decision kept."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.contract import Filter, Item, OtherScorerError, Scores, Subject, Verdict
from filters.doubt import DoubtPolicy
from filters.personal import INFO_TYPES, personal_information_filter
from filters.screening import REDACTED, Redaction
from filters.thresholds import ThresholdPolicy


@dataclasses.dataclass(frozen=True)
class Given:
    """Scores as the text of the item says: a number, nothing, or a failure."""

    name: str = "given"
    version: str = "1"

    def score(self, items):
        return [self._one(item.text) for item in items]

    def _one(self, text):
        if text == "fail":
            raise OSError(text)
        return Scores(missing="no_number") if text == "none" else Scores({"bad": float(text)})


def at(threshold, **scorer):
    return Filter("f", Subject.TEXT, Given(**scorer), ThresholdPolicy({"bad": threshold}))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_it_is_what_the_filter_would_have_said_itself(score, before, after):
    item = Item("1", text=repr(score))
    (stored,) = at(before).screen([item])
    assert at(after).redecide(stored) == at(after).screen([item])[0]


@pytest.mark.parametrize("text", ["none", "fail"])
def test_without_scores_a_decision_stays_as_it_was(text):
    (stored,) = at(0.5).screen([Item("1", text=text)])
    assert stored.verdict is not Verdict.KEEP
    assert at(0.9).redecide(stored) == stored


def test_what_was_in_doubt_has_scores_and_is_decided_anew():
    doubting = Filter("f", Subject.TEXT, Given(), DoubtPolicy({"bad": 0.8}, {"bad": 0.2}))
    (stored,) = doubting.screen([Item("1", text="0.5")])
    assert stored.verdict is Verdict.NO_VERDICT
    assert at(0.9).redecide(stored).verdict is Verdict.KEEP
    assert at(0.4).redecide(stored).verdict is Verdict.DROP


@pytest.mark.parametrize("other", [{"version": "2"}, {"name": "another"}])
def test_scores_of_another_scorer_are_refused(other):
    (stored,) = at(0.5).screen([Item("1", text="0.1")])
    with pytest.raises(OtherScorerError, match="its scores are of given 1, not of"):
        at(0.5, **other).redecide(stored)


def test_a_redaction_keeps_what_its_filter_would_drop():
    inner = personal_information_filter()
    (stored,) = inner.screen([Item("1", text="write to ann@example.org")])
    again = Redaction(inner).redecide(stored)
    assert (stored.verdict, again.verdict, again.reason) == (Verdict.DROP, Verdict.KEEP, REDACTED)
    assert inner.redecide(again) == stored


def test_counts_of_some_kinds_alone_are_another_version():
    some = personal_information_filter(info_types=INFO_TYPES[:1])
    (stored,) = some.screen([Item("1", text="a dog on grass")])
    with pytest.raises(OtherScorerError):
        personal_information_filter().redecide(stored)
