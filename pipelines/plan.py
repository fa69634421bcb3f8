"""What a run of `annotate` is going to do, worked out and checked before anything is done."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from filters.config import ScreeningConfig, load_filters
from model.annotator import AnnotatorSpec, ModelFacts, describe
from model.tasks import Task
from pipelines.job import Job
from transforms.checkpoints import BEAM_FILES
from transforms.configuration import Configuration, check_claim, plain
from transforms.errors import UserError
from transforms.ledger import Commit, Ledger
from transforms.planning import plan
from transforms.prepare import PreparationSpec
from transforms.readers import ReaderOptions
from transforms.screens import screening_of
from transforms.unit import Unit

DEFAULT_TASK = "caption en"


@dataclass(frozen=True)
class Plan:
    """Units by what will be done with them.

    pending: to be worked on. committed: done by an earlier run, and staying.
    outdated: names of commits whose input is another one now and whose units are cut otherwise;
    they are taken back before their shard is done anew.
    """

    job: Job
    model: ModelFacts
    pending: tuple[Unit, ...]
    committed: tuple[Commit, ...]
    outdated: tuple[str, ...] = ()

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
        screening=_screening(options),
    )
    configuration = _configuration(annotator, model, reader, preparation)
    check_claim(options.output, configuration)
    job = Job(
        ledger=Ledger(options.output, configuration),
        reader=reader,
        preparation=preparation,
        annotator=annotator,
        threads=options.threads,
    )
    earlier = job.ledger.committed()
    # Loose files stay in the groups they were committed in, so that new ones join in new groups.
    groups = [commit.unit.files for commit in earlier.values() if commit.unit.files]
    units = plan(options.input, options.format, reader, groups)
    return _against_commits(job, model, units, earlier, options.on_changed)


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
        location_scale=options.location_scale,
    )


def _screening(options: argparse.Namespace) -> ScreeningConfig:
    """The filters asked for, each made once so that a mistake is found now."""
    config = load_filters(options.filters).failing_open(options.fail_open)
    limited = config.limited(
        min_side=options.min_side,
        max_aspect=options.max_aspect,
        max_pixels=options.max_pixels,
        max_bytes=options.max_bytes,
    )
    screening_of(limited)
    return limited


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
                    "location_scale": annotator.location_scale,
                },
                "reader": reader,
                "resize": preparation.resize_method,
                "max_pixels": preparation.max_pixels,
                "screening": preparation.screening.plain(),
            }
        )
    )


def _against_commits(
    job: Job,
    model: ModelFacts,
    units: Sequence[Unit],
    earlier: Mapping[str, Commit],
    on_changed: str,
) -> Plan:
    by_name = {job.ledger.name(unit): unit for unit in units}
    shards = {unit.uri for unit in units if not unit.files}
    changed = {
        name
        for name, unit in by_name.items()
        if name in earlier and earlier[name].unit.version != unit.version
    }
    outdated = {
        name
        for name, commit in earlier.items()
        if commit.unit.uri in shards and name not in by_name
    }
    if (changed or outdated) and on_changed == "refuse":
        uris = sorted({earlier[name].unit.uri for name in changed | outdated})
        raise UserError(
            f"{uris[0]}{f' and {len(uris) - 1} more' if len(uris) > 1 else ''}: changed since it "
            f"was committed to {job.ledger.output}. Say --on-changed redo to annotate it anew in "
            "place of the old rows, or --on-changed keep to leave those"
        )
    redo = on_changed == "redo"
    cut_otherwise = {earlier[name].unit.uri for name in outdated}
    pending = [
        unit
        for name, unit in by_name.items()
        if (name not in earlier and (redo or unit.uri not in cut_otherwise))
        or (redo and name in changed)
    ]
    names = {job.ledger.name(unit) for unit in pending}
    staying = (by_name.keys() & earlier.keys()) - names
    return Plan(
        job=job,
        model=model,
        pending=tuple(pending),
        committed=tuple(earlier[name] for name in sorted(staying)),
        outdated=tuple(sorted(outdated)) if redo else (),
    )


def with_meter(job: Job, meter: str | None) -> Job:
    """The same job, telling its progress to the meter of that name."""
    return replace(job, meter=meter)
