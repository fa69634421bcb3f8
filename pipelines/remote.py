"""Runs a pipeline as one job of a Beam runner elsewhere: Dataflow, Flink, Spark."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.launch.beam_options import beam_options
from transforms import counters
from transforms.errors import UserError, WorkError, raised_in_worker

# What Beam's portable runners say: Flink, Spark, and any job service.
_FAILED = re.compile(r"Pipeline \S+ failed in state \w+: (?P<said>.*)", re.DOTALL)


def beam_flags(runner: str, words: Sequence[str]) -> list[str]:
    """Beam's command line. Steps come from the installed package, so no main session is sent."""
    return [f"--runner={runner}", "--no_save_main_session", *words]


def of_stage(words: Sequence[str], stage: str) -> Sequence[str]:
    """The same for one of several jobs that a command has in turn: their names differ."""
    name = beam_options("", words).get("job_name")
    return (*words, f"--job_name={name}-{stage}") if stage and name else words


def is_template(words: Sequence[str]) -> bool:
    """Whether the job is only written down, and begins when this command has ended."""
    return beam_options("", words).get("template_location") is not None


def run_on(
    runner: str, words: Sequence[str], build: Callable[[beam.Pipeline], Any]
) -> Counter[str]:
    """Submit the pipeline with Beam's own options and wait for its end.

    Returns the totals of the steps' counters; none of a template, whose job is still to begin.

    Raises:
        UserError: Beam refuses the options.
        WorkError: the job failed or was cancelled; what it committed stays.
    """
    options = PipelineOptions(beam_flags(runner, words))
    try:
        with beam.Pipeline(options=options) as pipeline:
            build(pipeline)
        return Counter() if is_template(words) else counters.totals(pipeline.result)
    except Exception as error:
        raise _worded(runner, error) from error


def _worded(runner: str, error: Exception) -> Exception:
    """A failure that a person can do something about, as such; any other as it is."""
    told = raised_in_worker(error)
    if told is not error or isinstance(error, WorkError):
        return told
    # Known by name, as Google's libraries are there only where they are used.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "Pipeline has validations errors" in str(error):
        return UserError(f"--runner {runner}: {error}")
    if "DataflowRuntimeException" in kinds:
        return WorkError(
            f"the job on Dataflow didn't end well: {error}\nWhat it committed stays; the same "
            "command goes on from there"
        )
    if failed := _FAILED.match(str(error)):
        last = failed["said"].strip().split("\n")[-1]
        return WorkError(
            f"the job on {runner} failed: {last}. The runner's log says more. What it committed "
            "stays; the same command goes on from there"
        )
    return error
