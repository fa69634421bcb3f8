"""The command `palipipe`: picks a pipeline by its name and hands it the rest of the line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from pipelines.cli import VERSION, leave, suggestion

COMMANDS = {
    "annotate": "Annotate image shards with PaliGemma; one row for every image.",
    "filters": "Print a preset of filters, or check a configuration file.",
    "finetune": "Fine-tune PaliGemma, or train one from nothing.",
    "profiles": "List the worker pools on Dataflow that --profile names.",
    "prune": "Remove what an output folder can do without: rows of replaced shards, old records.",
    "rescreen": "Say what other thresholds would change, from the scores of an earlier run.",
    "retry": "Take up quarantined and failed images of an output folder once more.",
    "screen": "Put image shards through the filters alone; export what is kept.",
    "two-jobs": "Screen in one job, and annotate what it kept in a second one.",
    "verify": "Check an output folder against its commit records.",
}


def usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, about in COMMANDS.items()]
    return "\n".join(
        [
            "usage: palipipe COMMAND [OPTIONS]",
            "",
            *lines,
            "",
            "palipipe COMMAND --help tells a command's options.",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0 done, 1 failed work, 2 a mistake in the line)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name in ("--version", "version"):
        print(f"palipipe {VERSION}")
        return 0
    if name not in COMMANDS:
        print(f"palipipe: no command {name!r}{suggestion(name, COMMANDS)}", file=sys.stderr)
        print(usage(), file=sys.stderr)
        return 2
    return importlib.import_module(f"pipelines.{name.replace('-', '_')}").main(rest)


def console() -> NoReturn:
    """What the installed command `palipipe` runs."""
    leave(main())


if __name__ == "__main__":
    console()
