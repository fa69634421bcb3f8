"""What the scorers of the cloud share: options that travel, and items that need no call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, TypeVar

from filters.cloud.calls import Backend, Once
from filters.cloud.pacing import Clock, Pace
from filters.contract import Item, Scores

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class CloudScorer:
    """A scorer that asks a remote service; it pickles as its options.

    Client, locks and counters are made again where it arrives: a copy has a pace of its own, so a
    process holds one scorer and lets its threads share it.
    """

    pace: Pace
    clock: Clock = field(default_factory=Clock)
    _backend: Backend = field(init=False, repr=False, compare=False)
    _client: Once[Any] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check()
        backend = Backend(self._service, self._access, self.pace, self.clock)
        object.__setattr__(self, "_backend", backend)
        object.__setattr__(self, "_client", Once(self._make_client))

    def __reduce__(self) -> tuple[Any, ...]:
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return partial(type(self), **options), ()

    def _check(self) -> None:
        """Raises ValueError for options that can't work."""

    @property
    def _service(self) -> str:
        raise NotImplementedError

    @property
    def _access(self) -> str:
        """What it takes to be let in: role, API, key."""
        raise NotImplementedError

    def _make_client(self) -> Any:
        raise NotImplementedError


def score_askable(
    items: Sequence[Item],
    unaskable: Callable[[Item], str | None],
    ask: Callable[[list[Item]], list[Scores]],
) -> list[Scores]:
    """One Scores for each item, in order: why it has no answer, or what `ask` says of the rest."""
    reasons = [unaskable(item) for item in items]
    askable = [item for item, reason in zip(items, reasons, strict=True) if reason is None]
    answers = iter(ask(askable) if askable else ())
    return [next(answers) if why is None else Scores(missing=why) for why in reasons]


def chunks(
    items: Sequence[T], size: Callable[[T], int], most_bytes: int, most: int
) -> Iterator[list[T]]:
    """Runs of items, each of at most `most` items and `most_bytes` in all.

    An item that is larger alone makes a run of its own.
    """
    chunk: list[T] = []
    filled = 0
    for item in items:
        if chunk and (len(chunk) == most or filled + size(item) > most_bytes):
            yield chunk
            chunk, filled = [], 0
        chunk.append(item)
        filled += size(item)
    if chunk:
        yield chunk


def text_problem(item: Item, most_bytes: int) -> str | None:
    """Why an item's text can't be asked about, or None."""
    if item.text is None or not item.text.strip():
        return "no_text"
    try:
        too_long = len(item.text.encode()) > most_bytes
    except UnicodeEncodeError:  # half a surrogate pair: no protocol carries it
        return "text_not_unicode"
    return "text_too_long" if too_long else None
