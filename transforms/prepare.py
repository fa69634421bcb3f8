"""From a unit's records to pictures the model can take: read, screen, decode, screen, resize.

Plain Python over iterators; `transforms.steps` makes a Beam step of it. Each record leaves as
one `Example`, which goes to the model, or as one finished row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from filters.contract import Decision, Filter, Item, Verdict
from filters.quality import image_size_filter
from model.preprocess import Resampling, resize
from model.tasks import MissingFieldError, Prompt, PromptError, Task, record_fields
from transforms.images import ImageError, ImageInfo, decode, probe
from transforms.record import Record, RecordError
from transforms.row import Outcome, failed_row, row

# Filters answer a batch at a time. A chunk is held in memory while it is screened, so both its
# records and its bytes are bounded.
CHUNK_RECORDS = 64
CHUNK_BYTES = 64 << 20


@dataclass(frozen=True)
class Screening:
    """The filters in the order in which they look at a record.

    before: need no pixels (bytes, header, text). after: need pixels.
    """

    before: tuple[Filter, ...] = ()
    after: tuple[Filter, ...] = ()


@dataclass(frozen=True)
class Example:
    """A picture on its way to the model, without the bytes it came from.

    image: the row's facts of the picture. pixels: uint8[S,S,3] at the model's size.
    prompts: one for each task.
    """

    record: Record
    image: dict[str, Any]
    pixels: np.ndarray
    prompts: tuple[Prompt, ...]
    decisions: tuple[Decision, ...] = ()


@dataclass(frozen=True)
class _Candidate:
    """A record between two steps of preparation."""

    record: Record
    image: dict[str, Any]
    info: ImageInfo
    decisions: tuple[Decision, ...] = ()
    pixels: np.ndarray | None = None

    def item(self) -> Item:
        record, info = self.record, self.info
        return Item(
            id=record.id,
            text=record.text,
            language=record.language,
            encoded=record.encoded,
            pixels=self.pixels,
            format=info.format,
            width=info.width,
            height=info.height,
        )


Row = dict[str, Any]


@dataclass(frozen=True)
class PreparationSpec:
    """What a `Preparation` is made from on a worker, in plain values.

    tasks: prompts as the user wrote them. size: side of the model's square input, in pixels.
    Limits of None are off.
    """

    tasks: tuple[str, ...]
    size: int
    resize_method: Resampling
    max_pixels: int
    min_side: int | None = None
    max_aspect: float | None = None
    max_bytes: int | None = None

    def build(self) -> Preparation:
        limits = image_size_filter(
            min_side=self.min_side,
            max_aspect=self.max_aspect,
            max_pixels=self.max_pixels,
            max_bytes=self.max_bytes,
        )
        return Preparation(
            tasks=tuple(Task.parse(task) for task in self.tasks),
            size=self.size,
            resize_method=self.resize_method,
            max_pixels=self.max_pixels,
            screening=Screening(before=(limits,)),
        )


@dataclass(frozen=True)
class Preparation:
    """Turns records into examples or rows.

    size: side of the model's square input, in pixels. max_pixels: what is decoded at the most.
    """

    tasks: tuple[Task, ...]
    size: int
    resize_method: Resampling
    max_pixels: int
    screening: Screening = Screening()

    def run(self, records: Iterable[Record], executor: Executor) -> Iterator[Example | Row]:
        """One result for each record, in their order; pictures are decoded by `executor`."""
        for chunk in chunks(records):
            yield from self._chunk(chunk, executor)

    def _chunk(self, records: Sequence[Record], executor: Executor) -> Iterator[Example | Row]:
        steps: tuple[Callable[[list[Any]], Iterable[Any]], ...] = (
            lambda inputs: map(self._look, inputs),
            lambda candidates: screen(candidates, self.screening.before),
            lambda candidates: executor.map(self._decode, candidates),
            lambda candidates: screen(candidates, self.screening.after),
            lambda candidates: map(self._example, candidates),
        )
        done: list[Any] = list(records)
        for step in steps:
            done = _step(step, done)
        yield from done

    def _look(self, record: Record) -> _Candidate | Row:
        """What the bytes say of themselves, before anything is decoded."""
        if record.error is not None:
            return failed_row(record, record.error)
        if record.duplicate_of is not None:
            return _duplicate(record, record.duplicate_of)
        assert record.encoded is not None
        image = {
            "sha256": hashlib.sha256(record.encoded).hexdigest(),
            "bytes": len(record.encoded),
        }
        try:
            info = probe(record.encoded)
        except ImageError as error:
            return failed_row(record, RecordError("decode", error.kind, str(error)), image)
        image |= {"format": info.format, "width": info.width, "height": info.height}
        return _Candidate(record, image, info)

    def _decode(self, candidate: _Candidate) -> _Candidate | Row:
        record = candidate.record
        assert record.encoded is not None
        try:
            _, pixels = decode(record.encoded, self.max_pixels, at_least=(self.size, self.size))
        except ImageError as error:
            return failed_row(
                record,
                RecordError("decode", error.kind, str(error)),
                candidate.image,
                decisions=candidate.decisions,
            )
        return replace(candidate, pixels=resize(pixels, self.size, self.resize_method))

    def _example(self, candidate: _Candidate) -> Example | Row:
        record = candidate.record
        fields = record_fields(record.metadata, record.text, record.language)
        try:
            prompts = tuple(
                Prompt(task.prompt(fields), task.prompt_language(fields)) for task in self.tasks
            )
        except PromptError as error:
            kind = "missing_field" if isinstance(error, MissingFieldError) else "bad_field"
            return failed_row(
                record,
                RecordError("prompt", kind, str(error)),
                candidate.image,
                decisions=candidate.decisions,
            )
        assert candidate.pixels is not None
        return Example(
            replace(record, encoded=None),
            candidate.image,
            candidate.pixels,
            prompts,
            candidate.decisions,
        )


def _duplicate(record: Record, first: str) -> Row:
    """The row of a record whose shard has its key already; `first` is the id of that record."""
    decision = Decision(
        filter="unique_key",
        subject="record",
        scorer="reader",
        version="1",
        verdict=Verdict.DROP,
        reason="duplicate_id",
        labels=(first,),
    )
    return row(record, Outcome.DUPLICATE, reason=decision.reason, decisions=[decision])


def _step(step: Callable[[list[Any]], Iterable[Any]], items: list[Any]) -> list[Any]:
    """Apply a step to those that are not rows yet, and put the results in their places."""
    results = iter(step([item for item in items if not isinstance(item, dict)]))
    return [item if isinstance(item, dict) else next(results) for item in items]


def screen(
    candidates: Sequence[_Candidate], filters: Sequence[Filter]
) -> Iterator[_Candidate | Row]:
    """Each candidate with the filters' decisions, or its row from the first that stops it."""
    current: list[Any] = list(candidates)
    for one in filters:

        def ask(items: list[_Candidate], one: Filter = one) -> Iterator[_Candidate | Row]:
            decisions = one.screen([item.item() for item in items]) if items else []
            for item, decision in zip(items, decisions, strict=True):
                yield _after(item, decision, one.fail_open)

        current = _step(ask, current)
    return iter(current)


def _after(candidate: _Candidate, decision: Decision, fail_open: bool) -> _Candidate | Row:
    decisions = (*candidate.decisions, decision)
    unanswered = decision.verdict in (Verdict.NO_VERDICT, Verdict.ERROR)
    if decision.verdict == Verdict.KEEP or (unanswered and fail_open):
        return replace(candidate, decisions=decisions)
    return row(
        candidate.record,
        Outcome.QUARANTINED if unanswered else Outcome.FILTERED,
        reason=decision.reason,
        image=candidate.image,
        decisions=decisions,
    )


def chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Runs of records of bounded number and bytes, in order."""
    chunk: list[Record] = []
    size = 0
    for record in records:
        chunk.append(record)
        size += len(record.encoded or b"")
        if len(chunk) == CHUNK_RECORDS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
