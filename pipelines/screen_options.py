"""The options of `palipipe screen`. Imports nothing slow: `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pipelines import options, schedule_options
from pipelines.cli import Parser

DESCRIPTION = """\
Put image shards through the filters, without a model: one row for every image, in Parquet; and,
when asked, the images that were kept as shards, for training or for palipipe annotate.

  palipipe screen --input 'shards/*.tar' --output screened \\
      --filters strict --duplicates near --export webdataset
  palipipe annotate --input 'screened/kept/*.tar' --output annotated --screened-before ...

Run the same command again to go on after an interruption, or to take up new shards."""

KEPT = "kept"


def parser() -> Parser:
    """The parser, its options in the groups that `--help` shows."""
    it = Parser("screen", description=DESCRIPTION)
    options.input_options(it)
    options.limit_options(it)
    _duplicate_options(it)
    options.output_options(it)
    _export_options(it)
    schedule_options.lock_options(it)
    schedule_options.alert_options(it)
    options.launch_options(it)
    return it


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """Options and what is left for Beam; exits with 2 where they contradict each other."""
    it = parser()
    chosen, beam_options = options.parse(it, argv)
    if chosen.earlier and chosen.duplicates == "off":
        it.error("--earlier has a meaning only with --duplicates exact or near")
    if chosen.export_to and not chosen.export:
        it.error("--export-to has a meaning only with --export")
    schedule_options.check(it, chosen)
    return chosen, beam_options


def _duplicate_options(it: Parser) -> None:
    group = it.add_argument_group("duplicates")
    group.add_argument(
        "--duplicates",
        choices=["off", "exact", "near"],
        default="off",
        help="mark all but the first of equal files, or also of pictures that look the same "
        "(default: off)",
    )
    group.add_argument(
        "--earlier",
        metavar="FOLDER",
        action="append",
        default=[],
        help="output folder of an earlier run, whose kept images are not to come again; may be "
        "repeated",
    )


def _export_options(it: Parser) -> None:
    group = it.add_argument_group("what is exported")
    group.add_argument(
        "--export",
        choices=["webdataset", "tfrecord", "parquet"],
        help="write the kept images, their bytes untouched, as shards of this format",
    )
    group.add_argument(
        "--export-to", metavar="FOLDER", help=f"where to (default: {KEPT} in the output folder)"
    )
