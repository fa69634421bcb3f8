"""What a run of `annotate` is going to do: the model, its tasks, and what its rows depend on."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from model.annotator import AnnotatorSpec, ModelFacts, describe
from model.tasks import Task
from pipelines.job import Job
from pipelines.plan import Plan, checked, plan_of, reader_options, screening
from transforms.checkpoints import BEAM_FILES
from transforms.configuration import Configuration, plain
from transforms.ledger import Ledger
from transforms.prepare import PreparationSpec
from transforms.readers import ReaderOptions

DEFAULT_TASK = "caption en"


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan for the given options.

    Raises:
        UserError: an option, an input or a checkpoint is wrong; nothing was written.
    """
    annotator, model = describe(_annotator_spec(options), BEAM_FILES)
    reader = reader_options(options)
    preparation = PreparationSpec(
        tasks=annotator.tasks,
        size=model.image_size,
        resize_method=options.resize,
        max_pixels=options.max_pixels,
        screening=checked(screening(options)),
    )
    configuration = _configuration(annotator, model, reader, preparation)
    job = Job(
        ledger=Ledger(options.output, configuration),
        reader=reader,
        preparation=preparation,
        annotator=annotator,
        threads=options.threads,
    )
    return plan_of(job, about(annotator, model), options)


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


def model_values(annotator: AnnotatorSpec, model: ModelFacts) -> dict[str, Any]:
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
    """The inverse of `model_values`; the options say where the model's files lie."""
    decoding = dict(values["decoding"])
    del decoding["method"]
    return AnnotatorSpec(
        **{**decoding, "tasks": tuple(decoding["tasks"])},
        checkpoint=options.checkpoint,
        tokenizer=options.tokenizer,
        mask_decoder=options.mask_decoder,
        batch_size=options.batch_size,
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
        max_new_tokens=options.max_new_tokens,
        max_prompt_tokens=options.max_prompt_tokens,
        final_logit_cap=options.final_logit_cap,
        mask_decoder=options.mask_decoder,
        location_scale=options.location_scale,
    )


def _configuration(
    annotator: AnnotatorSpec, model: ModelFacts, reader: ReaderOptions, preparation: PreparationSpec
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
