"""The filters of a run, in the order in which they look at a record.

Cheap first: the operator's blocklist, the header, the text, the picture; and what the model wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from filters.blocklist import Blocklist
from filters.contract import Decision, Filter, Item, Verdict
from filters.personal import redact

REDACTED = "redacted"


@dataclass(frozen=True)
class Redaction:
    """A policy's drop for personal information turned into blacking it out.

    The wrapped filter finds it; a record is kept, and its text changed, where it would be dropped.
    """

    filter: Filter

    @property
    def name(self) -> str:
        return self.filter.name

    @property
    def fail_open(self) -> bool:
        return self.filter.fail_open

    def screen(self, items: Sequence[Item]) -> list[Decision]:
        """As the filter decides, with KEEP and the reason `redacted` in place of DROP."""
        return [_redacting(decision) for decision in self.filter.screen(items)]

    def remainder(self, item: Item | None) -> Decision | None:
        """What the filter says of an item that was blacked out, where that still isn't KEEP."""
        decision = self.filter.screen([item])[0] if item else None
        return None if decision is None or decision.verdict is Verdict.KEEP else decision

    def redecide(self, stored: Decision) -> Decision:
        """As `Filter.redecide`, likewise."""
        return _redacting(self.filter.redecide(stored))


def _redacting(decision: Decision) -> Decision:
    if decision.verdict is not Verdict.DROP:
        return decision
    return replace(decision, verdict=Verdict.KEEP, reason=REDACTED)


AnyFilter = Filter | Redaction


@dataclass(frozen=True)
class Screening:
    """All that looks at a record on its way.

    header: before the picture is decoded. text: at the text that came with it. image: at pixels.
    output: at what the model wrote. blocklist: raises BlocklistHit.
    withhold: a row's text and metadata are left out unless every text filter let them pass.
    """

    blocklist: Blocklist | None = None
    header: tuple[AnyFilter, ...] = ()
    text: tuple[AnyFilter, ...] = ()
    image: tuple[AnyFilter, ...] = ()
    output: tuple[AnyFilter, ...] = ()
    withhold: bool = True

    @property
    def needs_pixels(self) -> bool:
        """Whether a larger picture than the model's has to be kept for a while."""
        return bool(self.image) or self.blocklist is not None


def strings(value: Any) -> list[str]:
    """Every text in nested metadata, names left out; encoded bytes (`{"base64": …}`) too."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        if set(value) == {"base64"}:
            return []
        return [text for each in value.values() for text in strings(each)]
    if isinstance(value, list | tuple):
        return [text for each in value for text in strings(each)]
    return []


def redacted(value: Any, language: str | None) -> Any:
    """The same nested value with personal information blacked out in every text."""
    if isinstance(value, str):
        return redact(value, language or "und")[0]
    if isinstance(value, Mapping):
        if set(value) == {"base64"}:
            return value
        return {name: redacted(each, language) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(each, language) for each in value]
    return value
