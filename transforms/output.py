"""Rows from what the model wrote, once the text filters have looked at it too."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from filters.contract import Decision, Item, Verdict
from filters.language import language_of
from filters.screening import REDACTED, AnyFilter, Redaction, redacted
from transforms.prepare import Example
from transforms.record import RecordError
from transforms.row import Outcome, annotation_values, failed_row, row

if TYPE_CHECKING:
    from model.annotator import Annotation

Answers = tuple["Annotation", ...] | RecordError

_SPECIAL_PIECE = re.compile(r"<(?:loc|seg)[0-9]+>")


def screened_rows(
    examples: Sequence[Example], answers: Sequence[Answers], filters: Sequence[AnyFilter]
) -> list[dict[str, Any]]:
    """A row for each example; an answer that a filter doesn't let pass is not in its row.

    Raises:
        BackendDown: a filter's backend can't be used.
    """
    current: list[Any] = list(zip(examples, answers, strict=True))
    rows: list[dict[str, Any] | None] = [
        failed_row(example.record, answer, example.image, decisions=example.decisions)
        if isinstance(answer, RecordError)
        else None
        for example, answer in current
    ]
    for one in filters:
        waiting = [place for place, finished in enumerate(rows) if finished is None]
        for place, changed in zip(
            waiting, _ask(one, [current[place] for place in waiting]), strict=True
        ):
            if isinstance(changed, dict):
                rows[place] = changed
            else:
                current[place] = changed
    return [finished or _kept(*pair) for finished, pair in zip(rows, current, strict=True)]


def _ask(
    one: AnyFilter, pairs: Sequence[tuple[Example, tuple[Annotation, ...]]]
) -> list[tuple[Example, tuple[Annotation, ...]] | dict[str, Any]]:
    """Each pair as the filter leaves it, or the row of one that it stops."""
    items = [
        (place, number, item)
        for place, (example, annotations) in enumerate(pairs)
        for number, annotation in enumerate(annotations)
        if (item := _item(example, annotation)) is not None
    ]
    decisions = one.screen([item for _, _, item in items]) if items else []
    results: list[Any] = list(pairs)
    for (place, number, _), decision in zip(items, decisions, strict=True):
        if not isinstance(results[place], dict):
            results[place] = _after(results[place], number, decision, one)
    return results


def _item(example: Example, annotation: Annotation) -> Item | None:
    """What is judged of an answer: its words, those of boxes' labels included."""
    text = _words(annotation.raw)
    if not text:
        return None
    return Item(example.record.id, text=text, language=annotation.prompt.language)


def _after(
    pair: tuple[Example, tuple[Annotation, ...]], number: int, decision: Decision, one: AnyFilter
) -> tuple[Example, tuple[Annotation, ...]] | dict[str, Any]:
    example, annotations = pair
    if decision.reason == REDACTED and isinstance(one, Redaction):
        blacked_out = _redacted(example, annotations[number])
        annotations = (*annotations[:number], blacked_out, *annotations[number + 1 :])
        # What can't be blacked out whole is not let pass.
        decision = one.remainder(_item(example, blacked_out)) or decision
    example = replace(example, decisions=(*example.decisions, decision))
    unanswered = decision.verdict in (Verdict.NO_VERDICT, Verdict.ERROR)
    if decision.verdict is Verdict.KEEP or (unanswered and one.fail_open):
        return example, annotations
    return row(
        example.record,
        Outcome.QUARANTINED if unanswered else Outcome.FILTERED,
        reason=decision.reason,
        image=example.image,
        decisions=example.decisions,
    )


def _redacted(example: Example, annotation: Annotation) -> Annotation:
    found = _item(example, annotation)
    assert found is not None
    language = language_of(found)
    raw = redacted(annotation.raw, language)
    words = _words(raw)
    # Found across location pieces or labels: these have to go for it to go.
    across = redacted(words, language) != words

    def label(text: str) -> str:
        return "" if across else redacted(text, language)

    return replace(
        annotation,
        text=redacted(_words(annotation.text), language),
        raw=redacted(words, language) if across else raw,
        boxes=tuple(replace(box, label=label(box.label)) for box in annotation.boxes),
        masks=tuple(replace(mask, label=label(mask.label)) for mask in annotation.masks),
    )


def _words(raw: str) -> str:
    """What the model wrote, without location and mask pieces."""
    return _SPECIAL_PIECE.sub(" ", raw).strip()


def _kept(example: Example, annotations: tuple[Annotation, ...]) -> dict[str, Any]:
    return row(
        example.record,
        Outcome.KEPT,
        image=example.image,
        decisions=example.decisions,
        annotations=[annotation_values(each) for each in annotations],
    )
