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
    from pipelines.running import Run
    from transforms.exporting import Exporter


def main(argv: Sequence[str] | None = None) -> int:
    options, beam_options = screen_options.parse(sys.argv[1:] if argv is None else argv)
    return exit_code("screen", lambda: screen(options, beam_options))


def screen(options: argparse.Namespace, beam_options: Sequence[str] = ()) -> int:
    """Run the command; returns its exit code.

    Raises:
        UserError, WorkError: see `transforms.errors`.
    """
    from pipelines.running import Run
    from pipelines.screen_plan import make_plan, search_of

    plan, search = make_plan(options), search_of(options)
    run = Run("screen", options, beam_options)

    def then() -> None:
        if search is not None:
            search.mark(plan.job.ledger)
        if options.export:
            export(run, exporter_of(plan.job, options))

    return run.carry_out(plan, then)


def exporter_of(job: Job, options: argparse.Namespace) -> Exporter:
    """Writes what the job's ledger keeps to where the options say."""
    from transforms.exporting import Exporter
    from transforms.storage import join

    folder = options.export_to or join(options.output, screen_options.KEPT)
    return Exporter(job.ledger, job.reader, folder, options.export)


def export(run: Run, exporter: Exporter) -> None:
    """Write the shards that are not there yet, or not of the rows as they are now."""
    from pipelines.job import exported_units
    from transforms.storage import remove_temporary

    remove_temporary(exporter.folder)
    exporter.remove_orphans()
    run.go_through(
        exporter.pending(),
        lambda pipeline, units, meter: exported_units(pipeline, units, exporter, meter),
    )
    print(f"\nKept images: {exporter.folder}")


if __name__ == "__main__":
    leave(main())
