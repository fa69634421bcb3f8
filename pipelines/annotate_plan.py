"""What a run of `annotate` is going to do: the model, its tasks, and what its rows depend on."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from model.annotator import CARRIED, AnnotatorSpec, ModelFacts, describe
from model.tasks import Task
from pipelines.job import Job
from pipelines.launch.known_models import facts_by_name
from pipelines.plan import Foreseen, Plan, checked, plan_of, reader_options, screening
from transforms.checkpoints import BEAM_FILES
from transforms.configuration import Configuration, plain
from transforms.ledger import Ledger
from transforms.prepare import PreparationSpec
from transforms.readers import ReaderOptions
from transforms.storage import is_local

DEFAULT_TASK = "caption en"


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan for the given options.

    Raises:
        UserError: an option, an input or a checkpoint is wrong; nothing was written.
    """
    annotator, model = describe(_annotator_spec(options), BEAM_FILES)
    return plan_of(_job(annotator, model, options), about(annotator, model), options)


def check_model(options: argparse.Namespace) -> None:
    """Raises ModelError where the checkpoint, its tokenizer or a task is wrong."""
    describe(_annotator_spec(options), BEAM_FILES)


def foresee(options: argparse.Namespace) -> Foreseen:
    """The job as far as this machine alone can tell it, for looking at before it is submitted.

    A checkpoint that is elsewhere is known by its name, or not at all.
    """
    spec = _annotator_spec(options)
    if _is_here(spec):
        annotator, model = describe(spec)
        return Foreseen(_job(annotator, model, options), tuple(about(annotator, model)))
    assert spec.checkpoint is not None
    known = facts_by_name(spec.checkpoint)
    size = f"{known.parameters:,} parameters by its name" if known else "its name tells no size"
    lines = [f"model   {spec.checkpoint}: {size}; read when the job is submitted"]
    lines += [f"task    {task}" for task in spec.tasks]
    return Foreseen(_job(spec, known, options), tuple(lines))


def _is_here(spec: AnnotatorSpec) -> bool:
    checkpoint = None if spec.checkpoint in CARRIED else spec.checkpoint
    files = (checkpoint, spec.tokenizer, spec.mask_decoder)
    return all(path is None or (is_local(path) and os.path.exists(path)) for path in files)


def _job(annotator: AnnotatorSpec, model: ModelFacts | None, options: argparse.Namespace) -> Job:
    reader = reader_options(options)
    preparation = PreparationSpec(
        tasks=annotator.tasks,
        size=model.image_size if model else None,
        resize_method=options.resize,
        max_pixels=options.max_pixels,
        screening=checked(screening(options)),
    )
    configuration = _configuration(annotator, model, reader, preparation)
    return Job(
        ledger=Ledger(options.output, configuration),
        reader=reader,
        preparation=preparation,
        annotator=annotator,
        threads=options.threads,
    )


def about(annotator: AnnotatorSpec, model: ModelFacts) -> list[str]:
    """Which model answers what, in a few lines."""
    random = (
        "        its weights are RANDOM: what it writes means nothing. Give a "
        "--checkpoint for real annotations"
    )
    return [
        f"model   {model.name}, {model.parameters:,} parameters, {model.image_size} px, "
        f"{annotator.dtype}, weights {model.weights_sha256[:12]}",
        *([random] if model.random_weights else []),
        *(f"task    {task}" for task in annotator.tasks),
    ]


def model_values(annotator: AnnotatorSpec, model: ModelFacts | None) -> dict[str, Any]:
    """What rows depend on of a model: not where its files lie, nor how fast it is."""
    return plain(
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
        }
    )


def spec_from(values: Mapping[str, Any], options: argparse.Namespace) -> AnnotatorSpec:
    """The inverse of `model_values`; the options say where the model's files lie.

    They needn't for a model that comes along.
    """
    name = values["model"]["name"]
    decoding = dict(values["decoding"])
    del decoding["method"]
    return AnnotatorSpec(
        **{**decoding, "tasks": tuple(decoding["tasks"])},
        checkpoint=options.checkpoint or (name if name in CARRIED else None),
        tokenizer=options.tokenizer,
        mask_decoder=options.mask_decoder,
        batch_size=options.batch_size,
        tensor_parallel=options.tensor_parallel,
    )


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
        tensor_parallel=options.tensor_parallel,
        max_new_tokens=options.max_new_tokens,
        max_prompt_tokens=options.max_prompt_tokens,
        final_logit_cap=options.final_logit_cap,
        mask_decoder=options.mask_decoder,
        location_scale=options.location_scale,
    )


def _configuration(
    annotator: AnnotatorSpec,
    model: ModelFacts | None,
    reader: ReaderOptions,
    preparation: PreparationSpec,
) -> Configuration:
    """What the rows depend on: not where files lie, nor how fast they are worked on."""
    return Configuration(
        {
            **model_values(annotator, model),
            **plain(
                {
                    "reader": reader,
                    "resize": preparation.resize_method,
                    "max_pixels": preparation.max_pixels,
                    "screening": preparation.screening.plain(),
                }
            ),
        }
    )
