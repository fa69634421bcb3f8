"""The pipeline of `annotate` as a Beam graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference

from model.annotator import AnnotatorSpec
from transforms.inference import PaliGemmaHandler
from transforms.ledger import Commit, Ledger
from transforms.prepare import PreparationSpec
from transforms.readers import ReaderOptions
from transforms.steps import ROWS, AnnotatedRows, CommitUnit, PrepareUnit
from transforms.unit import Unit


@dataclass(frozen=True)
class Job:
    """All that the steps need to know, in plain values.

    threads: that decode, None for one a core. meter: name of the launcher's progress meter.
    """

    ledger: Ledger
    reader: ReaderOptions
    preparation: PreparationSpec
    annotator: AnnotatorSpec
    threads: int | None = None
    meter: str | None = None


def committed_units(
    pipeline: beam.Pipeline, units: Sequence[Unit], job: Job
) -> beam.PCollection[Commit]:
    """From descriptors of units to their commits.

    units ─► prepared batches ─► annotations ─► rows ─► rows of a unit ─► committed units
    """
    prepare = PrepareUnit(
        job.ledger, job.reader, job.preparation, job.annotator.batch_size, job.threads, job.meter
    )
    prepared = (
        pipeline
        | "Units" >> beam.Create(units, reshuffle=False)
        | "SpreadUnits" >> beam.Reshuffle()
        | "PreparedBatches" >> beam.ParDo(prepare).with_outputs(ROWS, main="batches")
    )
    annotated = (
        prepared.batches
        | "Annotations" >> RunInference(PaliGemmaHandler(job.annotator))
        | "AnnotatedRows" >> beam.ParDo(AnnotatedRows(job.preparation.screening, job.meter))
    )
    return (
        (prepared[ROWS], annotated)
        | "AllRows" >> beam.Flatten()
        | "RowsOfUnit" >> beam.GroupByKey()
        | "CommittedUnits" >> beam.ParDo(CommitUnit(job.ledger))
    )
