"""What a unit of work leaves in the ledger, and what has to hold before it does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transforms.errors import InvariantError, UnitError
from transforms.row import SCHEMA_VERSION, Outcome
from transforms.unit import Unit


@dataclass(frozen=True)
class UnitEnd:
    """Says that a unit was read to its end, and how many records that was."""

    unit: Unit
    records: int


@dataclass(frozen=True)
class UnitFailure:
    """Says that a unit could not be read; it is not committed, and the next run tries again."""

    unit: Unit
    problem: str
    remedy: str

    @classmethod
    def of(cls, unit: Unit, error: UnitError) -> UnitFailure:
        return cls(unit, error.problem, error.remedy)


@dataclass(frozen=True)
class Commit:
    """What is known of a committed unit.

    data: path of its Parquet file, relative to the output folder; rows: how many it has.
    outcomes: outcome to number of rows. reasons: outcome to reason to number of rows.
    sha256, bytes: of the data file.
    generation: how often rows were decided anew since the unit was read.
    redone: ids of those that were read anew then, and not only marked.
    run: name of the run that committed it, as the history has it.
    taken_over: how many rows have the answers of an earlier run (`transforms.answers`).
    """

    unit: Unit
    data: str
    rows: int
    outcomes: Mapping[str, int]
    reasons: Mapping[str, Mapping[str, int]]
    bytes: int
    sha256: str
    fingerprint: str
    schema_version: int = SCHEMA_VERSION
    generation: int = 0
    redone: tuple[str, ...] = ()
    run: str = ""
    taken_over: int = 0

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Commit:
        redone = tuple(values.get("redone", ()))
        return cls(**{**values, "unit": Unit.from_json(values["unit"]), "redone": redone})

    def has(self, outcome: Outcome) -> bool:
        """Whether any of its rows has the outcome."""
        return self.outcomes.get(outcome.value, 0) > 0


def check(unit: Unit, records: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """The ledger's promise for one unit: each record that was read has exactly one row.

    Raises:
        InvariantError: names the unit and what does not add up.
    """

    def broken(what: str) -> InvariantError:
        return InvariantError(
            f"{unit.uri}: {what}; the unit was not committed. This is a defect of palipipe: "
            "report it, what was committed before is not affected"
        )

    outcomes = Counter(row["outcome"] for row in rows)
    unknown = set(outcomes) - {outcome.value for outcome in Outcome}
    if unknown:
        raise broken(f"rows with an unknown outcome {sorted(unknown)}")
    if len(rows) != records:
        counts = ", ".join(f"{n} {name}" for name, n in sorted(outcomes.items()))
        raise broken(f"{records} records were read, but there are {len(rows)} rows ({counts})")
    indices = Counter(row["source"]["index"] for row in rows)
    expected = range(unit.first_index, unit.first_index + records)
    if len(indices) != records or not all(index in expected for index in indices):
        repeated = [index for index, n in indices.items() if n > 1]
        raise broken(f"records {repeated or sorted(indices)} do not each have one row")
    ids = Counter(row["id"] for row in rows)
    if len(ids) != records:
        raise broken(f"id {next(id for id, n in ids.items() if n > 1)} stands in two rows")
    for row in rows:
        if row["outcome"] == Outcome.KEPT and row["error"] is not None:
            raise broken(f"record {row['source']['index']} is kept although it has an error")
        if row["outcome"] != Outcome.KEPT and not row["reason"]:
            raise broken(f"record {row['source']['index']} is {row['outcome']} without a reason")


def tally(words: Iterable[str]) -> dict[str, int]:
    """How often each word comes, in the words' order."""
    return dict(sorted(Counter(words).items()))


def only_end(name: str, ends: Sequence[UnitEnd]) -> tuple[Unit, int]:
    """The unit that was read to its end once, and how many records it has."""
    if len(ends) != 1:
        raise InvariantError(
            f"{name}: the unit was read to its end {len(ends)} times in one attempt; it was not "
            "committed. Run the same command again; if that fails too, report it"
        )
    return ends[0].unit, ends[0].records
