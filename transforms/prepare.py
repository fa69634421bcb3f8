"""From a unit's records to pictures the model can take: read, screen, decode, screen, resize.

Plain Python over iterators; `transforms.steps` makes a Beam step of it. Each record leaves as
one `Example`, which goes to the model, or as one finished row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from filters.config import ScreeningConfig
from filters.contract import Decision, Item, Verdict
from filters.language import language_of
from filters.screening import REDACTED, AnyFilter, Redaction, Screening, redacted, strings
from model.preprocess import Resampling, resize
from model.tasks import MissingFieldError, Prompt, PromptError, Task
from transforms.answers import Answers, KnownAnswers, prompts_of
from transforms.images import ImageError, ImageInfo, decode, probe
from transforms.record import Record, RecordError
from transforms.row import Outcome, failed_row, row
from transforms.screens import screening_of

# Filters answer a batch at a time. A chunk is held in memory while it is screened, so both its
# records and its bytes are bounded.
CHUNK_RECORDS = 64
CHUNK_BYTES = 64 << 20
# The first one is small, and each may have twice as many as the last: nothing waits for a unit's
# first pictures longer than for a few.
FIRST_CHUNK = 8

# The longer side, in pixels, of what image filters are shown: twice what the largest of them uses.
VIEW_SIDE = 1024

# Text filters that also look at the strings in a record's metadata. The others judge how a caption
# is written, which says nothing of a file name or a tag.
METADATA_FILTERS = ("unsafe_text", "personal_information")

Row = dict[str, Any]


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
class PreparationSpec:
    """What a `Preparation` is made from on a worker, in plain values.

    tasks: prompts as the user wrote them. size: side of the model's square input, in pixels; None
    where there is no model and a record that passes is done. max_pixels: decoded at the most.
    known: what earlier runs answered, where that is taken over.
    """

    tasks: tuple[str, ...]
    size: int | None
    resize_method: Resampling
    max_pixels: int
    screening: ScreeningConfig = field(default_factory=ScreeningConfig)
    known: KnownAnswers | None = None

    def build(self) -> Preparation:
        return Preparation(
            tasks=tuple(Task.parse(task) for task in self.tasks),
            size=self.size,
            resize_method=self.resize_method,
            max_pixels=self.max_pixels,
            screening=screening_of(self.screening),
            known=self.known.load() if self.known else None,
        )


@dataclass(frozen=True)
class _Candidate:
    """A record between two steps of preparation.

    view: uint8[H,W,3] for image filters, at most VIEW_SIDE a side. clean: its text may be shown.
    """

    record: Record
    image: dict[str, Any]
    info: ImageInfo
    clean: bool
    decisions: tuple[Decision, ...] = ()
    view: np.ndarray | None = None
    pixels: np.ndarray | None = None

    def item(self, text: str | None = None) -> Item:
        record, info = self.record, self.info
        return Item(
            id=record.id,
            text=text,
            language=record.language,
            encoded=record.encoded,
            pixels=self.view,
            format=info.format,
            width=info.width,
            height=info.height,
        )


@dataclass(frozen=True)
class Preparation:
    """Turns records into examples or rows. See `PreparationSpec`."""

    tasks: tuple[Task, ...]
    size: int | None
    resize_method: Resampling
    max_pixels: int
    screening: Screening = field(default_factory=Screening)
    known: Answers | None = None

    def run(self, records: Iterable[Record], executor: Executor) -> Iterator[Example | Row]:
        """One result for each record, in their order; pictures are decoded by `executor`.

        Raises:
            BlocklistHit: a record is on the operator's list; its unit must not be gone on with.
            BackendDown: a filter's backend can't be used.
        """
        for chunk in chunks(records):
            yield from self._chunk(chunk, executor)

    def _chunk(self, records: Sequence[Record], executor: Executor) -> list[Example | Row]:
        screening = self.screening
        steps: list[Callable[[list[Any]], Iterable[Any]]] = [
            lambda inputs: map(self._look, inputs),
            *(self._asking(one, lambda c: c.item()) for one in screening.header),
            *(self._asking(one, _text_item(one.name)) for one in screening.text),
            lambda candidates: (replace(each, clean=True) for each in candidates),
            lambda candidates: executor.map(self._decode, candidates),
            *(self._asking(one, lambda c: c.item(c.record.text)) for one in screening.image),
            lambda candidates: map(self._finish, candidates),
        ]
        done: list[Any] = list(records)
        for step in steps:
            done = _step(step, done)
        return done

    def _look(self, record: Record) -> _Candidate | Row:
        """What the bytes say of themselves, before anything is decoded."""
        clean = not self.screening.text
        if record.error is not None:
            return failed_row(self._shown(record, clean), record.error)
        if record.duplicate_of is not None:
            return _duplicate(self._shown(record, clean), record.duplicate_of)
        assert record.encoded is not None
        if self.screening.blocklist is not None:
            self.screening.blocklist.check_file(Item(record.id, encoded=record.encoded))
        image = {
            "sha256": hashlib.sha256(record.encoded).hexdigest(),
            "bytes": len(record.encoded),
        }
        try:
            info = probe(record.encoded)
        except ImageError as error:
            described = RecordError("decode", error.kind, str(error))
            return failed_row(self._shown(record, clean), described, image)
        image |= {"format": info.format, "width": info.width, "height": info.height}
        return _Candidate(record, image, info, clean)

    def _shown(self, record: Record, clean: bool) -> Record:
        """The record as its row may show it: text that nobody found harmless is withheld."""
        if clean or not self.screening.withhold:
            return record
        return replace(record, text=None, metadata={})

    def _asking(
        self, one: AnyFilter, item: Callable[[_Candidate], Item | None]
    ) -> Callable[[list[_Candidate]], Iterator[_Candidate | Row]]:
        """A step that asks a filter about the candidates for which there is an item."""

        def ask(candidates: list[_Candidate]) -> Iterator[_Candidate | Row]:
            items = [item(candidate) for candidate in candidates]
            decisions = iter(one.screen(asked) if (asked := [i for i in items if i]) else [])
            for candidate, about in zip(candidates, items, strict=True):
                yield candidate if about is None else self._after(candidate, next(decisions), one)

        return ask

    def _after(self, candidate: _Candidate, decision: Decision, one: AnyFilter) -> _Candidate | Row:
        decisions = (*candidate.decisions, decision)
        unanswered = decision.verdict in (Verdict.NO_VERDICT, Verdict.ERROR)
        if decision.verdict is Verdict.KEEP or (unanswered and one.fail_open):
            kept = replace(candidate, decisions=decisions)
            return self._blacked_out(kept, one) if isinstance(one, Redaction) else kept
        return row(
            self._shown(candidate.record, candidate.clean),
            Outcome.QUARANTINED if unanswered else Outcome.FILTERED,
            reason=decision.reason,
            image=candidate.image,
            decisions=decisions,
        )

    def _blacked_out(self, candidate: _Candidate, one: Redaction) -> _Candidate | Row:
        """The candidate without what was found in its text; a row if not all of it would go."""
        if candidate.decisions[-1].reason != REDACTED:
            return candidate
        about = _text_item(one.name)
        found = about(candidate)
        assert found is not None
        clean = replace(candidate, record=_redacted(candidate.record, language_of(found)))
        remainder = one.remainder(about(clean))
        if remainder is None:
            return clean
        return row(
            replace(candidate.record, text=None, metadata={}),
            Outcome.FILTERED,
            reason=remainder.reason,
            image=candidate.image,
            decisions=(*candidate.decisions[:-1], remainder),
        )

    def _decode(self, candidate: _Candidate) -> _Candidate | Row:
        record = candidate.record
        assert record.encoded is not None
        needed = max(self.size or 1, VIEW_SIDE if self.screening.needs_pixels else 1)
        try:
            _, pixels = decode(record.encoded, self.max_pixels, at_least=(needed, needed))
        except ImageError as error:
            return self._failed(candidate, RecordError("decode", error.kind, str(error)))
        view = _view(pixels) if self.screening.needs_pixels else None
        if self.screening.blocklist is not None:
            self.screening.blocklist.check_pixels(Item(record.id, pixels=view))
        resized = None if self.size is None else resize(pixels, self.size, self.resize_method)
        return replace(candidate, view=view, pixels=resized)

    def _finish(self, candidate: _Candidate) -> Example | Row:
        record = replace(candidate.record, encoded=None)
        if candidate.pixels is None:
            return row(record, Outcome.KEPT, image=candidate.image, decisions=candidate.decisions)
        try:
            prompts = prompts_of(self.tasks, record.metadata, record.text, record.language)
        except PromptError as error:
            kind = "missing_field" if isinstance(error, MissingFieldError) else "bad_field"
            return self._failed(candidate, RecordError("prompt", kind, str(error)))
        example = Example(record, candidate.image, candidate.pixels, prompts, candidate.decisions)
        return (self.known and self.known.row(example)) or example

    def _failed(self, candidate: _Candidate, error: RecordError) -> Row:
        shown = self._shown(candidate.record, candidate.clean)
        return failed_row(shown, error, candidate.image, decisions=candidate.decisions)


def _text_item(filter_name: str) -> Callable[[_Candidate], Item | None]:
    """What a text filter is shown of a candidate; None where there is no text to judge."""

    def item(candidate: _Candidate) -> Item | None:
        record = candidate.record
        texts = [record.text] if record.text else []
        if filter_name in METADATA_FILTERS:
            texts += strings(record.metadata)
        joined = "\n".join(text for text in texts if text.strip())
        return candidate.item(joined) if joined else None

    return item


def _redacted(record: Record, language: str) -> Record:
    """The record with personal information blacked out of its text and metadata."""
    return replace(
        record,
        text=redacted(record.text, language),
        metadata=redacted(record.metadata, language),
    )


def _view(pixels: np.ndarray) -> np.ndarray:
    """The picture, made smaller where a side is longer than VIEW_SIDE."""
    if max(pixels.shape[:2]) <= VIEW_SIDE:
        return pixels
    image = Image.fromarray(pixels)
    image.thumbnail((VIEW_SIDE, VIEW_SIDE), Image.Resampling.BOX)
    return np.asarray(image)


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


def chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Runs of records of bounded number and bytes, in order, short ones first."""
    chunk: list[Record] = []
    size, most = 0, FIRST_CHUNK
    for record in records:
        chunk.append(record)
        size += len(record.encoded or b"")
        if len(chunk) == most or size >= CHUNK_BYTES:
            yield chunk
            chunk, size, most = [], 0, min(2 * most, CHUNK_RECORDS)
    if chunk:
        yield chunk
