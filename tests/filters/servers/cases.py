"""Each cloud filter with a server of its own, a clock that needn't be waited for, and its items."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from unittest import mock

from servers.google_services import BAD, Dlp, Language, PerspectiveApi, Vision
from servers.grpc_service import CuttingProxy

from filters.cloud.dlp import CloudDlp, dlp_filter
from filters.cloud.moderate_text import ModerateText, moderate_text_filter
from filters.cloud.pacing import Clock, Pace, Retry
from filters.cloud.perspective import Perspective, perspective_filter
from filters.cloud.safe_search import SafeSearch, safe_search_filter
from filters.contract import Decision, Filter, Item, Verdict

KEY = "AIza-planted-key-7f3a"


class FakeTime:
    """Seconds that pass by sleeping only, and chance that always waits longest."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.seconds, sleep=self.sleep, uniform=lambda: 1.0)


# An attempt takes real time, waiting between attempts doesn't: delays of 1 and 2, then the end.
PACE = Pace(
    per_second=1e6,
    burst=100,
    retry=Retry(attempt_s=30, deadline_s=5),
    min_calls=10_000,
    open_after=100,
)
# For servers that don't answer: one delay of 1.
HASTY = replace(PACE, retry=Retry(attempt_s=0.5, deadline_s=1.5))
# For servers that answer at the second attempt, on a busy machine too.
UNHURRIED = replace(PACE, retry=Retry(attempt_s=1.5, deadline_s=5))


@dataclass
class Case:
    """A filter, its server, and what it is asked."""

    filter: Filter
    service: Any
    items: list[Item]
    time: FakeTime
    proxy: CuttingProxy | None = None

    def screen(self) -> list[Decision]:
        return self.filter.screen(self.items)

    def check_closed(self, decisions: list[Decision]) -> None:
        """One decision for each item, and none kept that the server didn't answer for."""
        assert len(decisions) == len(self.items)
        for item, decision in zip(self.items, decisions, strict=True):
            answered = (item.encoded or item.text) in self.service.answered
            assert answered or decision.verdict in (Verdict.ERROR, Verdict.NO_VERDICT)


def texts(*values: str) -> list[Item]:
    return [Item(str(n), text=value, language="en") for n, value in enumerate(values)]


def images(*values: bytes) -> list[Item]:
    return [Item(str(n), encoded=value) for n, value in enumerate(values)]


@contextmanager
def dlp_case(pace: Pace = PACE, most_findings: int = 3000, **options: Any) -> Iterator[Case]:
    service = Dlp(most_findings)
    proxy, time = CuttingProxy(service.address), FakeTime()
    options = {"endpoint": proxy.address, "location": "europe-west4", **options}
    scorer = CloudDlp(project="p", pace=pace, clock=time.clock, **options)
    items = texts("a dog on grass", "write to ann@example.org", "a red car", "two boats")
    try:
        yield Case(dlp_filter(scorer), service, items, time, proxy)
    finally:
        proxy.close()
        service.close()


@contextmanager
def moderate_text_case(pace: Pace = PACE, **options: Any) -> Iterator[Case]:
    service = Language()
    proxy, time = CuttingProxy(service.address), FakeTime()
    options = {"endpoint": proxy.address, "location": "eu", **options}
    scorer = ModerateText(pace=pace, clock=time.clock, **options)
    items = texts("a dog on grass", f"a {BAD}", "a red car", "two boats")
    try:
        yield Case(moderate_text_filter(scorer), service, items, time, proxy)
    finally:
        proxy.close()
        service.close()


@contextmanager
def safe_search_case(pace: Pace = PACE, **options: Any) -> Iterator[Case]:
    service = Vision()
    proxy, time = CuttingProxy(service.address), FakeTime()
    options = {"endpoint": proxy.address, "location": "eu", **options}
    pace = replace(pace, counts_items=True)
    scorer = SafeSearch(project="p", pace=pace, clock=time.clock, **options)
    items = images(b"\xff\xd8 dog", f"\xff\xd8 {BAD}".encode("latin-1"), b"\xff\xd8 car", b"boats")
    try:
        yield Case(safe_search_filter(scorer), service, items, time, proxy)
    finally:
        proxy.close()
        service.close()


@contextmanager
def perspective_case(
    pace: Pace = PACE, today: Callable[[], date] = lambda: date(2026, 12, 31), **options: Any
) -> Iterator[Case]:
    service = PerspectiveApi(KEY)
    time = FakeTime()
    options = {"endpoint": service.url, **options}
    try:
        with mock.patch.dict(os.environ, PERSPECTIVE_API_KEY=KEY):
            scorer = Perspective(pace=pace, clock=time.clock, today=today, **options)
            items = texts("a dog on grass", f"a {BAD}", "a red car", "two boats")
            yield Case(perspective_filter(scorer), service, items, time)
    finally:
        service.close()
