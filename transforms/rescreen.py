"""New thresholds over the scores that a ledger kept: no picture is read, no scorer asked.

A row says how far its record came. What comes after that was never scored, so a record that would
now get past it is quarantined until it is screened in earnest: it is never kept for want of scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from filters.config import BACKENDS
from filters.contract import Decision, OtherScorerError, Verdict
from filters.screening import REDACTED, AnyFilter, Screening
from transforms.again import RESCREEN
from transforms.duplicates import FILTER as DUPLICATES
from transforms.errors import UserError
from transforms.row import Outcome, decision_from, decision_values

NEEDS_SCREENING = f"{RESCREEN}needs_screening"

_STAGES = ("header", "text", "image", "output")
_SUBJECTS = {"header": "image", "text": "text", "image": "image", "output": "output"}
_LATE = len(BACKENDS) * len(_STAGES)

Row = dict[str, Any]


@dataclass(frozen=True)
class _Step:
    """One filter at its place in the order. place: later ones have a higher number."""

    filter: AnyFilter
    stage: str
    place: int


@dataclass(frozen=True)
class Rescreening:
    """The new filters.

    may_keep: a record that all filters have looked at and none stops any more is kept. Not so where
    it would have to have annotations, or to be searched for duplicates.
    """

    screening: Screening
    may_keep: bool

    def row(self, row: Row, gone: Collection[str] = ()) -> Row:
        """The row as the new filters would have it, as far as its scores tell.

        gone: ids of rows that were kept and are not any more; a duplicate of theirs has to be
        looked at again.

        Raises UserError: its scores are of another scorer than the filters'.
        """
        if row["outcome"] == Outcome.DUPLICATE and _survivor(row) is None:
            return row  # its key stands twice; no filter has looked at it
        decisions: list[Decision] = []
        stored = [decision_from(values) for values in row["decisions"]]
        reached = self._reached(row, stored)
        for step in self._steps():
            earlier = [one for one in stored if _is_of(one, step)]
            if not earlier and step.place > reached:
                return self._stopped(row, Outcome.QUARANTINED, NEEDS_SCREENING, decisions, step)
            for one in earlier:
                decision = _redecided(step.filter, one)
                decisions.append(decision)
                if decision.reason == REDACTED and one.reason != REDACTED:
                    # Its text was not blacked out then, and there is nothing here to do it with.
                    return self._stopped(row, Outcome.QUARANTINED, NEEDS_SCREENING, decisions, step)
                if outcome := _outcome(decision, step.filter):
                    return self._stopped(row, outcome, decision.reason, decisions, step)
        return self._passed(row, decisions, stored, gone)

    def _steps(self) -> Iterator[_Step]:
        for stage in _STAGES:
            for one in getattr(self.screening, stage):
                yield _Step(one, stage, _place(stage, one.name))

    def _reached(self, row: Row, stored: list[Decision]) -> int:
        """The place of the last filter that looked at a record, or would have had there been text.

        What failed on the way stays failed, whatever would have come after it.
        """
        stopped = row["outcome"] in (Outcome.FILTERED, Outcome.QUARANTINED)
        if not stopped or not stored:
            return _LATE if not stopped else -1
        return _place(_stage(stored[-1]), stored[-1].filter)

    def _stopped(
        self, row: Row, outcome: Outcome, reason: str | None, decisions: list[Decision], step: _Step
    ) -> Row:
        """Stopped at a step. Text that not every text filter has let pass is withheld."""
        unclean = step.stage in ("header", "text") and self.screening.text
        withheld = {"text": None, "metadata": None} if unclean and self.screening.withhold else {}
        if row["outcome"] == Outcome.FAILED and reason == NEEDS_SCREENING:
            return {**_with(row, decisions), **withheld}
        return {
            **_with(row, decisions),
            **withheld,
            "outcome": outcome.value,
            "reason": reason,
            "annotations": [],
            "error": None,
        }

    def _passed(
        self, row: Row, decisions: list[Decision], stored: list[Decision], gone: Collection[str]
    ) -> Row:
        """No filter stops it, and all have looked: what it was decides what it is."""
        passed = _with(row, decisions)
        if row["outcome"] in (Outcome.KEPT, Outcome.FAILED):
            return passed
        if row["outcome"] == Outcome.DUPLICATE and _survivor(row) not in gone:
            marks = [values for values in row["decisions"] if values["filter"] == DUPLICATES]
            return {**passed, "decisions": [*passed["decisions"], *marks]}
        # The pictures of those that stopped at the text were never decoded.
        screened = bool(stored) and _stage(stored[-1]) == "image"
        if row["outcome"] != Outcome.DUPLICATE and screened and self.may_keep:
            return {**passed, "outcome": Outcome.KEPT.value, "reason": None}
        return {**passed, "outcome": Outcome.QUARANTINED.value, "reason": NEEDS_SCREENING}


@dataclass
class Changes:
    """What new filters would change. Counts rows.

    reasons: (outcome, reason) before and after. moves: (outcome before, outcome after).
    """

    before: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    after: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, old: Row, new: Row) -> None:
        self.before[stopped_by(old)] += 1
        self.after[stopped_by(new)] += 1
        if old["outcome"] != new["outcome"]:
            self.moves[old["outcome"], new["outcome"]] += 1


def stopped_by(row: Row) -> tuple[str, str | None]:
    """The filter that stopped a record, or else its outcome; and the reason."""
    stopped = row["outcome"] in (Outcome.FILTERED, Outcome.QUARANTINED, Outcome.DUPLICATE)
    if stopped and row["decisions"] and not row["reason"].startswith(RESCREEN):
        return row["decisions"][-1]["filter"], row["reason"]
    return row["outcome"], row["reason"]


def unscored(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(filter, why) of those that a ledger can have no scores for.

    new, old: filters as `ScreeningConfig.plain` gives them.
    """
    for name, options in new.items():
        if name not in old:
            yield name, "it was not among the filters of that run"
        elif name == "blocklist" and options != old[name]:
            yield name, "it looks at files and pictures, of which no scores are kept"
        elif missing := set(options.get("subjects", ())) - set(old[name].get("subjects", ())):
            yield name, f"it did not look at {' and '.join(sorted(missing))} in that run"


