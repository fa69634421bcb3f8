"""`palipipe annotate`: image shards in, one row for every image out, in Parquet."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipelines import annotate_options
from pipelines.cli import exit_code, leave


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
    from pipelines.running import Run, committing

    run = Run.of("annotate", options, beam_options, annotates=True)
    if run.launch is not None:
        from pipelines.launch.preview import looked_over

        foreseen = foresee(run.options)
        if looked_over(run.launch, foreseen, {"": committing(foreseen.job)}):
            return 0
    return run.carry_out(make_plan(run.options))


if __name__ == "__main__":
    leave(main())
