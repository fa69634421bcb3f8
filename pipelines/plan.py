"""What a run of `annotate` is going to do, worked out and checked before anything is done."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from model.annotator import AnnotatorSpec, ModelFacts, describe
from model.tasks import Task
from pipelines.job import Job
from transforms.checkpoints import BEAM_FILES
from transforms.configuration import Configuration, plain
from transforms.errors import UserError
from transforms.ledger import Commit, Ledger
from transforms.planning import plan
from transforms.prepare import PreparationSpec
from transforms.readers import ReaderOptions
from transforms.unit import Unit

DEFAULT_TASK = "caption en"


@dataclass(frozen=True)
class Plan:
    """Units by what will be done with them.

    pending: to be worked on. committed: done by an earlier run. changed: committed, but the
    input is another one now; among `pending` where it is to be redone.
    """

    job: Job
    model: ModelFacts
    pending: tuple[Unit, ...]
    committed: tuple[Commit, ...]
    changed: tuple[Unit, ...]

    @property
    def units(self) -> list[Unit]:
        """Every unit of the run's inputs."""
        return [*self.pending, *(commit.unit for commit in self.committed)]


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan for the given options.

    Raises:
        UserError: an option, an input or a checkpoint is wrong; nothing was written.
    """
    annotator, model = describe(_annotator_spec(options), BEAM_FILES)
    reader = _reader_options(options)
    preparation = PreparationSpec(
        tasks=annotator.tasks,
        size=model.image_size,
        resize_method=options.resize,
        max_pixels=options.max_pixels,
        min_side=options.min_side,
        max_aspect=options.max_aspect,
        max_bytes=options.max_bytes,
    )
    configuration = _configuration(annotator, model, reader, preparation)
    job = Job(
        ledger=Ledger(options.output, configuration),
        reader=reader,
        preparation=preparation,
        annotator=annotator,
        threads=options.threads,
    )
    units = plan(options.input, options.format, reader)
    return _against_commits(job, model, units, options.on_changed)


def _annotator_spec(options: argparse.Namespace) -> AnnotatorSpec:
    tasks = tuple(dict.fromkeys(options.task or [DEFAULT_TASK]))
    for task in tasks:
        Task.parse(task)
    return AnnotatorSpec(
        checkpoint=options.checkpoint,
        tokenizer=options.tokenizer,
        tasks=tasks,
        dtype=options.dtype,
        batch_size=options.batch_size,
        max_new_tokens=options.max_new_tokens,
        max_prompt_tokens=options.max_prompt_tokens,
        final_logit_cap=options.final_logit_cap,
        mask_decoder=options.mask_decoder,
    )


def _reader_options(options: argparse.Namespace) -> ReaderOptions:
    fields: dict[str, Any] = {
        "image_field": options.image_field,
        "text_field": options.text_field,
        "language_field": options.language_field,
        "key_field": options.key_field,
        "max_record_bytes": options.max_bytes,
    }
    if options.records_per_unit:
        for name in ("lines_per_unit", "files_per_unit", "rows_per_unit"):
            fields[name] = options.records_per_unit
    return ReaderOptions(**fields)


def _configuration(
    annotator: AnnotatorSpec, model: ModelFacts, reader: ReaderOptions, preparation: PreparationSpec
) -> Configuration:
    """What the rows depend on: not where files lie, nor how fast they are worked on."""
    return Configuration(
        plain(
            {
                "model": model,
                "decoding": {
                    "method": "greedy",
                    "tasks": annotator.tasks,
                    "dtype": annotator.dtype,
                    "max_new_tokens": annotator.max_new_tokens,
                    "max_prompt_tokens": annotator.max_prompt_tokens,
                    "final_logit_cap": annotator.final_logit_cap,
                },
                "reader": reader,
                "preparation": preparation,
            }
        )
    )


def _against_commits(job: Job, model: ModelFacts, units: Sequence[Unit], on_changed: str) -> Plan:
    commits = job.ledger.committed(units)
    by_name = {job.ledger.name(unit): unit for unit in units}
    changed = [
        unit
        for name, unit in by_name.items()
        if name in commits and commits[name].unit.version != unit.version
    ]
    if changed and on_changed == "refuse":
        raise UserError(
            f"{changed[0].uri}"
            + (f" and {len(changed) - 1} more" if len(changed) > 1 else "")
            + f": changed since it was committed to {job.ledger.output}. Say --on-changed redo to "
            "annotate it anew in place of the old rows, or --on-changed keep to leave those"
        )
    redo = set(map(job.ledger.name, changed)) if on_changed == "redo" else set()
    return Plan(
        job=job,
        model=model,
        pending=tuple(u for name, u in by_name.items() if name not in commits or name in redo),
        committed=tuple(c for name, c in sorted(commits.items()) if name not in redo),
        changed=tuple(changed),
    )


def with_meter(job: Job, meter: str | None) -> Job:
    """The same job, telling its progress to the meter of that name."""
    return replace(job, meter=meter)
