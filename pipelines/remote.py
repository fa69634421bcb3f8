"""Runs a pipeline as one job of a Beam runner elsewhere: Dataflow, Flink, Spark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions


def run_on(runner: str, beam_options: Sequence[str], build: Callable[[beam.Pipeline], Any]) -> None:
    """Submit the pipeline with Beam's own options and wait for its end.

    The steps come from the installed package, so the launcher's main session isn't shipped.
    """
    flags = [f"--runner={runner}", "--no_save_main_session", *beam_options]
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        build(pipeline)
