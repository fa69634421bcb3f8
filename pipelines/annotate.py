"""`palipipe annotate`: image shards in, one row for every image out, in Parquet.

Reads top to bottom: plan, say what is planned, claim the output folder, run, sum up.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines import options as annotate_options
from pipelines.cli import EXIT_FAILED, EXIT_INTERRUPTED, exit_code

if TYPE_CHECKING:
    from pipelines.plan import Plan


def main(argv: Sequence[str] | None = None) -> int:
    options, beam_options = annotate_options.parse(sys.argv[1:] if argv is None else argv)
    return exit_code("annotate", lambda: annotate(options, beam_options))


def annotate(options: argparse.Namespace, beam_options: Sequence[str] = ()) -> int:
    """Run the command; returns its exit code.

    Raises:
        UserError, WorkError: see `transforms.errors`.
    """
    # Beam and jax take seconds to import, which a mistyped option shouldn't have to wait for.
    from pipelines.plan import make_plan
    from pipelines.summary import how_to_look, outcome_table, plan_text, troubles
    from transforms.configuration import claim
    from transforms.storage import remove_temporary

    plan = make_plan(options)
    print(plan_text(plan), flush=True)
    if options.dry_run:
        return 0
    ledger = plan.job.ledger
    claim(ledger.output, ledger.configuration)
    remove_temporary(ledger.output)
    for name in plan.outdated:
        ledger.take_back(name)
    try:
        _run(plan, options, beam_options)
    except KeyboardInterrupt:
        print(
            "\nStopped. What was committed stays; the same command goes on from there.",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    commits = list(ledger.committed(plan.units).values())
    trouble = troubles(commits, ledger.failures(plan.pending))
    print(f"\n{outcome_table(commits)}\n\n{how_to_look(ledger.output)}")
    for line in trouble:
        print(f"palipipe annotate: {line}", file=sys.stderr)
    return EXIT_FAILED if trouble else 0


def _run(plan: Plan, options: argparse.Namespace, beam_options: Sequence[str]) -> None:
    from pipelines.job import committed_units
    from pipelines.plan import with_meter

    if not plan.pending:
        return
    if options.runner != "DirectRunner":
        from pipelines.remote import run_on

        run_on(options.runner, beam_options, lambda p: committed_units(p, plan.pending, plan.job))
        return

    from pipelines.local import run_in_waves
    from pipelines.reporter import Reporter
    from transforms.inference import annotator

    # Loaded here and not by the first step, so that what is wrong with it is said as it is.
    annotator(plan.job.annotator)
    run_in_waves(
        plan.pending,
        lambda pipeline, wave, meter: committed_units(pipeline, wave, with_meter(plan.job, meter)),
        Reporter(options.progress),
    )


if __name__ == "__main__":
    sys.exit(main())
