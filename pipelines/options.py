"""Options that several commands have. Imports nothing slow: `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pipelines.cli import Parser, positive

# The pixels of a picture that a decoder has to hold: 100 megapixels are 300 MB.
MAX_PIXELS = 100_000_000


def input_argument(group: argparse._ArgumentGroup) -> None:
    """--input"""
    group.add_argument(
        "--input",
        metavar="GLOB",
        nargs="+",
        action="extend",
        required=True,
        help="shards, lists, images or folders of images; quote globs; may be repeated",
    )


def field_arguments(group: argparse._ArgumentGroup) -> None:
    """The inputs' format, and where in a record things are."""
    group.add_argument(
        "--format",
        choices=["webdataset", "tfrecord", "parquet", "files", "list"],
        help="of all inputs; by default each input's suffix tells",
    )
    group.add_argument(
        "--image-field", metavar="NAME", help="feature, column or tar suffix that holds the image"
    )
    group.add_argument("--text-field", metavar="NAME", help="where the image's text is")
    group.add_argument("--language-field", metavar="NAME", help="where the text's language is")


def resize_argument(group: argparse._ArgumentGroup) -> None:
    """--resize"""
    group.add_argument(
        "--resize",
        choices=["bilinear", "bicubic"],
        default="bilinear",
        help="how images become square (default: bilinear, as in PaliGemma's training)",
    )


def threads_argument(group: argparse._ArgumentGroup) -> None:
    """--threads"""
    group.add_argument(
        "--threads", metavar="N", type=positive, help="that decode images (default: one a core)"
    )


def progress_argument(group: argparse._ArgumentGroup) -> None:
    """--progress"""
    group.add_argument(
        "--progress",
        choices=["auto", "bar", "lines", "none"],
        default="auto",
        help="auto: a bar on a terminal, else a line now and then",
    )


def input_options(it: Parser) -> None:
    """What is read."""
    group = it.add_argument_group("what is read")
    input_argument(group)
    field_arguments(group)
    group.add_argument(
        "--key-field", metavar="NAME", help="what names a record; by default its place"
    )
    group.add_argument(
        "--records-per-unit",
        metavar="N",
        type=positive,
        help="about how many records are committed at once, where the format can be split "
        "(Parquet, lists, loose files)",
    )


def limit_options(it: Parser, filters: str | None = "default") -> None:
    """What is left out. filters: the default, or None where they have to be named."""
    group = it.add_argument_group("what is left out")
    group.add_argument(
        "--filters",
        metavar="PRESET|FILE",
        default=filters,
        required=filters is None,
        help="strict, default, off or a YAML file; `palipipe filters NAME` prints one"
        + (f" (default: {filters})" if filters else ""),
    )
    group.add_argument(
        "--fail-open",
        metavar="FILTER",
        action="append",
        default=[],
        help="let records pass that this filter has no answer for, instead of quarantining them",
    )
    group.add_argument(
        "--max-pixels",
        metavar="N",
        type=positive,
        default=MAX_PIXELS,
        help=f"larger pictures are filtered undecoded (default: {MAX_PIXELS:,})",
    )
    group.add_argument(
        "--max-bytes",
        metavar="N",
        type=positive,
        default=256 << 20,
        help="larger files are left out unread (default: 256 MiB)",
    )
    group.add_argument(
        "--min-side", metavar="N", type=positive, help="shorter side at least (default: any)"
    )
    group.add_argument(
        "--max-aspect",
        metavar="X",
        type=float,
        help="longer over shorter side at most (default: any)",
    )


def output_options(it: Parser) -> None:
    """Where rows go, and what happens to those of a shard that changed."""
    group = it.add_argument_group("what is written")
    group.add_argument("--output", metavar="FOLDER", required=True, help="local or gs://…")
    group.add_argument(
        "--on-changed",
        choices=["refuse", "redo", "keep"],
        default="refuse",
        help="what to do with a shard that changed after it was committed (default: refuse)",
    )


def run_options(it: Parser) -> None:
    """How it runs."""
    group = it.add_argument_group("how it runs")
    threads_argument(group)
    group.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and do nothing"
    )
    progress_argument(group)
    group.add_argument(
        "--runner",
        metavar="NAME",
        default="DirectRunner",
        help="a Beam runner; options of Beam's own are passed on to it "
        "(default: DirectRunner, in this process)",
    )


def parse(it: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """Options and what is left for Beam.

    For the local runner nothing may be left. Exits with 2 and the nearest option on a mistake.
    """
    options, rest = it.parse_known_args(argv)
    unknown = [word for word in rest if word.startswith("-")]
    if rest and options.runner == "DirectRunner":
        it.refuse(unknown[0] if unknown else rest[0])
    if unknown:
        _check_beam_options(it, unknown)
    return options, tuple(rest)


def _check_beam_options(it: Parser, unknown: Sequence[str]) -> None:
    """Refuse what neither this command nor Beam knows; Beam alone would only log a warning."""
    from apache_beam.options.pipeline_options import PipelineOptions

    beam_parser = argparse.ArgumentParser(add_help=False, conflict_handler="resolve")
    for group in PipelineOptions.__subclasses__():
        if "_add_argparse_args" in vars(group):
            group._add_argparse_args(beam_parser)  # type: ignore[arg-type]
    known = {name for action in beam_parser._actions for name in action.option_strings}
    for word in unknown:
        if word.split("=")[0] not in known:
            it.refuse(word)
