"""However a backend fails, each item gets one decision and none is kept unscreened."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from google.cloud import dlp_v2, language_v2, vision_v1
from grpc import StatusCode
from servers import grpc_service, http_service
from servers.cases import (
    HASTY,
    UNHURRIED,
    Case,
    dlp_case,
    moderate_text_case,
    perspective_case,
    safe_search_case,
)

from filters.contract import Verdict

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

GRPC_CASES = {"dlp": dlp_case, "moderate_text": moderate_text_case, "safe_search": safe_search_case}
EXPECTED = [Verdict.KEEP, Verdict.DROP, Verdict.KEEP, Verdict.KEEP]

# Messages of the other services, well-formed protobuf that means nothing here.
FOREIGN = [
    dlp_v2.InspectContentResponse.serialize(
        dlp_v2.InspectContentResponse(
            result={"findings": [{"info_type": {"name": "EMAIL_ADDRESS"}}]}
        )
    ),
    language_v2.ModerateTextResponse.serialize(
        language_v2.ModerateTextResponse(moderation_categories=[{"name": "Weather"}])
    ),
    vision_v1.BatchAnnotateImagesResponse.serialize(
        vision_v1.BatchAnnotateImagesResponse(responses=[{}] * 7)
    ),
]

HOPELESS: dict[str, tuple[grpc_service.Behaviour, str]] = {
    "unauthenticated": (grpc_service.fails(StatusCode.UNAUTHENTICATED), "unauthenticated"),
    "permission denied": (grpc_service.fails(StatusCode.PERMISSION_DENIED), "permission_denied"),
    "refused": (grpc_service.fails(StatusCode.INVALID_ARGUMENT), "invalid_argument"),
    "no such project": (grpc_service.fails(StatusCode.NOT_FOUND), "misconfigured"),
    "no such method": (grpc_service.fails(StatusCode.UNIMPLEMENTED), "misconfigured"),
    "throttled": (grpc_service.fails(StatusCode.RESOURCE_EXHAUSTED), "throttled"),
    "unavailable": (grpc_service.fails(StatusCode.UNAVAILABLE), "unavailable"),
    "internal": (grpc_service.fails(StatusCode.INTERNAL), "server_error"),
    "unknown": (grpc_service.fails(StatusCode.UNKNOWN), "server_error"),
    "not protobuf": (grpc_service.says(b"<html>captive portal</html>"), "server_error"),
    "truncated": (grpc_service.says(b"\x0a\xff\x01\x0a"), "server_error"),
    "empty": (grpc_service.says(b""), "bad_answer"),
}

PASSING = {
    "throttled": grpc_service.fails(StatusCode.RESOURCE_EXHAUSTED),
    "throttled, with a wait": grpc_service.fails(StatusCode.RESOURCE_EXHAUSTED, retry_after_s=3),
    "unavailable": grpc_service.fails(StatusCode.UNAVAILABLE),
    "internal": grpc_service.fails(StatusCode.INTERNAL),
}


@pytest.fixture(params=GRPC_CASES)
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    with GRPC_CASES[request.param]() as made:
        yield made


@pytest.fixture
def perspective() -> Iterator[Case]:
    with perspective_case() as made:
        yield made


def test_what_answers_is_believed(case: Case) -> None:
    decisions = case.screen()
    case.check_closed(decisions)
    assert [d.verdict for d in decisions] == EXPECTED


@pytest.mark.parametrize("way", HOPELESS)
def test_nothing_is_kept_of_what_a_grpc_server_won_t_answer(case: Case, way: str) -> None:
    behaviour, error = HOPELESS[way]
    case.service.always(behaviour)
    decisions = case.screen()
    case.check_closed(decisions)
    assert {d.verdict for d in decisions} == {Verdict.ERROR}
    assert {d.reason for d in decisions} == {f"{case.filter.name}:error:{error}"}


@pytest.mark.parametrize("answer", FOREIGN)
def test_another_service_s_answer_is_never_a_keep(case: Case, answer: bytes) -> None:
    case.service.always(grpc_service.says(answer))
    case.check_closed(case.screen())


@pytest.mark.parametrize("name", GRPC_CASES)
def test_nothing_is_kept_of_what_takes_too_long(name: str) -> None:
    with GRPC_CASES[name](pace=HASTY) as case:
        case.items = case.items[:1]
        case.service.always(grpc_service.hangs(60))
        (decision,) = case.screen()
        assert decision.verdict is Verdict.ERROR
        assert decision.reason == f"{case.filter.name}:error:timeout"
        assert case.time.slept == [1.0]


@pytest.mark.parametrize("name", GRPC_CASES)
def test_what_took_too_long_once_is_asked_again(name: str) -> None:
    with GRPC_CASES[name](pace=UNHURRIED) as case:
        case.service.then(grpc_service.hangs(60))
        assert [d.verdict for d in case.screen()] == EXPECTED
        assert case.time.slept == [1.0]


@pytest.mark.parametrize("way", PASSING)
def test_a_passing_failure_is_waited_for(case: Case, way: str) -> None:
    case.service.then(PASSING[way])
    decisions = case.screen()
    case.check_closed(decisions)
    assert [d.verdict for d in decisions] == EXPECTED
    assert case.time.slept == [3.0 if "wait" in way else 1.0]


@pytest.mark.parametrize("code", [c for c in StatusCode if c is not StatusCode.OK])
def test_no_status_is_taken_for_an_answer(case: Case, code: grpc.StatusCode) -> None:
    case.items = case.items[:1]
    case.service.always(grpc_service.fails(code))
    (decision,) = case.screen()
    assert decision.verdict is Verdict.ERROR


def test_a_connection_cut_midway_is_made_again(case: Case) -> None:
    assert case.proxy is not None
    case.proxy.cuts = 1
    decisions = case.screen()
    assert case.proxy.cut == 1
    assert [d.verdict for d in decisions] == EXPECTED


def test_a_connection_always_cut_keeps_nothing(case: Case) -> None:
    assert case.proxy is not None
    case.proxy.cuts = 1_000
    decisions = case.screen()
    assert case.proxy.cut > 1
    assert {d.verdict for d in decisions} == {Verdict.ERROR}


def test_nothing_is_kept_of_what_nobody_serves(case: Case) -> None:
    case.service.close()
    decisions = case.screen()
    case.check_closed(decisions)
    assert {d.verdict for d in decisions} == {Verdict.ERROR}


def _scored(value: object) -> http_service.Behaviour:
    names = ("TOXICITY", "IDENTITY_ATTACK", "INSULT", "THREAT", "PROFANITY")
    scores = {name: {"summaryScore": {"value": value}} for name in names}
    return http_service.says(200, {"attributeScores": scores})


KEY_INVALID = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]
HTTP_HOPELESS: dict[str, tuple[http_service.Behaviour, str]] = {
    "400": (http_service.fails(400), "invalid_argument"),
    "400, not JSON": (http_service.says(400, b"<html>"), "invalid_argument"),
    "400, odd details": (http_service.fails(400, ["odd", {"errorType": 7}]), "invalid_argument"),
    "400, wrong key": (http_service.fails(400, KEY_INVALID), "unauthenticated"),
    "401": (http_service.fails(401), "unauthenticated"),
    "403": (http_service.fails(403), "permission_denied"),
    "404": (http_service.fails(404), "misconfigured"),
    "redirect": (http_service.says(302, b"", Location="http://127.0.0.1:1/"), "misconfigured"),
    "no content": (http_service.says(204, b""), "misconfigured"),
    "429": (http_service.fails(429), "throttled"),
    "429 for an hour": (http_service.fails(429, Retry_After="3600"), "throttled"),
    "500": (http_service.fails(500), "server_error"),
    "503": (http_service.fails(503), "unavailable"),
    "not JSON": (http_service.says(200, b"<html>captive portal</html>"), "bad_answer"),
    "nested too deep": (http_service.says(200, b"[" * 100_000), "bad_answer"),
    "too large": (http_service.says(200, b" " * 1_100_000), "bad_answer"),
    "a list": (http_service.says(200, []), "bad_answer"),
    "no scores": (http_service.says(200, {"languages": ["en"]}), "bad_answer"),
    "one score": (
        http_service.says(200, {"attributeScores": {"TOXICITY": {"summaryScore": {"value": 0}}}}),
        "bad_answer",
    ),
    "a score as text": (_scored("0.1"), "bad_answer"),
    "a score as false": (_scored(False), "bad_answer"),
    "a score above 1": (_scored(7), "bad_answer"),
    "a score that is NaN": (_scored(float("nan")), "bad_answer"),
    "drops": (http_service.drops, "unavailable"),
    "drops midway": (http_service.drops_midway, "unavailable"),
}
HTTP_SLOW = {"hangs": http_service.hangs(3), "drips": http_service.drips(3)}


def test_perspective_believes_what_answers(perspective: Case) -> None:
    decisions = perspective.screen()
    perspective.check_closed(decisions)
    assert [d.verdict for d in decisions] == EXPECTED


@pytest.mark.parametrize("way", HTTP_HOPELESS)
def test_nothing_is_kept_of_what_an_http_server_won_t_answer(perspective: Case, way: str) -> None:
    behaviour, error = HTTP_HOPELESS[way]
    perspective.items = perspective.items[:2]
    perspective.service.always(behaviour)
    decisions = perspective.screen()
    perspective.check_closed(decisions)
    assert {d.reason for d in decisions} == {f"toxicity:error:{error}"}


@pytest.mark.parametrize("way", ["400", "400, wrong key", "401", "403", "not JSON"])
def test_what_can_t_pass_is_asked_once(perspective: Case, way: str) -> None:
    perspective.service.always(HTTP_HOPELESS[way][0])
    perspective.screen()
    assert len(perspective.service.requests) == len(perspective.items)


@pytest.mark.parametrize(
    ("behaviour", "waits"),
    [
        (http_service.fails(429), [1.0]),
        (http_service.fails(429, Retry_After="4"), [4.0]),
        (http_service.fails(500), [1.0]),
        (http_service.fails(503), [1.0]),
        (http_service.drops, [1.0]),
        (http_service.drops_midway, [1.0]),
    ],
)
def test_perspective_waits_for_a_passing_failure(
    perspective: Case, behaviour: http_service.Behaviour, waits: list[float]
) -> None:
    perspective.service.then(behaviour)
    decisions = perspective.screen()
    perspective.check_closed(decisions)
    assert [d.verdict for d in decisions] == EXPECTED
    assert perspective.time.slept == waits


@pytest.mark.parametrize("way", HTTP_SLOW)
def test_nothing_is_kept_of_what_takes_perspective_too_long(way: str) -> None:
    with perspective_case(pace=HASTY) as case:
        case.items = case.items[:1]
        case.service.always(HTTP_SLOW[way])
        (decision,) = case.screen()
        assert decision.reason == "toxicity:error:timeout"


@pytest.mark.parametrize("way", HTTP_SLOW)
def test_what_took_perspective_too_long_once_is_asked_again(way: str) -> None:
    with perspective_case(pace=UNHURRIED) as case:
        case.service.then(HTTP_SLOW[way])
        assert [d.verdict for d in case.screen()] == EXPECTED
        assert case.time.slept == [1.0]


def test_perspective_keeps_nothing_that_nobody_serves(perspective: Case) -> None:
    perspective.service.close()
    assert {d.verdict for d in perspective.screen()} == {Verdict.ERROR}
