"""Records of committed units that are done anew: those that no verdict was found for, or no bytes.

A unit is read again as a whole, and only what was chosen goes on from there. What comes of it takes
the place of the rows that were there, in the unit's next generation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from filters.contract import Verdict
from transforms.commit import Commit, UnitEnd, only_end
from transforms.errors import InvariantError, UnitError
from transforms.ledger import Ledger
from transforms.record import Record
from transforms.row import Outcome
from transforms.unit import Unit

UNFINISHED = (Outcome.QUARANTINED, Outcome.FAILED)

# Reasons that rescreening gives: there is nothing wrong with the record.
RESCREEN = "rescreen:"
# Of what readers say of one image, that which may have been its store's fault.
PASSING_KINDS = ("missing_file", "unreadable_file")


@dataclass(frozen=True)
class Selection:
    """Which rows are taken up; all of them are quarantined or failed.

    everything: each of those. reasons: those whose reason matches one of these patterns, as in a
    shell. Where neither is given, those whose trouble may have passed (see `may_have_passed`).
    """

    everything: bool = False
    reasons: tuple[str, ...] = ()

    def takes(self, row: Mapping[str, Any]) -> bool:
        """Whether a row (its outcome, reason, decisions and error are looked at) is taken up."""
        if row["outcome"] not in UNFINISHED:
            return False
        if self.reasons:
            return any(fnmatchcase(row["reason"], pattern) for pattern in self.reasons)
        return self.everything or may_have_passed(row)


def may_have_passed(row: Mapping[str, Any]) -> bool:
    """Whether a later attempt may end otherwise, the record and the filters being the same.

    So it is where a filter's scorer or backend failed, where a file could not be fetched, where
    the engine (and not the picture) failed, and where new thresholds asked for it.
    """
    if row["outcome"] == Outcome.QUARANTINED:
        failed = row["decisions"] and row["decisions"][-1]["verdict"] == Verdict.ERROR
        return bool(failed) or row["reason"].startswith(RESCREEN)
    error = row["error"]
    if error["stage"] == "annotate":
        # A row's own troubles have words in lower case, the engine's the name of an exception.
        return not error["kind"].islower()
    return error["stage"] == "read" and error["kind"] in PASSING_KINDS


@dataclass(frozen=True)
class Again:
    """The chosen records of a ledger's units, and the way back into it."""

    ledger: Ledger
    selection: Selection

    def count(self, commit: Commit) -> int:
        """How many rows of a unit are taken up."""
        if not any(commit.has(outcome) for outcome in UNFINISHED):
            return 0
        table = self.ledger.table(commit, ["outcome", "reason", "decisions", "error"])
        return sum(map(self.selection.takes, table.to_pylist()))

    def records(self, unit: Unit, records: Iterable[Record]) -> Iterator[Record]:
        """The chosen ones of a unit's records, all of which are looked at.

        Raises:
            UnitError: the records are not those that were committed.
        """
        rows = {row["id"]: row for row in self._rows(unit)}
        for record in records:
            row = rows.pop(record.id, None)
            if row is None or not is_of(row, record):
                raise changed(unit, self.ledger)
            if self.selection.takes(row):
                yield record
        if rows:
            raise changed(unit, self.ledger)

    def _rows(self, unit: Unit) -> list[dict[str, Any]]:
        return self.ledger.rows(self.ledger.commit_of(self.ledger.name(unit)))

    def commit(self, name: str, ends: Sequence[UnitEnd], rows: Sequence[dict[str, Any]]) -> Commit:
        """Put the rows in the place of the earlier ones of their records.

        Raises:
            InvariantError: the rows don't account for the records that were done anew.
        """
        unit, records = only_end(name, ends)
        ids = {row["id"] for row in rows}
        if not len(rows) == len(ids) == records:
            raise InvariantError(
                f"{unit.uri}: {records} records were done anew, but there are {len(rows)} rows of "
                f"{len(ids)}; nothing was changed. This is a defect of palipipe: report it"
            )
        return self.ledger.amend(name, rows, ids) if rows else self.ledger.commit_of(name)


def is_of(row: Mapping[str, Any], record: Record) -> bool:
    """Whether a row, known by its id, is of this very record: its place, and its picture's bytes.

    A picture that couldn't be fetched, then or now, is not held against it.
    """
    known = (row["image"] or {}).get("sha256")
    if row["source"]["index"] != record.source.index:
        return False
    if known is None or record.encoded is None:
        return True
    return hashlib.sha256(record.encoded).hexdigest() == known


def changed(unit: Unit, ledger: Ledger) -> UnitError:
    """That a unit holds other records than those that were committed."""
    return UnitError(
        unit.uri,
        f"holds other records than when it was committed to {ledger.output}",
        "Run the command that committed it with --on-changed redo",
    )
