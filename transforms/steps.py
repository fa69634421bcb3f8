"""The Beam steps: from unit descriptors to committed units.

    units ─► PreparedBatches ─► RunInference ─► AnnotatedRows ─► CommittedUnits

Where there is no model, preparation ends with rows and the two in the middle are left out.

Between the shuffle of descriptors and the grouping of rows everything is one fused stage, so
pixels never leave the worker that decoded them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import apache_beam as beam

from filters.blocklist import BlocklistHit
from filters.config import ScreeningConfig
from transforms import counters
from transforms.again import Again
from transforms.batching import batches, window_size
from transforms.commit import Commit, UnitEnd, UnitFailure
from transforms.errors import UnitError, failing_work
from transforms.inference import AnnotatedBatch, Batch, batch_size
from transforms.ledger import Ledger
from transforms.output import screened_rows
from transforms.prepare import Example, PreparationSpec
from transforms.progress import advance
from transforms.readers import ReaderOptions, read
from transforms.screens import screening_of
from transforms.threads import Waited, ahead
from transforms.unit import Unit

if TYPE_CHECKING:
    from model.annotator import AnnotatorSpec

_LOG = logging.getLogger(__name__)

ROWS = "rows"

# What goes to the sink under a unit's name: rows, and one word on how the unit ended.
Entry = dict[str, Any] | UnitEnd | UnitFailure


class PrepareUnit(beam.DoFn):
    """Reads, screens and decodes one unit, ahead of the model.

    rows: of a batch, or the model that knows. Main output: `Batch`es. Output `ROWS`: (unit name,
    `Entry`) for the records that don't reach the model and for the unit's end.
    """

    def __init__(
        self,
        ledger: Ledger,
        reader: ReaderOptions,
        preparation: PreparationSpec,
        rows: AnnotatorSpec | int,
        threads: int | None = None,
        meter: str | None = None,
        again: Again | None = None,
    ):
        self._ledger = ledger
        self._reader = reader
        self._spec = preparation
        self._rows = rows
        self._threads = threads
        self._meter = meter
        self._again = again

    def setup(self) -> None:
        self._preparation = self._spec.build()
        self._batch_size = batch_size(self._rows)
        side = self._spec.size or 0
        self._window = window_size(self._preparation.tasks, self._batch_size, 3 * side * side)
        self._executor = ThreadPoolExecutor(self._threads or os.cpu_count() or 1)

    def teardown(self) -> None:
        self._executor.shutdown()

    def process(self, unit: Unit) -> Iterator[Batch | beam.pvalue.TaggedOutput]:
        _LOG.info("process %d: unit %s begun", os.getpid(), self._ledger.name(unit))
        began = time.perf_counter()
        prepared = Waited(self._prepared(unit))
        yield from self._batches(unit, prepared)
        counters.count_seconds(counters.WAITING_MICROSECONDS, prepared.seconds)
        # What follows in the fused stage, the model above all, runs while an element is yielded.
        counters.count_seconds(counters.UNIT_MICROSECONDS, time.perf_counter() - began)

    def _batches(
        self, unit: Unit, stream: Iterable[Example | dict[str, Any]]
    ) -> Iterator[Batch | beam.pvalue.TaggedOutput]:
        name = self._ledger.name(unit)
        records = 0
        waiting: list[Example] = []
        try:
            for prepared in stream:
                records += 1
                if isinstance(prepared, Example):
                    waiting.append(prepared)
                    if len(waiting) == self._window:
                        yield from self._formed(name, waiting)
                        waiting = []
                else:
                    yield self._row(name, prepared)
        except UnitError as error:
            yield beam.pvalue.TaggedOutput(ROWS, (name, UnitFailure.of(unit, error)))
            return
        except BlocklistHit as hit:
            counters.count(counters.BLOCKLIST_HITS)
            halted = UnitFailure(unit, "halted by the operator's blocklist", str(hit))
            yield beam.pvalue.TaggedOutput(ROWS, (name, halted))
            return
        yield from self._formed(name, waiting)
        yield beam.pvalue.TaggedOutput(ROWS, (name, UnitEnd(unit, records)))

    def _formed(self, name: str, examples: Sequence[Example]) -> Iterator[Batch]:
        return (Batch(name, batch) for batch in batches(examples, self._batch_size))

    def _prepared(self, unit: Unit) -> Iterator[Example | dict[str, Any]]:
        records = read(unit, self._reader)
        if self._again is not None:
            records = self._again.records(unit, records)
        prepared = self._preparation.run(records, self._executor)
        # While the model works on a window, or two batches, the next are made.
        with failing_work():
            yield from ahead(prepared, max(2 * self._batch_size, self._window))

    def _row(self, name: str, values: dict[str, Any]) -> beam.pvalue.TaggedOutput:
        advance(self._meter, 1, (values["image"] or {}).get("bytes") or 0)
        return beam.pvalue.TaggedOutput(ROWS, (name, values))


class AnnotatedRows(beam.DoFn):
    """The rows of an annotated batch, what the model wrote being screened, under their unit."""

    def __init__(self, screening: ScreeningConfig, meter: str | None = None):
        self._config = screening
        self._meter = meter

    def setup(self) -> None:
        self._filters = screening_of(self._config).output

    def process(self, annotated: AnnotatedBatch) -> Iterator[tuple[str, Entry]]:
        batch = annotated.batch
        with failing_work():
            rows = screened_rows(batch.examples, annotated.answers, self._filters)
        for example, values in zip(batch.examples, rows, strict=True):
            advance(self._meter, 1, example.image["bytes"])
            yield batch.unit, values


class CommitUnit(beam.DoFn):
    """Commits the rows of a unit, once they account for every one of its records.

    Raises:
        InvariantError: they don't; the run fails rather than lose a row.
    """

    def __init__(self, ledger: Ledger, again: Again | None = None):
        self._ledger = ledger
        self._committer = again or ledger

    def process(self, keyed: tuple[str, Iterable[Entry]]) -> Iterator[Commit]:
        name, entries = keyed
        rows: list[dict[str, Any]] = []
        ends: list[UnitEnd] = []
        for entry in entries:
            if isinstance(entry, UnitFailure):
                self._ledger.record_failure(entry)
                counters.count(counters.UNITS_FAILED)
                return
            if isinstance(entry, UnitEnd):
                ends.append(entry)
            else:
                rows.append(entry)
        commit = self._committer.commit(name, ends, rows)
        _LOG.info("process %d: unit %s committed, %d rows", os.getpid(), name, commit.rows)
        counters.count(counters.UNITS_COMMITTED)
        for outcome, count in commit.outcomes.items():
            counters.count(counters.outcome_counter(outcome), count)
        yield commit
