"""Options of Beam's that say how stores are reached: every command takes them, on any runner."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

# How the names of Beam's options for S3, Azure's blob storage and HDFS begin.
PREFIXES = ("--s3_", "--azure_", "--blob_", "--hdfs_")


def split(words: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The words that are of stores, each option one word, and the rest."""
    if not any(word.startswith(PREFIXES) for word in words):
        return (), list(words)
    found, rest = _parser().parse_known_args(list(words))
    return tuple(_words(found)), rest


def _words(found: argparse.Namespace) -> list[str]:
    return [
        f"--{name}" if value is True else f"--{name}={value}" for name, value in vars(found).items()
    ]


def _parser() -> argparse.ArgumentParser:
    from apache_beam.options import pipeline_options as beam

    parser = argparse.ArgumentParser(
        add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    for group in (beam.S3Options, beam.AzureOptions, beam.HadoopFileSystemOptions):
        group._add_argparse_args(parser)
    for action in parser._actions:
        action.default = argparse.SUPPRESS  # what isn't given is not passed on
    return parser


def configure(words: Sequence[str]) -> None:
    """Give this process's filesystems their options; those of an earlier command are forgotten."""
    from transforms import filesystems

    filesystems.configure(words)
