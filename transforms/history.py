"""The runs over an output folder: one record each, kept with the output.

A record is written when a run has the folder, and again when it ends. One that was killed leaves a
record that says "running"; the next run has the folder then, so it knows better, and finishes it
from the commits that bear the run's name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from transforms import storage
from transforms.commit import Commit
from transforms.processes import ProcessIdentity

RUNS = "runs"

RUNNING = "running"
ENDED = "ended"
STOPPED = "stopped"
KILLED = "killed"

_NAME = re.compile(r"([0-9]{6,})-[0-9a-f]{8}\.json")


@dataclass(frozen=True)
class Units:
    """Units of a run's inputs. new, changed: done in it. before: done by earlier runs.

    failed: those that could not be read, of which the next run tries all again.
    """

    new: int = 0
    changed: int = 0
    before: int = 0
    failed: int = 0


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run.

    run: its name, numbered in the order in which runs had the folder. state: running, ended,
    stopped (Ctrl-C or an error), or killed. began, ended: ISO 8601.
    rows, outcomes, reasons: of the units it committed. taken_over: those of its rows whose answers
    are an earlier run's. images: rows of all its inputs' units, those of earlier runs included.
    fed: how well its model was fed, see `pipelines.feeding.Feeding`; None where it asked none.
    empty: inputs that stood for no file. alerts: as `pipelines.schedule_alerts` words them.
    """

    run: str
    command: str
    state: str
    began: str
    process: ProcessIdentity
    version: str
    fingerprint: str
    ended: str | None = None
    exit_code: int | None = None
    units: Units = Units()
    rows: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    taken_over: int = 0
    images: int = 0
    fed: Mapping[str, float] | None = None
    empty: tuple[str, ...] = ()
    alerts: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunRecord:
        return cls(
            **{
                **values,
                "process": ProcessIdentity(**values["process"]),
                "units": Units(**values["units"]),
                "empty": tuple(values["empty"]),
                "alerts": tuple(values["alerts"]),
            }
        )

    def share(self, outcomes: Iterable[str]) -> tuple[int, int]:
        """How many of its rows have one of these outcomes, and how many rows it has."""
        return sum(self.outcomes.get(outcome, 0) for outcome in outcomes), self.rows

    def counting(self, commits: Iterable[Commit]) -> RunRecord:
        """The record with the rows of the commits that bear the run's name."""
        mine = [commit for commit in commits if commit.run == self.run]
        outcomes: Counter[str] = Counter()
        reasons: dict[str, Counter[str]] = {}
        for commit in mine:
            outcomes.update(commit.outcomes)
            for outcome, counts in commit.reasons.items():
                reasons.setdefault(outcome, Counter()).update(counts)
        return replace(
            self,
            rows=sum(commit.rows for commit in mine),
            outcomes=dict(sorted(outcomes.items())),
            reasons={outcome: dict(sorted(c.items())) for outcome, c in sorted(reasons.items())},
            taken_over=sum(commit.taken_over for commit in mine),
        )


@dataclass(frozen=True)
class History:
    """The records of an output folder's runs."""

    output: str

    def names(self) -> list[str]:
        """File names of the records, the latest run's last."""
        files = storage.list_files(storage.join(self.output, RUNS), ".json")
        numbered = [(int(m[1]), name) for name in files if (m := _NAME.fullmatch(name))]
        return [name for _, name in sorted(numbered)]

    def next_name(self, claim: str) -> str:
        """The name of the run that has the folder by this claim."""
        names = self.names()
        number = int(names[-1].split("-")[0]) + 1 if names else 1
        return f"{number:06}-{claim[:8]}"

    def read(self, names: Sequence[str]) -> list[RunRecord]:
        paths = (storage.join(self.output, RUNS, name) for name in names)
        return [RunRecord.from_json(values) for values in storage.read_each_json(paths)]

    def latest(self) -> RunRecord | None:
        """The record of the run that had the folder last."""
        return next(iter(self.read(self.names()[-1:])), None)

    def write(self, record: RunRecord) -> None:
        path = storage.join(self.output, RUNS, f"{record.run}.json")
        storage.write_json(path, self.output, asdict(record))

    def finish_killed(self, record: RunRecord, commits: Iterable[Commit]) -> RunRecord:
        """Say of a run that died what it committed. Only who has the folder knows that it did."""
        finished = replace(record.counting(commits), state=KILLED)
        self.write(finished)
        return finished


def now() -> str:
    """The time, as records have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
