"""The ledger: one Parquet file and one commit record for each unit of work.

A commit is made in this order, each step atomic: the data file under its own name, then the
commit record that names it. Readers go by commit records, so an attempt killed in between leaves
nothing that anyone reads, and the next attempt writes the same names again.

Rows that are decided anew later (`Ledger.amend`) go the same way into the unit's next generation,
a file of another name: whenever a commit record is read, the file it names is the one it describes.

Where a run asks for it, the rows of a shard that was replaced are kept in ``former/``: nobody reads
them as rows of the corpus, but what the model wrote then need not be written again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from transforms import storage
from transforms.commit import Commit, UnitEnd, UnitFailure, check, only_end, tally
from transforms.configuration import Configuration
from transforms.errors import InvariantError, WorkError
from transforms.lease import Lease
from transforms.row import table
from transforms.unit import Unit

COMMITS = "commits"
DATA = "data"
FAILURES = "failures"
FORMER = "former"
# Before the number of a later generation in the name of its file.
LATER = "-again"


def data_path(name: str, unit: Unit, generation: int = 0) -> str:
    """A unit's file relative to the output folder: each edition and generation has its own."""
    edition = hashlib.sha256(unit.version.encode()).hexdigest()[:8]
    again = f"{LATER}{generation}" if generation else ""
    return storage.join(DATA, f"{name}-{edition}{again}.parquet")


def edition(data: str) -> str:
    """The edition of a unit that a Parquet file, of whatever generation, has the rows of."""
    return posixpath.basename(data).removesuffix(".parquet").partition(LATER)[0]


