"""`palipipe rescreen`: what new thresholds would change, from the scores of an earlier run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipelines import options as shared
from pipelines.cli import Parser, exit_code, leave

DESCRIPTION = """\
Decide anew with other thresholds, from the scores that an output folder has: no image is read and
no model is run. Prints what would change, and writes nothing unless --write names a folder.

  palipipe rescreen out --filters stricter.yaml
  palipipe rescreen out --filters stricter.yaml --write stricter

A record that would now get further than it was looked at is quarantined with the reason
rescreen:needs_screening; palipipe retry takes those up."""


def parser() -> Parser:
    it = Parser("rescreen", description=DESCRIPTION)
    it.add_argument("output", metavar="FOLDER", help="output folder of annotate or screen")
    shared.limit_options(it, filters=None)
    it.add_argument_group("what is written").add_argument(
        "--write", metavar="FOLDER", help="a new output folder for the rows as they would be"
    )
    return it


def main(argv: Sequence[str] | None = None) -> int:
    options = shared.parse_here(parser(), sys.argv[1:] if argv is None else argv)
    return exit_code("rescreen", lambda: rescreen(options))


def rescreen(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code.

    Raises:
        UserError: a filter can't be rescreened, or a folder isn't what it has to be.
    """
    from pipelines.rescreening import plan_rescreening
    from pipelines.summary import changes_table, outcome_table

    work = plan_rescreening(options)
    print(changes_table(work.changes()))
    if options.write is None:
        print("\nNothing was written; --write FOLDER writes these rows to a new folder.")
        return 0
    commits = work.write(options.write)
    print(f"\n{outcome_table(commits)}\n\nRows: {options.write}/data/*.parquet")
    return 0


if __name__ == "__main__":
    leave(main())
