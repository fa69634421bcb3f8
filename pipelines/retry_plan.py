"""What a `retry` is going to do: the run that wrote a folder, made again from what it says."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from filters.config import from_plain
from pipelines.job import Job
from pipelines.plan import Plan, checked
from pipelines.screen_plan import about, without_model
from transforms.again import Again, Selection
from transforms.configuration import Configuration, differences, open_screened
from transforms.duplicates import DuplicateSearch
from transforms.errors import UserError
from transforms.history import History
from transforms.ledger import Ledger
from transforms.readers import ReaderOptions


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan for the given options.

    Raises:
        UserError: the folder is no run's output, or the model not the one that made it.
    """
    configuration = open_screened(options.output)
    latest = History(options.output).latest()
    ledger = Ledger(options.output, configuration)
    again = Again(ledger, Selection(options.all, tuple(options.reason)))
    values = configuration.values
    screening = checked(from_plain(values["screening"]))
    job = Job(
        ledger=ledger,
        reader=ReaderOptions(**values["reader"]),
        preparation=without_model(values["max_pixels"], screening),
        again=again,
        threads=options.threads,
    )
    lines = about(screening, search_of(ledger))
    if "model" in values:
        job, lines = _with_model(job, options)
    else:
        _refuse_model(options)
    counts = {name: (commit, again.count(commit)) for name, commit in ledger.committed().items()}
    return Plan(
        job=job,
        about=(*lines, f"again   {sum(n for _, n in counts.values()):,} images"),
        pending=tuple(commit.unit for commit, n in counts.values() if n),
        committed=tuple(commit for commit, n in counts.values() if not n),
        latest=latest,
        remake=lambda: make_plan(options),
    )


def search_of(ledger: Ledger) -> DuplicateSearch | None:
    """The search for duplicates that the ledger's run made."""
    search = ledger.configuration.values.get("duplicates")
    return search and DuplicateSearch(**search)


def _with_model(job: Job, options: argparse.Namespace) -> tuple[Job, list[str]]:
    """The job with the model that made the ledger, and what it says of itself."""
    # It brings jax along, which a folder that was only screened does without.
    from model.annotator import describe
    from pipelines.annotate_plan import about, model_values, spec_from
    from transforms.checkpoints import BEAM_FILES

    values = job.ledger.configuration.values
    annotator, model = describe(spec_from(values, options), BEAM_FILES)
    _check_same_model(job.ledger.configuration, model_values(annotator, model))
    preparation = replace(
        job.preparation,
        tasks=annotator.tasks,
        size=model.image_size,
        resize_method=values["resize"],
    )
    return replace(job, annotator=annotator, preparation=preparation), about(annotator, model)


def _check_same_model(configuration: Configuration, now: dict[str, Any]) -> None:
    before = {name: configuration.values[name] for name in now}
    lines = "\n".join(f"  {n}: {a!r} then, {b!r} now" for n, a, b in differences(before, now))
    if lines:
        raise UserError(
            f"another model than the one that made these rows:\n{lines}\n"
            "Name its files with --checkpoint, --tokenizer and --mask-decoder"
        )


def _refuse_model(options: argparse.Namespace) -> None:
    for name in ("checkpoint", "tokenizer", "mask_decoder"):
        if getattr(options, name) is not None:
            raise UserError(
                f"--{name.replace('_', '-')}: {options.output} was screened without a model; "
                "leave it out"
            )