def read_table(path: str, sha256: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows of a Parquet file, or some columns of them.

    Raises:
        WorkError: the file is missing, or its digest another one.
    """
    if not storage.exists(path):
        raise WorkError(f"{path}: missing")
    with storage.open_binary(path) as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise WorkError(f"{path}: not the file that was committed (its SHA-256 differs)")
    # In this thread: a pool's threads would outlive a short command, and read no faster.
    with pq.ParquetFile(pa.BufferReader(data)) as parquet:
        names = None if columns is None else list(columns)
        return parquet.read(columns=names, use_threads=False)


@dataclass(frozen=True)
class Ledger:
    """The commits of one output folder under one configuration.

    lease: the hold on the folder of the run that writes; None for who only reads.
    keeps_former: whether the rows of a replaced shard are kept.
    """

    output: str
    configuration: Configuration
    lease: Lease | None = None
    keeps_former: bool = False

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
        unit, records = only_end(name, ends)
        return self._write(name, unit, records, rows)

    def amend(
        self, name: str, changed: Sequence[dict[str, Any]], redone: Iterable[str] = ()
    ) -> Commit:
        """Commit a unit again, some of its rows, known by their ids, being others now.

        redone: ids of the rows that were read anew.

        Raises:
            InvariantError: a row isn't the unit's, or together they don't account for it.
            WorkError: the files can't be read or written.
        """
        earlier = self.commit_of(name)
        by_id = {row["id"]: row for row in changed}
        rows = [by_id.pop(row["id"], row) for row in self.rows(earlier)]
        if by_id:
            raise InvariantError(
                f"{earlier.unit.uri}: row {next(iter(by_id))} is not one of those committed; "
                "nothing was changed. This is a defect of palipipe: report it"
            )
        return self._write(
            name,
            earlier.unit,
            earlier.rows,
            rows,
            generation=earlier.generation + 1,
            redone=tuple(sorted({*earlier.redone, *redone})),
        )

    def _write(
        self,
        name: str,
        unit: Unit,
        records: int,
        rows: Sequence[dict[str, Any]],
        generation: int = 0,
        redone: tuple[str, ...] = (),
    ) -> Commit:
        check(unit, records, rows)
        ordered = sorted(rows, key=lambda row: row["source"]["index"])
        buffer = io.BytesIO()
        metadata = self.configuration.schema_metadata()
        pq.write_table(table(ordered, metadata), buffer, compression="zstd")
        view = buffer.getbuffer()
        data = data_path(name, unit, generation)
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
            generation=generation,
            redone=redone,
            run=self.lease.run if self.lease else "",
            taken_over=sum(row.get("taken_from") is not None for row in rows),
        )
        path = storage.join(self.output, data)
        with self._guarded():
            storage.write_atomically(path, self.output, lambda file: file.write(view))
            self._publish(name, commit)
        return commit

    def _guarded(self) -> contextlib.AbstractContextManager[None]:
        """Within it nobody else has the folder. Raises TakenOverError where somebody has."""
        return self.lease.guard() if self.lease else contextlib.nullcontext()

    def _publish(self, name: str, commit: Commit) -> None:
        path = self._commit_path(name)
        earlier = self.commit_of(name) if storage.exists(path) else None
        if earlier and edition(earlier.data) != edition(commit.data):
            self._keep_former(earlier)
        storage.write_json(path, self.output, asdict(commit))
        stale = [self._failure_path(name)]
        if earlier and earlier.data != commit.data:
            stale.append(storage.join(self.output, earlier.data))
        storage.delete(stale)

    def _keep_former(self, commit: Commit) -> None:
        """Keep the rows of a commit that is about to be replaced, if that is asked for."""
        path = storage.join(self.output, commit.data)
        if not self.keeps_former or not storage.exists(path):
            return
        with storage.open_binary(path) as file:
            data = file.read()
        stem = posixpath.basename(commit.data).removesuffix(".parquet")
        kept = replace(commit, data=storage.join(FORMER, f"{stem}.parquet"))
        storage.write_atomically(
            storage.join(self.output, kept.data), self.output, lambda file: file.write(data)
        )
        path = storage.join(self.output, FORMER, f"{stem}.json")
        storage.write_json(path, self.output, asdict(kept))

    def former(self) -> dict[str, Commit]:
        """Commits that were replaced and kept, by the names of their records."""
        names = [file.removesuffix(".json") for file in self._files(FORMER)]
        paths = (storage.join(self.output, FORMER, f"{name}.json") for name in names)
        found = storage.read_each_json(paths)
        return {name: Commit.from_json(v) for name, v in zip(names, found, strict=True)}

    def remove_superseded(self) -> None:
        """Remove earlier generations that a killed attempt left behind their successors.

        Nobody who goes by commit records reads them; who reads `data/*.parquet` would.
        """
        present = storage.list_files(storage.join(self.output, DATA), ".parquet")
        if not any(LATER in file for file in present):
            return
        for name, commit in self.committed().items():
            earlier = (data_path(name, commit.unit, n) for n in range(commit.generation))
            storage.delete([storage.join(self.output, path) for path in earlier])

    def rows(self, commit: Commit) -> list[dict[str, Any]]:
        """A unit's rows as they were committed. Raises WorkError as `table` does."""
        return self.table(commit).to_pylist()

    def table(self, commit: Commit, columns: Sequence[str] | None = None) -> pa.Table:
        """A unit's rows, or some columns of them.

        Raises:
            WorkError: the file is missing or not the one that was committed.
        """
        return read_table(storage.join(self.output, commit.data), commit.sha256, columns)

    def commit_of(self, name: str) -> Commit:
        """The commit of the unit of that name, which has one."""
        return Commit.from_json(storage.read_json(self._commit_path(name)))

    def take_back(self, name: str) -> None:
        """Remove a commit and then its rows: nobody reads rows that no commit names."""
        path = self._commit_path(name)
        if not storage.exists(path):
            return
        with self._guarded():
            commit = self.commit_of(name)
            self._keep_former(commit)
            storage.delete([path])
            storage.delete([storage.join(self.output, commit.data)])

    def record_failure(self, failure: UnitFailure) -> None:
        """Note why a unit could not be gone on with, for the summary at the end of the run."""
        path = self._failure_path(self.name(failure.unit))
        with self._guarded():
            storage.write_json(path, self.output, asdict(failure))

    def clear_failures(self, units: Iterable[Unit]) -> None:
        """Remove the notes on units that are about to be tried again."""
        noted = set(self._files(FAILURES))
        names = (self.name(unit) for unit in units)
        storage.delete([self._failure_path(name) for name in names if f"{name}.json" in noted])

    def committed(self, units: Iterable[Unit] | None = None) -> dict[str, Commit]:
        """Unit name to commit, of every unit or of those given."""
        names = [file.removesuffix(".json") for file in self._files(COMMITS)]
        if units is not None:
            names = sorted(set(names) & {self.name(unit) for unit in units})
        commits = storage.read_each_json(self._commit_path(name) for name in names)
        return {name: Commit.from_json(v) for name, v in zip(names, commits, strict=True)}

    def failures(self, units: Iterable[Unit]) -> list[UnitFailure]:
        """Why the given units were not committed, where that is known."""
        wanted = {self.name(unit) for unit in units}
        names = [file.removesuffix(".json") for file in self._files(FAILURES)]
        notes = storage.read_each_json(self._failure_path(name) for name in names if name in wanted)
        return [UnitFailure(**{**note, "unit": Unit.from_json(note["unit"])}) for note in notes]

    def _files(self, folder: str) -> list[str]:
        return sorted(storage.list_files(storage.join(self.output, folder), ".json"))
