"""What a run of `screen` is going to do: its filters, and what its rows depend on."""

from __future__ import annotations

import argparse
from typing import Any

from filters.config import ScreeningConfig
from filters.duplicates import NEAR
from pipelines.job import Job
from pipelines.plan import Foreseen, Plan, checked, plan_of, reader_options, screening
from transforms.configuration import Configuration, plain
from transforms.duplicates import DuplicateSearch
from transforms.ledger import Ledger
from transforms.prepare import PreparationSpec
from transforms.readers import ReaderOptions


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan for the given options.

    Raises:
        UserError: an option or an input is wrong; nothing was written.
    """
    if (search := search_of(options)) is not None:
        search.check(options.output)
    foreseen = foresee(options)
    return plan_of(foreseen.job, foreseen.about, options)


def foresee(options: argparse.Namespace) -> Foreseen:
    """The job as far as this machine alone can tell it. Raises UserError."""
    search = search_of(options)
    config = screening(options)
    if search is not None and search.kind == NEAR:
        config = config.recording_hashes()
    reader = reader_options(options)
    preparation = without_model(options.max_pixels, checked(config))
    job = Job(
        ledger=Ledger(options.output, _configuration(reader, preparation, search)),
        reader=reader,
        preparation=preparation,
        threads=options.threads,
    )
    return Foreseen(job, tuple(about(config, search)))


def without_model(max_pixels: int, config: ScreeningConfig) -> PreparationSpec:
    """Preparation that ends with what the filters say."""
    return PreparationSpec((), None, "bilinear", max_pixels, config)


def search_of(options: argparse.Namespace) -> DuplicateSearch | None:
    """The search for duplicates that was asked for."""
    if options.duplicates == "off":
        return None
    return DuplicateSearch(options.duplicates, tuple(options.earlier))


def about(config: ScreeningConfig, search: DuplicateSearch | None) -> list[str]:
    """Which filters look, in a few lines."""
    lines = [f"filter  {one.name}, {one.backend}" for one in config.filters]
    if search is not None:
        lines.append(f"filter  duplicates, {search.kind}")
    return lines


def _configuration(
    reader: ReaderOptions, preparation: PreparationSpec, search: DuplicateSearch | None
) -> Configuration:
    """What the rows depend on. Earlier runs are as inputs are: another one may join."""
    duplicates: dict[str, Any] | None = None
    if search is not None:
        duplicates = {"kind": search.kind, "threshold": search.threshold}
    return Configuration(
        plain(
            {
                "reader": reader,
                "max_pixels": preparation.max_pixels,
                "screening": preparation.screening.plain(),
                "duplicates": duplicates,
            }
        )
    )
