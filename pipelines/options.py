"""Options that several commands have. Imports nothing slow: `--help` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from textwrap import indent

from pipelines import elsewhere, store_options
from pipelines.cli import Parser, positive, suggestion
from pipelines.launch.profiles import RUNNER, profile, profile_table

LOCAL_RUNNER = "DirectRunner"

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


def limit_options(it: Parser, filters: str | None = "default") -> argparse._ArgumentGroup:
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
    return group


def output_options(it: Parser) -> argparse._ArgumentGroup:
    """Where rows go, and what happens to those of a shard that changed."""
    group = it.add_argument_group("what is written")
    group.add_argument("--output", metavar="FOLDER", required=True, help="local, gs://… or s3://…")
    group.add_argument(
        "--on-changed",
        choices=["refuse", "redo", "keep"],
        default="refuse",
        help="what to do with a shard that changed after it was committed (default: refuse)",
    )
    group.add_argument(
        "--on-gone",
        choices=["keep", "remove"],
        default="keep",
        help="what to do with the rows of shards that are not among the inputs any more "
        "(default: keep)",
    )
    return group


def run_options(it: Parser) -> None:
    """How it runs."""
    group = it.add_argument_group("how it runs")
    threads_argument(group)
    group.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and do nothing"
    )
    progress_argument(group)
    _runner_argument(group)
    it.set_defaults(profile=None)


def launch_options(it: Parser) -> None:
    """How it runs, here or on workers elsewhere."""
    group = it.add_argument_group("how it runs")
    threads_argument(group)
    group.add_argument(
        "--dry-run",
        nargs="?",
        const="text",
        choices=["text", "json"],
        help="say what would be done, and do nothing; of a Dataflow job, print its description, "
        "without a word to the network",
    )
    progress_argument(group)
    group.add_argument(
        "--profile",
        metavar="NAME",
        type=profile,
        help="on Dataflow, with workers as listed below; an option of Beam's own wins over it",
    )
    group.add_argument(
        "--in-image",
        metavar="PATH",
        action="append",
        default=[],
        help="a file or folder that workers have, too: a checkpoint or a hash list that was built "
        "into their image; may be repeated",
    )
    _runner_argument(group)
    it.epilog = f"profiles:\n{indent(profile_table(), '  ')}"


def _runner_argument(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--runner",
        metavar="NAME",
        help="a Beam runner; options of Beam's own are passed on to it "
        f"(default: {LOCAL_RUNNER}, in this process)",
    )


def parse_here(it: Parser, argv: Sequence[str]) -> argparse.Namespace:
    """Options of a command that runs no pipeline: for Beam only those of stores may be left."""
    options, rest = it.parse_known_args(argv)
    words, rest = store_options.split(rest)
    it.refuse_any(rest)
    store_options.configure(words)
    return options


def parse(it: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """Options and what is left for Beam.

    For the local runner only options of stores may be left. Exits with 2 and the nearest option on
    a mistake.
    """
    options, rest = it.parse_known_args(argv)
    # Beam doesn't mind how they are spelt.
    named = {runner.lower(): runner for runner in (LOCAL_RUNNER, RUNNER)}
    options.runner = named.get(str(options.runner).lower(), options.runner)
    if options.profile and options.runner not in (None, RUNNER):
        it.error(f"--profile {options.profile} is of {RUNNER}; leave out --runner {options.runner}")
    options.runner = options.runner or (RUNNER if options.profile else LOCAL_RUNNER)
    words, others = store_options.split(rest)
    if options.runner == LOCAL_RUNNER:
        it.refuse_any(others)
    elif rest:
        _check_beam_options(it, rest)
    store_options.configure(words)
    if options.runner not in (LOCAL_RUNNER, RUNNER):
        elsewhere.make_absolute(options)
    return options, words if options.runner == LOCAL_RUNNER else tuple(rest)


def _check_beam_options(it: Parser, rest: Sequence[str]) -> None:
    """Refuse what neither this command nor Beam knows; Beam alone would only log a warning."""
    from pipelines.launch.beam_options import beam_parser

    beam = beam_parser(it.prog.removeprefix("palipipe "))
    known = beam.options()
    for word in rest:
        name = word.split("=")[0]
        if word.startswith("--") and name not in known:
            near = suggestion(name, [*it.options(), *known])
            it.error(f"unknown option {name}{near}")
    beam.parse_args(list(rest))
