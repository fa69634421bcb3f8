"""What a user says by Beam's own options, before any runner sees it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.cli import Parser


@dataclass(frozen=True)
class BeamOptions:
    """Beam's options on a command line: the words, and the values they give; nothing by default."""

    words: tuple[str, ...]
    values: dict[str, Any]

    def get(self, name: str) -> Any:
        """An option by its name in Beam's `PipelineOptions`; None where it isn't given."""
        return self.values.get(name)

    def listed(self, name: str) -> list[str]:
        """An option that may be repeated."""
        return list(self.values.get(name) or ())


def beam_parser(command: str) -> Parser:
    """A parser of every option that Beam has, in which none has a default."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = Parser(command, add_help=False, conflict_handler="resolve")
    for group in PipelineOptions.__subclasses__():
        if "_add_argparse_args" in vars(group):
            group._add_argparse_args(parser)  # type: ignore[arg-type]
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return parser


def beam_options(command: str, words: Sequence[str]) -> BeamOptions:
    """The options that words give. Exits with 2 and the nearest option on a mistake."""
    return BeamOptions(tuple(words), vars(beam_parser(command).parse_args(list(words))))
