"""Planted texts, pictures and keys turn up in no score, decision, exception or log."""

from __future__ import annotations

import io
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
from grpc import StatusCode
from servers import grpc_service, http_service
from servers.cases import (
    KEY,
    PACE,
    Case,
    dlp_case,
    images,
    moderate_text_case,
    perspective_case,
    safe_search_case,
    texts,
)
from servers.google_services import POISON

from filters.contract import BackendDown

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

MARK = "planted-mark-51c9"
TEXTS = (f"write to {MARK}@example.org", f"a {POISON} {MARK}", f"{MARK} and a dog")

STOPS = replace(PACE, min_calls=3, failed_share=0.0)
CASES: dict[str, Callable[..., AbstractContextManager[Case]]] = {
    "dlp": dlp_case,
    "moderate_text": moderate_text_case,
    "safe_search": safe_search_case,
    "perspective": perspective_case,
}
GRPC_WAYS: dict[str, grpc_service.Behaviour | None] = {
    "answers": None,
    "unauthenticated": grpc_service.fails(StatusCode.UNAUTHENTICATED),
    "refuses": grpc_service.fails(StatusCode.INVALID_ARGUMENT),
    "throttles": grpc_service.fails(StatusCode.RESOURCE_EXHAUSTED, retry_after_s=1),
    "breaks": grpc_service.fails(StatusCode.INTERNAL),
    "garbles": grpc_service.says(MARK.encode()),
}
HTTP_WAYS: dict[str, http_service.Behaviour | None] = {
    "answers": None,
    "unauthenticated": http_service.fails(401),
    "refuses": http_service.fails(400, [{"errorType": MARK, "reason": KEY}]),
    "throttles": http_service.fails(429, Retry_After="1"),
    "breaks": http_service.fails(500),
    "garbles": http_service.says(200, f"{MARK} {KEY}".encode()),
    "drops": http_service.drops_midway,
}


def _ways(name: str) -> dict[str, Any]:
    return HTTP_WAYS if name == "perspective" else GRPC_WAYS


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Everything logged at any level, the Google clients' request logs asked for as well."""
    monkeypatch.setenv("GOOGLE_SDK_PYTHON_LOGGING_SCOPE", "google")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Everything())
    loggers = [logging.getLogger(), logging.getLogger("google"), logging.getLogger("urllib3")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield stream
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Everything(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{super().format(record)} {vars(record)}"


def _all_of(error: BaseException) -> str:
    """What any reporter could show of an exception: its chain, also where it is suppressed.

    The clients' exceptions hold the request, so none may be in the chain.
    """
    assert type(error).__module__.startswith("filters.")
    shown = "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    for other in (error.__context__, error.__cause__):
        shown += _all_of(other) if other else ""
    return shown


def _plant(case: Case) -> None:
    if case.items[0].encoded:
        case.items = images(*(text.encode() for text in TEXTS))
    else:
        case.items = texts(*TEXTS)


def _check(shown: str) -> None:
    assert MARK not in shown
    assert KEY not in shown


@pytest.mark.parametrize(("name", "way"), [(name, way) for name in CASES for way in _ways(name)])
def test_no_planted_value_shows(
    name: str, way: str, log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    behaviour = _ways(name)[way]
    with CASES[name]() as case, warnings.catch_warnings(record=True) as warned:
        _plant(case)
        if behaviour is not None:
            case.service.always(behaviour)
        scores = case.filter.scorer.score(case.items)
        decisions = case.screen()
    assert len(scores) == len(decisions) == 3
    assert MARK in str(case.service.requests)
    _check(repr(scores) + repr(decisions) + repr(case.filter) + repr([str(w) for w in warned]))
    _check(log.getvalue())
    _check("".join(capfd.readouterr()))


@pytest.mark.parametrize(
    ("name", "way"), [(name, way) for name in CASES for way in _ways(name) if way != "answers"]
)
def test_no_planted_value_is_in_the_exception_that_stops_the_run(
    name: str, way: str, log: io.StringIO
) -> None:
    with CASES[name](pace=STOPS) as case:
        _plant(case)
        case.service.always(_ways(name)[way])
        with pytest.raises(BackendDown) as caught:
            [case.screen() for _ in range(3)]
    _check(_all_of(caught.value))
    _check(log.getvalue())


def test_the_log_of_this_test_sees_what_the_clients_log(log: io.StringIO) -> None:
    logging.getLogger("google.cloud.example").debug("payload", extra={"request": MARK})
    assert MARK in log.getvalue()
