"""`palipipe profiles`: the worker pools that `--profile` names."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines.cli import Parser, leave
from pipelines.launch.profiles import profile_table

DESCRIPTION = """\
List the launch profiles: worker pools on Dataflow, by name.

  palipipe annotate --profile dataflow-tpu-v5e --dry-run ...

prints the job that a profile makes, and submits nothing."""


def parser() -> Parser:
    return Parser("profiles", description=DESCRIPTION)


def main(argv: Sequence[str] | None = None) -> int:
    parser().parse_args(sys.argv[1:] if argv is None else argv)
    print(profile_table())
    return 0


if __name__ == "__main__":
    leave(main())
