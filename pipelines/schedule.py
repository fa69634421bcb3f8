"""A run's turn at its output folder: alone there, with a record that stays, and with alerts."""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from types import TracebackType

from pipelines.cli import EXIT_ALERT, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_MISTAKE, VERSION
from pipelines.feeding import Feeding
from pipelines.job import Job
from pipelines.plan import Plan
from pipelines.schedule_alerts import Bounds, alerts, line
from transforms.answers import index_answers
from transforms.commit import Commit, UnitFailure
from transforms.errors import UserError, WorkError
from transforms.history import ENDED, RUNNING, STOPPED, History, RunRecord, Units, now
from transforms.lease import Lease
from transforms.ledger import Ledger
from transforms.lock import Holder, Lock
from transforms.processes import this_process

# A command that pages somebody has so long, in seconds.
_ALERT_SECONDS = 60
# Runs without anything new say nothing of rates; so many records are read for each that does.
_RECORDS_A_RUN = 10


class Turn:
    """The context in which a run has its output folder.

    Raises, when it is entered, LockHeldError where another run keeps the folder.
    """

    def __init__(self, command: str, options: argparse.Namespace):
        self._command = command
        self._options = options
        self._history = History(options.output)
        self._lock = Lock(options.output, command, options.lock_lease)
        self._record: RunRecord | None = None
        self._ledger: Ledger | None = None

    def __enter__(self) -> Turn:
        claim = self._lock.acquire(self._options.wait_for_lock, self._say_that_it_waits)
        try:
            run = self._history.next_name(claim)
        except BaseException:
            self._lock.release()
            raise
        self._lease = Lease(self._options.output, claim, run)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._record is not None and self._record.state == RUNNING:
                # What stopped the run is told; a record that can't be written is finished later.
                with contextlib.suppress(WorkError):
                    self._finish(STOPPED, _code(error))
        finally:
            self._lock.release()

    def planned(self, plan: Plan) -> Plan:
        """The plan, made anew where another run has had the folder since it was made."""
        latest = self._history.latest()
        is_late = latest != plan.latest or (latest is not None and latest.state == RUNNING)
        return plan.remake() if is_late and plan.remake else plan

    def begin(self, plan: Plan) -> Job:
        """Open the run's record; gives the plan's job as it is carried out in this turn.

        Raises:
            WorkError: a committed file, whose answers are to be taken over, is missing or changed.
        """
        reuses = vars(self._options).get("reuse_answers", False)
        ledger = replace(plan.job.ledger, lease=self._lease, keeps_former=reuses)
        self._ledger = ledger
        self._finish_killed(ledger)
        names = [ledger.name(unit) for unit in plan.pending]
        changed = sum(name in plan.changed for name in names)
        self._record = RunRecord(
            run=self._lease.run,
            command=self._command,
            state=RUNNING,
            began=now(),
            process=this_process(),
            version=VERSION,
            fingerprint=ledger.configuration.fingerprint,
            units=Units(new=len(names) - changed, changed=changed, before=len(plan.committed)),
            empty=plan.empty,
        )
        self._history.write(self._record)
        return _in_turn(plan.job, ledger, reuses and bool(plan.pending))

    def end(
        self,
        commits: Sequence[Commit],
        failures: Sequence[UnitFailure],
        exit_code: int,
        feeding: Feeding | None = None,
    ) -> int:
        """Close the run's record and raise its alerts. Returns the exit code.

        commits, failures: of the units of all its inputs. feeding: of its model, if it had one.
        """
        assert self._record is not None
        units = replace(self._record.units, failed=len(failures))
        images = sum(commit.rows for commit in commits)
        fed = asdict(feeding) if feeding else None
        record = replace(self._record.counting(commits), units=units, images=images, fed=fed)
        found = tuple(alerts(record, self._comparable(record), bounds(self._options)))
        code = EXIT_ALERT if found and exit_code == 0 else exit_code
        self._record = replace(record, alerts=found, state=ENDED, ended=now(), exit_code=code)
        self._history.write(self._record)
        print(f"\n{_summary(self._record)}")
        for alert in found:
            print(line(alert, self._options.output), file=sys.stderr)
        if found and self._options.alert_command:
            tell(self._options.alert_command, self._record)
        return code

    def _finish(self, state: str, exit_code: int) -> None:
        assert self._record is not None
        assert self._ledger is not None
        counted = self._record.counting(self._ledger.committed().values())
        self._record = replace(counted, state=state, ended=now(), exit_code=exit_code)
        self._history.write(self._record)

    def _finish_killed(self, ledger: Ledger) -> None:
        """Give the runs that died since the last one that ended the records they couldn't."""
        commits: list[Commit] | None = None
        for name in reversed(self._history.names()):
            (record,) = self._history.read([name])
            if record.state != RUNNING:
                return
            commits = list(ledger.committed().values()) if commits is None else commits
            self._history.finish_killed(record, commits)

    def _comparable(self, record: RunRecord) -> list[RunRecord]:
        """Earlier runs of the same command, under the same configuration."""
        wanted = bounds(self._options)
        most = max(wanted.runs, wanted.nothing_new or 0) * _RECORDS_A_RUN
        return [
            earlier
            for earlier in self._history.read(self._history.names()[-most:])
            if (earlier.command, earlier.fingerprint) == (record.command, record.fingerprint)
            and earlier.run != record.run
        ]

    def _say_that_it_waits(self, holder: Holder) -> None:
        print(
            f"palipipe {self._command}: waiting for another run ({holder})",
            file=sys.stderr,
            flush=True,
        )


def bounds(options: argparse.Namespace) -> Bounds:
    """What raises an alert, of a command that has options for it."""
    if "alert_runs" not in options:
        return Bounds()
    return Bounds(
        drop_rate=options.alert_drop_rate,
        failure_rate=options.alert_failure_rate,
        nothing_new=options.alert_nothing_new,
        no_input=options.alert_no_input,
        runs=options.alert_runs,
    )


def tell(command: str, record: RunRecord) -> None:
    """Run the operator's command for alerts; that it fails is said, and changes nothing."""
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            input=json.dumps(asdict(record), ensure_ascii=False),
            text=True,
            timeout=_ALERT_SECONDS,
            check=False,
        )
        problem = f"ended with {done.returncode}" if done.returncode else None
    except subprocess.TimeoutExpired:
        problem = f"took longer than {_ALERT_SECONDS} s"
    if problem:
        print(f"palipipe: --alert-command {problem}", file=sys.stderr)


def _summary(record: RunRecord) -> str:
    units = record.units
    taken = (
        f", {record.taken_over:,} of them with answers of earlier runs" if record.taken_over else ""
    )
    return (
        f"Run {record.run}: {record.rows:,} images{taken}; units: {units.new:,} new, "
        f"{units.changed:,} changed, {units.before:,} done before, {units.failed:,} unread"
    )


def _in_turn(job: Job, ledger: Ledger, reuses: bool) -> Job:
    """The job with the ledger of a turn, and the answers that are there already."""
    job = replace(job, ledger=ledger)
    if job.again is not None:
        job = replace(job, again=replace(job.again, ledger=ledger))
    if reuses:
        known = index_answers(ledger, job.preparation.tasks)
        job = replace(job, preparation=replace(job.preparation, known=known))
    return job


def _code(error: BaseException | None) -> int:
    if isinstance(error, KeyboardInterrupt) or error is None:
        return EXIT_INTERRUPTED
    return EXIT_MISTAKE if isinstance(error, UserError) else EXIT_FAILED
