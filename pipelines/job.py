"""The pipelines of `annotate` and `screen` as Beam graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import apache_beam as beam

from transforms.again import Again
from transforms.commit import Commit
from transforms.exporting import Exporter, ExportUnit
from transforms.ledger import Ledger
from transforms.plan_file import PlanFile, PlannedUnits
from transforms.prepare import PreparationSpec
from transforms.readers import ReaderOptions
from transforms.steps import ROWS, AnnotatedRows, CommitUnit, PrepareUnit
from transforms.unit import Unit

if TYPE_CHECKING:
    from model.annotator import AnnotatorSpec

# Records that are read ahead where there is no model whose batches say how many.
AHEAD = 8

# Descriptors at hand, or where workers find them.
Units = Sequence[Unit] | PlanFile


@dataclass(frozen=True)
class Job:
    """All that the steps need to know, in plain values.

    annotator: None where records are only screened. again: which records of committed units are
    done anew, None where units are done for the first time.
    threads: that decode, None for one a core. meter: name of the launcher's progress meter.
    """

    ledger: Ledger
    reader: ReaderOptions
    preparation: PreparationSpec
    annotator: AnnotatorSpec | None = None
    again: Again | None = None
    threads: int | None = None
    meter: str | None = None


def committed_units(pipeline: beam.Pipeline, units: Units, job: Job) -> beam.PCollection[Commit]:
    """From descriptors of units to their commits.

    units ─► prepared batches ─► annotations ─► rows ─► rows of a unit ─► committed units
    """
    prepare = PrepareUnit(
        job.ledger,
        job.reader,
        job.preparation,
        job.annotator or AHEAD,
        job.threads,
        job.meter,
        job.again,
    )
    prepared = _spread(pipeline, units) | "PreparedBatches" >> beam.ParDo(prepare).with_outputs(
        ROWS, main="batches"
    )
    rows = prepared[ROWS]
    if job.annotator is not None:
        rows = (rows, _annotated(prepared.batches, job)) | "AllRows" >> beam.Flatten()
    return (
        rows
        | "RowsOfUnit" >> beam.GroupByKey()
        | "CommittedUnits" >> beam.ParDo(CommitUnit(job.ledger, job.again))
    )


def exported_units(
    pipeline: beam.Pipeline, units: Units, exporter: Exporter, meter: str | None
) -> beam.PCollection[str]:
    """From descriptors of committed units to the shards of what was kept of them."""
    return _spread(pipeline, units) | "ExportedUnits" >> beam.ParDo(ExportUnit(exporter, meter))


def _spread(pipeline: beam.Pipeline, units: Units) -> beam.PCollection[Unit]:
    return _described(pipeline, units) | "SpreadUnits" >> beam.Reshuffle()


def _described(pipeline: beam.Pipeline, units: Units) -> beam.PCollection[Unit]:
    if isinstance(units, PlanFile):
        return pipeline | "Start" >> beam.Impulse() | "Units" >> beam.ParDo(PlannedUnits(units))
    return pipeline | "Units" >> beam.Create(units, reshuffle=False)


def _annotated(batches: beam.PCollection, job: Job) -> beam.PCollection:
    from apache_beam.ml.inference.base import RunInference

    from transforms.inference import PaliGemmaHandler

    assert job.annotator is not None
    return (
        batches
        | "Annotations" >> RunInference(PaliGemmaHandler(job.annotator))
        | "AnnotatedRows" >> beam.ParDo(AnnotatedRows(job.preparation.screening, job.meter))
    )