def _redecided(one: AnyFilter, stored: Decision) -> Decision:
    try:
        return one.redecide(stored)
    except OtherScorerError as error:
        raise UserError(
            f"filter {one.name} can't be rescreened: {error}. Thresholds belong to a scorer: run "
            "palipipe screen or annotate with this configuration into another folder"
        ) from error


def _outcome(decision: Decision, one: AnyFilter) -> Outcome | None:
    """What a decision stops a record with, if it does."""
    if decision.verdict is Verdict.DROP:
        return Outcome.FILTERED
    unanswered = decision.verdict in (Verdict.NO_VERDICT, Verdict.ERROR)
    return Outcome.QUARANTINED if unanswered and not one.fail_open else None


def _is_of(decision: Decision, step: _Step) -> bool:
    return (decision.filter, decision.subject) == (step.filter.name, _SUBJECTS[step.stage])


def _stage(decision: Decision) -> str:
    if decision.subject != "image":
        return decision.subject
    return "header" if decision.filter == "image_size" else "image"


def _place(stage: str, name: str) -> int:
    """Filters look stage by stage, and within one in the order of `BACKENDS`."""
    return _STAGES.index(stage) * len(BACKENDS) + list(BACKENDS).index(name)


def _survivor(row: Row) -> str | None:
    """Id of the record that a row was found to be a duplicate of by its picture."""
    marks = (values for values in row["decisions"] if values["filter"] == DUPLICATES)
    return next((values["labels"][0] for values in marks), None)


def _with(row: Row, decisions: list[Decision]) -> Row:
    return {**row, "decisions": [decision_values(decision) for decision in decisions]}
