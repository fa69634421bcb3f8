"""The ledger: one Parquet file and one commit record for each unit of work.

A commit is made in this order, each step atomic: the data file under its own name, then the
commit record that names it. Readers go by commit records, so an attempt killed in between leaves
nothing that anyone reads, and the next attempt writes the same names again.
"""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.parquet as pq

from transforms import storage
from transforms.configuration import Configuration
from transforms.errors import InvariantError, UnitError
from transforms.row import SCHEMA_VERSION, Outcome, table
from transforms.unit import Unit

COMMITS = "commits"
DATA = "data"
FAILURES = "failures"


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

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Commit:
        return cls(**{**values, "unit": Unit.from_json(values["unit"])})


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


def _only(name: str, ends: Sequence[UnitEnd]) -> tuple[Unit, int]:
    """The unit that was read to its end once, and how many records it has."""
    if len(ends) != 1:
        raise InvariantError(
            f"{name}: the unit was read to its end {len(ends)} times in one attempt; it was not "
            "committed. Run the same command again; if that fails too, report it"
        )
    return ends[0].unit, ends[0].records


@dataclass(frozen=True)
class Ledger:
    """The commits of one output folder under one configuration."""

    output: str
    configuration: Configuration

    def name(self, unit: Unit) -> str:
        return unit.name(self.configuration.fingerprint)

    def _commit_path(self, name: str) -> str:
        return storage.join(self.output, COMMITS, f"{name}.json")

    def _failure_path(self, name: str) -> str:
        return storage.join(self.output, FAILURES, f"{name}.json")

    def commit(self, name: str, ends: Sequence[UnitEnd], rows: Sequence[dict[str, Any]]) -> Commit:
        """Check and write the rows that came under a unit's name, in the order of its records.

        Raises:
            InvariantError: the rows don't account for the unit; nothing is written.
            WorkError: the files can't be written.
        """
        unit, records = _only(name, ends)
        check(unit, records, rows)
        ordered = sorted(rows, key=lambda row: row["source"]["index"])
        edition = hashlib.sha256(unit.version.encode()).hexdigest()[:8]
        data = storage.join(DATA, f"{name}-{edition}.parquet")
        buffer = io.BytesIO()
        metadata = self.configuration.schema_metadata()
        pq.write_table(table(ordered, metadata), buffer, compression="zstd")
        view = buffer.getbuffer()
        path = storage.join(self.output, data)
        storage.write_atomically(path, self.output, lambda file: file.write(view))
        commit = Commit(
            unit=unit,
            data=data,
            rows=len(rows),
            outcomes=tally(row["outcome"] for row in rows),
            reasons={
                outcome: tally(row["reason"] for row in rows if row["outcome"] == outcome)
                for outcome in sorted({row["outcome"] for row in rows if row["reason"]})
            },
            bytes=len(view),
            sha256=hashlib.sha256(view).hexdigest(),
            fingerprint=self.configuration.fingerprint,
        )
        self._publish(name, commit)
        return commit

    def _publish(self, name: str, commit: Commit) -> None:
        path = self._commit_path(name)
        earlier = Commit.from_json(storage.read_json(path)) if storage.exists(path) else None
        storage.write_json(path, self.output, asdict(commit))
        stale = [self._failure_path(name)]
        if earlier and earlier.data != commit.data:
            stale.append(storage.join(self.output, earlier.data))
        storage.delete(stale)

    def take_back(self, name: str) -> None:
        """Remove a commit and then its rows: nobody reads rows that no commit names."""
        path = self._commit_path(name)
        if storage.exists(path):
            commit = Commit.from_json(storage.read_json(path))
            storage.delete([path])
            storage.delete([storage.join(self.output, commit.data)])

    def record_failure(self, failure: UnitFailure) -> None:
        """Note why a unit was not committed, for the summary at the end of the run."""
        path = self._failure_path(self.name(failure.unit))
        storage.write_json(path, self.output, asdict(failure))

    def committed(self, units: Iterable[Unit] | None = None) -> dict[str, Commit]:
        """Unit name to commit, of every unit or of those given."""
        names = [file.removesuffix(".json") for file in self._files(COMMITS)]
        if units is not None:
            names = sorted(set(names) & {self.name(unit) for unit in units})
        commits = self._read(self._commit_path(name) for name in names)
        return {name: Commit.from_json(v) for name, v in zip(names, commits, strict=True)}

    def failures(self, units: Iterable[Unit]) -> list[UnitFailure]:
        """Why the given units were not committed, where that is known."""
        wanted = {self.name(unit) for unit in units}
        names = [file.removesuffix(".json") for file in self._files(FAILURES)]
        notes = self._read(self._failure_path(name) for name in names if name in wanted)
        return [UnitFailure(**{**note, "unit": Unit.from_json(note["unit"])}) for note in notes]

    def _files(self, folder: str) -> list[str]:
        return sorted(storage.list_files(storage.join(self.output, folder), ".json"))

    @staticmethod
    def _read(paths: Iterable[str]) -> list[Any]:
        # An object store answers each small read in tens of milliseconds, so they are overlapped.
        with ThreadPoolExecutor(16) as pool:
            return list(pool.map(storage.read_json, paths))
