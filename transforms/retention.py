"""What an output folder may do without: never what its ledger has, or refers to."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Mapping
from dataclasses import dataclass

from transforms import storage
from transforms.history import RUNNING, RUNS, History
from transforms.lease import Lease
from transforms.ledger import DATA, FORMER, Ledger, edition
from transforms.plan_file import PLANS

# Deleted at a time, so that a command stopped in between has done some of it.
_TOGETHER = 100


@dataclass(frozen=True)
class Removable:
    """Files that may go. kinds: for people, to path to size in bytes. referred: how many files of
    replaced shards stay because a row of the ledger has its answers from there."""

    kinds: Mapping[str, Mapping[str, int]]
    referred: int

    def remove(self, lease: Lease) -> None:
        """Remove them all, a record before the file that it names.

        Raises:
            TakenOverError: a run has the folder now; the rest stays.
        """
        for files in self.kinds.values():
            ordered = sorted(files, key=lambda path: (not path.endswith(".json"), path))
            for start in range(0, len(ordered), _TOGETHER):
                with lease.guard():
                    storage.delete(ordered[start : start + _TOGETHER])


@dataclass(frozen=True)
class Retention:
    """How long things are kept. former, temporary: in seconds. runs: the last so many."""

    former: float
    runs: int
    temporary: float

    def removable(self, ledger: Ledger) -> Removable:
        """What of a folder may go now. What a run writes at the same time isn't among it, unless it
        takes longer than `temporary` over one file.

        Raises WorkError where a committed file is missing or was changed.
        """
        former, referred = self._former(ledger)
        kinds = {
            "rows of replaced shards": former,
            "records of runs": self._runs(ledger),
            "rows that were never committed": self._uncommitted(ledger),
            "files left half written": self._left(ledger, storage.TEMPORARY),
            "lists of units, of jobs that failed": self._left(ledger, PLANS),
        }
        return Removable(kinds, referred)

    def _former(self, ledger: Ledger) -> tuple[dict[str, int], int]:
        old = _old(ledger.output, FORMER, self.former)
        editions = _referred(ledger) if old else set()
        gone = {
            n: size for n, size in old.items() if edition(n.removesuffix(".json")) not in editions
        }
        files = {storage.join(ledger.output, FORMER, name): size for name, size in gone.items()}
        return files, len(old) - len(gone)

    def _runs(self, ledger: Ledger) -> dict[str, int]:
        """Records but the last ones; runs are numbered on from the last, so one always stays."""
        history = History(ledger.output)
        names = history.names()[: -self.runs]
        running = {r.run for r in history.read(names) if r.state == RUNNING}
        sizes = storage.list_files(storage.join(ledger.output, RUNS), ".json")
        return {
            storage.join(ledger.output, RUNS, name): sizes[name]
            for name in names
            if name.removesuffix(".json") not in running
        }

    def _uncommitted(self, ledger: Ledger) -> dict[str, int]:
        """Files under `data` that no commit record names, left by runs that were killed."""
        old = _old(ledger.output, DATA, self.temporary)
        named = {posixpath.basename(commit.data) for commit in ledger.committed().values()}
        return {
            storage.join(ledger.output, DATA, name): size
            for name, size in old.items()
            if name not in named
        }

    def _left(self, ledger: Ledger, folder: str) -> dict[str, int]:
        """Files that whoever wrote them would have removed, had it come to its end."""
        old = _old(ledger.output, folder, self.temporary)
        return {storage.join(ledger.output, folder, name): size for name, size in old.items()}


def _old(output: str, folder: str, seconds: float) -> dict[str, int]:
    """Name to size of the files in a folder that were written longer ago."""
    path = storage.join(output, folder)
    times = storage.list_times(path)
    before = time.time() - seconds
    sizes = storage.list_files(path, "")
    return {name: size for name, size in sizes.items() if (at := times.get(name)) and at < before}


def _referred(ledger: Ledger) -> set[str]:
    """Editions of units that rows of the ledger have their answers from."""
    found: set[str] = set()
    for commit in ledger.committed().values():
        if commit.taken_over:
            taken = ledger.table(commit, ["taken_from"])["taken_from"].to_pylist()
            found.update(one["edition"] for one in taken if one)
    return found
