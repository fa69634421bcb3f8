"""`palipipe screen`: image shards through the filters; one row for every image, and those kept.

Three passes over units, each of them resumable: screen them, mark duplicates, export what was kept.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines import screen_options
from pipelines.cli import exit_code, leave

if TYPE_CHECKING:
    from pipelines.job import Job
    from pipelines.launch.launch import Launch
    from pipelines.launch.preview import Preview
    from pipelines.running import Build, Run
    from transforms.exporting import Exporter

EXPORT = "export"


def main(argv: Sequence[str] | None = None) -> int:
    options, beam_options = screen_options.parse(sys.argv[1:] if argv is None else argv)
    return exit_code("screen", lambda: screen(options, beam_options))


def screen(options: argparse.Namespace, beam_options: Sequence[str] = ()) -> int:
    """Run the command; returns its exit code.

    Raises:
        UserError, WorkError: see `transforms.errors`.
    """
    from pipelines.screen_plan import make_plan, search_of

    run = run_of(options, beam_options)
    options = run.options
    if run.launch is not None:
        from pipelines.launch.credentials import require_credentials
        from pipelines.launch.preview import show

        if options.dry_run:
            show(previews_of(run.launch), options.dry_run)
            return 0
        require_credentials(run.launch)
    plan, search = make_plan(options), search_of(options)

    def then(job: Job) -> None:
        if search is not None:
            search.mark(job.ledger)
        if options.export:
            export(run, exporter_of(job, options))

    return run.carry_out(plan, then)


def run_of(options: argparse.Namespace, beam_options: Sequence[str] = ()) -> Run:
    """The run of a command line. Raises UserError for what can't run on Dataflow."""
    from pipelines.running import Run

    return Run.of("screen", options, beam_options, annotates=False)


def previews_of(launch: Launch) -> list[Preview]:
    """The jobs that would be submitted: one screens, one exports what it kept. Raises UserError."""
    from pipelines.launch.preview import previews
    from pipelines.running import committing
    from pipelines.screen_plan import foresee

    foreseen = foresee(launch.options)
    stages = {"": committing(foreseen.job)}
    if launch.options.export:
        stages[EXPORT] = exporting(exporter_of(foreseen.job, launch.options))
    return previews(launch, foreseen, stages)


def exporter_of(job: Job, options: argparse.Namespace) -> Exporter:
    """Writes what the job's ledger keeps to where the options say."""
    from transforms.exporting import Exporter
    from transforms.storage import join

    folder = options.export_to or join(options.output, screen_options.KEPT)
    return Exporter(job.ledger, job.reader, folder, options.export)


def export(run: Run, exporter: Exporter) -> None:
    """Write the shards that are not there yet, or not of the rows as they are now."""
    from transforms.storage import remove_temporary

    remove_temporary(exporter.folder)
    exporter.remove_orphans()
    run.go_through(exporter.pending(), exporting(exporter), EXPORT)
    print(f"\nKept images: {exporter.folder}")


def exporting(exporter: Exporter) -> Build:
    """What is done to the exporter's units."""
    from pipelines.job import exported_units

    return lambda pipeline, units, meter: exported_units(pipeline, units, exporter, meter)


if __name__ == "__main__":
    leave(main())
