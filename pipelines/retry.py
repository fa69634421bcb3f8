"""`palipipe retry`: quarantined and failed images of an output folder are taken up once more."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines import options as shared
from pipelines import schedule_options
from pipelines.annotate_options import model_options
from pipelines.cli import Parser, exit_code, leave

if TYPE_CHECKING:
    from pipelines.job import Job

DESCRIPTION = """\
Take up quarantined and failed images of an output folder, with the options of the run that wrote
it. By default those are taken up whose trouble may have passed: a backend that was down, a file
that could not be fetched. Their shards are read again, and only their rows change.

  palipipe retry screened
  palipipe retry annotated --checkpoint paligemma-3b-mix-224.npz --reason 'toxicity:error:*'

A shard that could not be read at all has no rows: run the same command again for it."""


def parser() -> Parser:
    it = Parser("retry", description=DESCRIPTION)
    it.add_argument("output", metavar="FOLDER", help="output folder of annotate or screen")
    group = it.add_argument_group("what is taken up").add_mutually_exclusive_group()
    group.add_argument(
        "--all", action="store_true", help="every quarantined and every failed image"
    )
    group.add_argument(
        "--reason",
        metavar="PATTERN",
        action="append",
        default=[],
        help="those with this reason; * stands for anything; may be repeated",
    )
    model_options(it)
    schedule_options.lock_options(it)
    shared.run_options(it)
    return it


def main(argv: Sequence[str] | None = None) -> int:
    options, beam_options = shared.parse(parser(), sys.argv[1:] if argv is None else argv)
    return exit_code("retry", lambda: retry(options, beam_options))


def retry(options: argparse.Namespace, beam_options: Sequence[str] = ()) -> int:
    """Run the command; returns its exit code.

    Raises:
        UserError, WorkError: see `transforms.errors`.
    """
    from pipelines.retry_plan import make_plan, search_of
    from pipelines.running import Run

    plan = make_plan(options)
    search = search_of(plan.job.ledger)

    def then(job: Job) -> None:
        if search is not None:
            search.mark(job.ledger)

    return Run("retry", options, beam_options).carry_out(plan, then)


if __name__ == "__main__":
    leave(main())
