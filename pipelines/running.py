"""How a planned run is carried out: claim the folder, work through the units, sum up."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import apache_beam as beam

from pipelines.cli import EXIT_FAILED, EXIT_INTERRUPTED
from pipelines.elsewhere import check_filter_files
from pipelines.feeding import Feeding
from pipelines.job import Job, Units, committed_units
from pipelines.launch.profiles import RUNNER
from pipelines.options import LOCAL_RUNNER
from pipelines.plan import Plan
from pipelines.schedule import Turn
from pipelines.summary import how_to_look, outcome_table, plan_text, troubles
from transforms.commit import Commit
from transforms.configuration import claim
from transforms.ledger import Ledger
from transforms.plan_file import PlanFile
from transforms.storage import remove_temporary
from transforms.unit import Unit

if TYPE_CHECKING:
    from pipelines.launch.launch import Launch

# Adds to a pipeline what is done to some units, telling its progress to the meter of that name.
Build = Callable[[beam.Pipeline, Units, str | None], Any]


def nothing_more(job: Job) -> None:
    """What comes after the units where nothing does."""


@dataclass(frozen=True)
class Run:
    """A command under way. options: its own, of which the groups of `pipelines.options` are used.

    beam_options: for a runner elsewhere. launch: the job on Dataflow, where it is one.
    """

    command: str
    options: argparse.Namespace
    beam_options: Sequence[str] = ()
    launch: Launch | None = None

    @classmethod
    def of(
        cls, command: str, options: argparse.Namespace, words: Sequence[str], annotates: bool
    ) -> Run:
        """The run of a command line, with what its profile fills in. words: for Beam.

        Raises UserError for what can't run on Dataflow.
        """
        if options.runner != RUNNER:
            if options.runner != LOCAL_RUNNER:
                check_filter_files(options)
            return cls(command, options, words)
        from pipelines.launch.checks import check
        from pipelines.launch.launch import prepared

        launch = prepared(command, options, words, annotates)
        check(launch)
        return cls(command, launch.options, launch.beam.words, launch)

    def carry_out(self, plan: Plan, then: Callable[[Job], None] = nothing_more) -> int:
        """Do what is planned, `then` what comes after it, and say how it went.

        Returns the exit code. Raises UserError, WorkError, or LockHeldError where another run has
        the output folder.
        """
        if self.launch is not None:
            from pipelines.launch.fitting import check_fits

            check_fits(plan.job, self.launch)
        print(plan_text(plan), flush=True)
        if self.options.dry_run:
            return 0
        with Turn(self.command, self.options) as turn:
            current = turn.planned(plan)
            if current is not plan:
                print(f"another run has been here; now\n{plan_text(current)}", flush=True)
            if self._is_template:
                return self._leave_graph(current)
            return self._in_turn(current, turn, then)

    def _leave_graph(self, plan: Plan) -> int:
        """Of a template: its job begins when this turn is over, and so has no part in it."""
        claim(plan.job.ledger.output, plan.job.ledger.configuration)
        make_ready(plan, plan.job.ledger)
        self.go_through(plan.pending, committing(plan.job))
        return 0

    def _in_turn(self, plan: Plan, turn: Turn, then: Callable[[Job], None]) -> int:
        claim(plan.job.ledger.output, plan.job.ledger.configuration)
        job = turn.begin(plan)
        ledger = job.ledger
        make_ready(plan, ledger)
        try:
            feeding = self._work(replace(plan, job=job))
            then(job)
        except KeyboardInterrupt:
            print(
                "\nStopped. What was committed stays; the same command goes on from there.",
                file=sys.stderr,
            )
            return EXIT_INTERRUPTED
        commits = self._commits(plan, ledger, untouched=then is nothing_more)
        failures = ledger.failures(plan.units)
        trouble = troubles(commits, failures)
        parts = [outcome_table(commits), how_to_look(plan.job)]
        if feeding is not None:
            parts.insert(1, feeding.text())
        print("\n" + "\n\n".join(parts))
        for line in trouble:
            print(f"palipipe {self.command}: {line}", file=sys.stderr)
        return turn.end(commits, failures, EXIT_FAILED if trouble else 0, feeding)

    @staticmethod
    def _commits(plan: Plan, ledger: Ledger, untouched: bool) -> list[Commit]:
        """Of all units, as they are now. untouched: those of earlier runs are as planned.

        There may be thousands of these in a bucket, which are not read again then.
        """
        if untouched:
            return [*plan.committed, *ledger.committed(plan.pending).values()]
        return list(ledger.committed(plan.units).values())

    def _work(self, plan: Plan) -> Feeding | None:
        if not plan.pending:
            return None
        job = plan.job
        if job.annotator is not None and self._is_local:
            from transforms.inference import annotator

            began = time.monotonic()
            self._tell("loading the model and compiling its programs …")
            # Loaded here and not by the first step, so that what is wrong with it is said as it is.
            annotator(job.annotator)
            self._tell(f"loaded in {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        totals = self.go_through(plan.pending, committing(job))
        return Feeding.of(totals, time.monotonic() - began if self._is_local else None)

    def _tell(self, line: str) -> None:
        if self.options.progress != "none":
            print(line, file=sys.stderr, flush=True)

    def go_through(self, units: Sequence[Unit], build: Build, stage: str = "") -> Counter[str]:
        """Run a pipeline over units: in this process in waves, or as one job of another runner.

        stage: what the job's name ends in, where a command has several.
        Returns the totals of the steps' counters.
        """
        if not units:
            return Counter()
        if not self._is_local:
            return self._submit(units, build, stage)

        from pipelines.local import run_in_waves
        from pipelines.reporter import Reporter

        return run_in_waves(units, build, Reporter(self.options.progress))

    def _submit(self, units: Sequence[Unit], build: Build, stage: str) -> Counter[str]:
        from pipelines.remote import is_template, of_stage, run_on

        plan = PlanFile.write(self.options.output, units)
        words = of_stage(self.beam_options, stage)
        totals = run_on(self.options.runner, words, lambda pipeline: build(pipeline, plan, None))
        if not is_template(words):
            plan.delete()
        return totals

    @property
    def _is_template(self) -> bool:
        if self._is_local:
            return False
        from pipelines.remote import is_template

        return is_template(self.beam_options)

    @property
    def _is_local(self) -> bool:
        return self.options.runner == LOCAL_RUNNER


def make_ready(plan: Plan, ledger: Ledger) -> None:
    """Clear away what killed runs left, and what this one takes back."""
    remove_temporary(ledger.output)
    ledger.remove_superseded()
    ledger.clear_failures(plan.units)
    for name in plan.outdated:
        ledger.take_back(name)


def committing(job: Job) -> Build:
    """What is done to a job's units."""
    return lambda pipeline, units, meter: committed_units(
        pipeline, units, replace(job, meter=meter)
    )
