"""The kept images of a ledger as shards: one for each unit that has any.

What is exported is a function of the committed rows. So it is a pass of its own after them, a unit
whose rows have changed since is exported again, and a killed pass goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import apache_beam as beam

from transforms import storage
from transforms.again import changed, is_of
from transforms.commit import Commit, UnitFailure
from transforms.errors import UnitError
from transforms.ledger import Ledger
from transforms.progress import advance
from transforms.readers import ReaderOptions, read
from transforms.row import Outcome
from transforms.shards import WRITERS
from transforms.unit import Unit

EXPORTS = "exports"


@dataclass(frozen=True)
class Export:
    """Says that the kept records of a commit are exported.

    rows: SHA-256 of the commit's data file. file: path of the shard; None where none was kept.
    """

    rows: str
    folder: str
    format: str
    file: str | None
    records: int


@dataclass(frozen=True)
class Exporter:
    """Writes a ledger's kept records to a folder. format: of `transforms.shards.WRITERS`."""

    ledger: Ledger
    reader: ReaderOptions
    folder: str
    format: str

    def pending(self) -> list[Unit]:
        """Units whose rows are not exported, or not as they are now."""
        commits = self.ledger.committed()
        exports = exports_of(self.ledger.output)
        present = storage.list_files(self.folder, f".{WRITERS[self.format][0]}")
        return [
            commit.unit
            for name, commit in commits.items()
            if not self._is_current(commit, exports.get(name), present)
        ]

    def _is_current(
        self, commit: Commit, export: Export | None, present: Mapping[str, int]
    ) -> bool:
        if export is None or export.rows != commit.sha256:
            return False
        if (export.folder, export.format) != (self.folder, self.format):
            return False
        return export.file is None or self._shard_name(commit.unit) in present

    def remove_orphans(self) -> None:
        """Remove the shards of units that are not in the ledger any more."""
        committed = self.ledger.committed()
        for name, export in exports_of(self.ledger.output).items():
            if name not in committed:
                storage.delete([export.file] if export.file else [])
                storage.delete([self._record_path(name)])

    def export(self, unit: Unit) -> Export:
        """Write the shard of a unit, whole or not at all, and then the record that says so.

        Raises:
            UnitError: the unit can't be read, or holds other records than were committed.
        """
        name = self.ledger.name(unit)
        commit = self.ledger.commit_of(name)
        rows = [row for row in self.ledger.rows(commit) if row["outcome"] == Outcome.KEPT]
        path = storage.join(self.folder, self._shard_name(unit))
        if rows:
            write = WRITERS[self.format][1]
            storage.write_atomically(
                path, self.folder, lambda file: write(file, rows, self._pictures(unit, rows))
            )
        else:
            storage.delete([path])
        export = Export(commit.sha256, self.folder, self.format, path if rows else None, len(rows))
        storage.write_json(self._record_path(name), self.ledger.output, asdict(export))
        return export

    def _pictures(
        self, unit: Unit, rows: list[dict[str, Any]]
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The rows, in their order, each with its picture as the input has it."""
        waiting = {row["id"]: row for row in rows}
        for record in read(unit, self.reader):
            row = waiting.pop(record.id, None)
            if row is None:
                continue
            if record.encoded is None or not is_of(row, record):
                raise changed(unit, self.ledger)
            yield row, record.encoded
        if waiting:
            raise changed(unit, self.ledger)

    def _shard_name(self, unit: Unit) -> str:
        return f"{self.ledger.name(unit)}.{WRITERS[self.format][0]}"

    def _record_path(self, name: str) -> str:
        return storage.join(self.ledger.output, EXPORTS, f"{name}.json")


def exports_of(output: str) -> dict[str, Export]:
    """What was exported of a ledger's output folder, by the units' names."""
    folder = storage.join(output, EXPORTS)
    files = storage.list_files(folder, ".json")
    read = storage.read_each_json(storage.join(folder, file) for file in files)
    return {
        file.removesuffix(".json"): Export(**values)
        for file, values in zip(files, read, strict=True)
    }


class ExportUnit(beam.DoFn):
    """Exports one unit, and gives the name of its shard; a unit that can't be read is noted."""

    def __init__(self, exporter: Exporter, meter: str | None = None):
        self._exporter = exporter
        self._meter = meter

    def process(self, unit: Unit) -> Iterator[str]:
        try:
            export = self._exporter.export(unit)
        except UnitError as error:
            self._exporter.ledger.record_failure(UnitFailure.of(unit, error))
            return
        advance(self._meter, export.records, unit.size)
        if export.file is not None:
            yield export.file
