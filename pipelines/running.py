"""How a planned run is carried out: claim the folder, work through the units, sum up."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from pipelines.cli import EXIT_FAILED, EXIT_INTERRUPTED
from pipelines.job import committed_units
from pipelines.plan import Plan
from pipelines.summary import how_to_look, outcome_table, plan_text, troubles
from transforms.configuration import claim
from transforms.storage import remove_temporary
from transforms.unit import Unit

# Adds to a pipeline what is done to some units, telling its progress to the meter of that name.
Build = Callable[[beam.Pipeline, Sequence[Unit], str | None], Any]


def nothing_more() -> None:
    """What comes after the units where nothing does."""


@dataclass(frozen=True)
class Run:
    """A command under way. options: its own, of which the groups of `pipelines.options` are used.

    beam_options: for a runner elsewhere.
    """

    command: str
    options: argparse.Namespace
    beam_options: Sequence[str] = ()

    def carry_out(self, plan: Plan, then: Callable[[], None] = nothing_more) -> int:
        """Do what is planned, `then` what comes after it, and say how it went.

        Returns the exit code. Raises UserError or WorkError.
        """
        print(plan_text(plan), flush=True)
        if self.options.dry_run:
            return 0
        ledger = plan.job.ledger
        claim(ledger.output, ledger.configuration)
        remove_temporary(ledger.output)
        ledger.remove_superseded()
        ledger.clear_failures(plan.units)
        for name in plan.outdated:
            ledger.take_back(name)
        try:
            self._work(plan)
            then()
        except KeyboardInterrupt:
            print(
                "\nStopped. What was committed stays; the same command goes on from there.",
                file=sys.stderr,
            )
            return EXIT_INTERRUPTED
        commits = list(ledger.committed(plan.units).values())
        trouble = troubles(commits, ledger.failures(plan.units))
        print(f"\n{outcome_table(commits)}\n\n{how_to_look(plan.job)}")
        for line in trouble:
            print(f"palipipe {self.command}: {line}", file=sys.stderr)
        return EXIT_FAILED if trouble else 0

    def _work(self, plan: Plan) -> None:
        if not plan.pending:
            return
        job = plan.job
        if job.annotator is not None and self._is_local:
            from transforms.inference import annotator

            if self.options.progress != "none":
                print("loading the model and compiling its programs …", file=sys.stderr, flush=True)
            # Loaded here and not by the first step, so that what is wrong with it is said as it is.
            annotator(job.annotator)
        self.go_through(
            plan.pending,
            lambda pipeline, units, meter: committed_units(
                pipeline, units, replace(job, meter=meter)
            ),
        )

    def go_through(self, units: Sequence[Unit], build: Build) -> None:
        """Run a pipeline over units: in this process in waves, or as one job of another runner."""
        if not units:
            return
        if not self._is_local:
            from pipelines.remote import run_on

            run_on(self.options.runner, self.beam_options, lambda p: build(p, units, None))
            return

        from pipelines.local import run_in_waves
        from pipelines.reporter import Reporter

        run_in_waves(units, build, Reporter(self.options.progress))

    @property
    def _is_local(self) -> bool:
        return self.options.runner == "DirectRunner"
