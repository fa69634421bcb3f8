"""`palipipe annotate`: image shards in, one row for every image out, in Parquet."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines import annotate_options
from pipelines.cli import exit_code, leave

if TYPE_CHECKING:
    from pipelines.launch.launch import Launch
    from pipelines.launch.preview import Preview
    from pipelines.running import Run


def main(argv: Sequence[str] | None = None) -> int:
    options, beam_options = annotate_options.parse(sys.argv[1:] if argv is None else argv)
    return exit_code("annotate", lambda: annotate(options, beam_options))


def annotate(options: argparse.Namespace, beam_options: Sequence[str] = ()) -> int:
    """Run the command; returns its exit code.

    Raises:
        UserError, WorkError: see `transforms.errors`.
    """
    # Beam and jax take seconds to import, which a mistyped option shouldn't have to wait for.
    from pipelines.annotate_plan import foresee, make_plan

    run = run_of(options, beam_options)
    if run.launch is not None:
        from pipelines.launch.credentials import require_credentials
        from pipelines.launch.fitting import check_fits
        from pipelines.launch.preview import show

        if options.dry_run:
            show(previews_of(run.launch), options.dry_run)
            return 0
        # Before a checkpoint of gigabytes is read.
        check_fits(foresee(run.options).job, run.launch)
        require_credentials(run.launch)
    return run.carry_out(make_plan(run.options))


def run_of(options: argparse.Namespace, beam_options: Sequence[str] = ()) -> Run:
    """The run of a command line. Raises UserError for what can't run on Dataflow."""
    from pipelines.running import Run

    return Run.of("annotate", options, beam_options, annotates=True)


def previews_of(launch: Launch) -> list[Preview]:
    """The job that would be submitted. Raises UserError."""
    from pipelines.annotate_plan import foresee
    from pipelines.launch.preview import previews
    from pipelines.running import committing

    foreseen = foresee(launch.options)
    return previews(launch, foreseen, {"": committing(foreseen.job)})


if __name__ == "__main__":
    leave(main())
