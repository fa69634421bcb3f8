"""What a run is going to do to its units, worked out and checked before anything is done."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from filters.config import ScreeningConfig, load_filters
from pipelines.job import Job
from transforms.commit import Commit
from transforms.configuration import check_claim
from transforms.errors import UserError
from transforms.history import History, RunRecord
from transforms.planning import plan
from transforms.readers import ReaderOptions
from transforms.screens import screening_of
from transforms.unit import Unit


@dataclass(frozen=True)
class Plan:
    """Units by what will be done with them.

    about: lines that say what does it. pending: to be worked on. committed: done by an earlier
    run, and staying. outdated: names of commits to be taken back before anything is done: their
    input is another one now and is cut otherwise, or it is gone. changed: names of pending
    units of shards that were committed as they were then. empty: inputs that stand for no file.
    latest: the last run before the plan was made. remake: makes it anew where there is a later one.
    """

    job: Job
    about: tuple[str, ...]
    pending: tuple[Unit, ...]
    committed: tuple[Commit, ...]
    outdated: tuple[str, ...] = ()
    changed: frozenset[str] = frozenset()
    empty: tuple[str, ...] = ()
    latest: RunRecord | None = None
    remake: Callable[[], Plan] | None = None

    @property
    def units(self) -> list[Unit]:
        """Every unit of the run's inputs."""
        return [*self.pending, *(commit.unit for commit in self.committed)]


@dataclass(frozen=True)
class Foreseen:
    """A job before anything is read that lies elsewhere. about: lines that say what does it."""

    job: Job
    about: tuple[str, ...]


def plan_of(job: Job, about: Sequence[str], options: argparse.Namespace) -> Plan:
    """The plan of a job for the inputs that the options name.

    Raises:
        UserError: an input is wrong, or the output folder another run's; nothing was written.
    """
    check_claim(options.output, job.ledger.configuration)
    latest = History(options.output).latest()
    earlier = job.ledger.committed()
    # Loose files stay in the groups they were committed in, so that new ones join in new groups.
    groups = [commit.unit.files for commit in earlier.values() if commit.unit.files]
    empty: list[str] | None = [] if options.alert_no_input else None
    units = plan(options.input, options.format, job.reader, groups, empty)
    planned = _against_commits(job, about, units, earlier, options.on_changed)
    gone = set() if options.on_gone == "keep" else _gone(job, units, earlier)
    return replace(
        planned,
        outdated=tuple(sorted({*planned.outdated, *gone})),
        empty=tuple(empty or ()),
        latest=latest,
        remake=lambda: plan_of(job, about, options),
    )


def screening(options: argparse.Namespace) -> ScreeningConfig:
    """The filters asked for."""
    config = load_filters(options.filters).failing_open(options.fail_open)
    if vars(options).get("screened_before"):
        config = config.of_output()
    return config.limited(
        min_side=options.min_side,
        max_aspect=options.max_aspect,
        max_pixels=options.max_pixels,
        max_bytes=options.max_bytes,
    )


def checked(config: ScreeningConfig) -> ScreeningConfig:
    """The same, each filter made once so that a mistake is found now."""
    screening_of(config)
    return config


def reader_options(options: argparse.Namespace) -> ReaderOptions:
    """How the input is read."""
    fields: dict[str, Any] = {
        "image_field": options.image_field,
        "text_field": options.text_field,
        "language_field": options.language_field,
        "key_field": options.key_field,
        "max_record_bytes": options.max_bytes,
    }
    if options.records_per_unit:
        for name in ("lines_per_unit", "files_per_unit", "rows_per_unit"):
            fields[name] = options.records_per_unit
    return ReaderOptions(**fields)


def _gone(job: Job, units: Sequence[Unit], earlier: Mapping[str, Commit]) -> set[str]:
    """Names of the commits whose shards are not among the inputs any more."""
    names = {job.ledger.name(unit) for unit in units}
    shards = {unit.uri for unit in units if not unit.files}
    return {n for n, c in earlier.items() if n not in names and c.unit.uri not in shards}


def _against_commits(
    job: Job,
    about: Sequence[str],
    units: Sequence[Unit],
    earlier: Mapping[str, Commit],
    on_changed: str,
) -> Plan:
    by_name = {job.ledger.name(unit): unit for unit in units}
    shards = {unit.uri for unit in units if not unit.files}
    changed = {
        name
        for name, unit in by_name.items()
        if name in earlier and earlier[name].unit.version != unit.version
    }
    outdated = {
        name
        for name, commit in earlier.items()
        if commit.unit.uri in shards and name not in by_name
    }
    if (changed or outdated) and on_changed == "refuse":
        uris = sorted({earlier[name].unit.uri for name in changed | outdated})
        raise UserError(
            f"{uris[0]}{f' and {len(uris) - 1} more' if len(uris) > 1 else ''}: changed since it "
            f"was committed to {job.ledger.output}. Say --on-changed redo to do it anew in "
            "place of the old rows, or --on-changed keep to leave those"
        )
    redo = on_changed == "redo"
    cut_otherwise = {earlier[name].unit.uri for name in outdated}
    pending = [
        unit
        for name, unit in by_name.items()
        if (name not in earlier and (redo or unit.uri not in cut_otherwise))
        or (redo and name in changed)
    ]
    names = {job.ledger.name(unit) for unit in pending}
    staying = (by_name.keys() & earlier.keys()) - names
    return Plan(
        job=job,
        about=tuple(about),
        pending=tuple(pending),
        committed=tuple(earlier[name] for name in sorted(staying)),
        outdated=tuple(sorted(outdated)) if redo else (),
        changed=frozenset(n for n in names if n in changed or by_name[n].uri in cut_otherwise),
    )
