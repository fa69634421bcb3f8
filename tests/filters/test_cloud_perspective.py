"""Perspective is asked as it documents, in the languages it reads, and until the end of 2026."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.cases import KEY, Case, perspective_case, texts
from servers.google_services import BAD, POISON

from filters.cloud import perspective
from filters.cloud.failures import CallError, Failure
from filters.cloud.perspective import (
    LANGUAGES,
    Perspective,
    perspective_filter,
    perspective_language,
    today,
)
from filters.contract import BackendDown, Item, Verdict

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
BEFORE, LAST, AFTER = date(2026, 6, 1), date(2026, 12, 31), date(2027, 1, 1)


@pytest.fixture
def case() -> Iterator[Case]:
    with perspective_case() as made:
        yield made


def test_the_request_is_the_documented_one_and_the_key_is_in_no_address(case: Case) -> None:
    case.items = [Item("1", text="a dog", language="de-AT")]
    case.screen()
    ((path, headers, body),) = case.service.requests
    assert path == "/v1alpha1/comments:analyze"
    assert headers["X-Goog-Api-Key"] == KEY
    assert body == {
        "comment": {"text": "a dog"},
        "languages": ["de"],
        "requestedAttributes": {
            name: {} for name in ("TOXICITY", "IDENTITY_ATTACK", "INSULT", "THREAT", "PROFANITY")
        },
        "doNotStore": True,
        "spanAnnotations": False,
    }


def test_every_score_is_in_the_ledger_and_the_card_s_threshold_decides(case: Case) -> None:
    kept, dropped, *_ = case.screen()
    assert kept.scores == dict.fromkeys(
        ("toxicity", "identity_attack", "insult", "threat", "profanity"), 0.1
    )
    assert (dropped.verdict, dropped.reason) == (Verdict.DROP, "toxicity")
    assert (dropped.score, dropped.threshold) == (0.9, 0.8)


@pytest.mark.parametrize("language", [None, "und", "tr", "", "x-private"])
def test_a_language_it_can_t_read_gets_no_verdict_and_no_call(
    case: Case, language: str | None
) -> None:
    case.items = [Item("1", text=f"a {BAD}", language=language)]
    (decision,) = case.screen()
    assert decision.verdict is Verdict.NO_VERDICT
    assert decision.reason == "toxicity:no_verdict:language"
    assert case.service.requests == []


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("en", "en"),
        ("EN-us", "en"),
        ("pt_BR", "pt"),
        ("zh-Hant-TW", "zh"),
        ("hi", "hi"),
        ("hi-Latn-IN", "hi-Latn"),
        ("en-Latn", "en"),
        ("eng", None),
        (None, None),
    ],
)
def test_tags_find_their_language(tag: str | None, language: str | None) -> None:
    assert perspective_language(tag) == language


def test_the_languages_are_the_documented_eighteen() -> None:
    assert len(set(LANGUAGES)) == 18
    assert all(perspective_language(language) == language for language in LANGUAGES)


def test_what_the_service_says_of_a_text_is_no_verdict(case: Case) -> None:
    # The server of the test reads fewer languages than the scorer believes.
    case.items = [Item("1", text="un chien", language="fr"), Item("2", text="a dog", language="en")]
    no_verdict, kept = case.screen()
    assert no_verdict.reason == "toxicity:no_verdict:language"
    assert kept.verdict is Verdict.KEEP
    assert len(case.service.requests) == 2


def test_length_is_counted_in_bytes(case: Case) -> None:
    case.items = texts("é" * 10_240, "é" * 10_240 + "!")
    kept, too_long = case.screen()
    assert kept.verdict is Verdict.KEEP
    assert too_long.reason == "toxicity:no_verdict:text_too_long"
    assert len(case.service.requests) == 1


def test_a_refused_text_costs_itself(case: Case) -> None:
    case.items = texts("a dog", f"a {POISON} apple", "a car")
    assert [d.verdict for d in case.screen()] == [Verdict.KEEP, Verdict.ERROR, Verdict.KEEP]


def test_one_text_a_second_is_asked_unless_more_is_said() -> None:
    with perspective_case(pace=Perspective.pace) as case:
        case.screen()
        assert case.time.seconds == pytest.approx(3)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["attributeScores", "TOXICITY", "summaryScore", "value"])
            | st.sampled_from(["error", "details", "errorType", "reason", "@type"]),
            inner,
            max_size=4,
        )
    ),
)


def outcome(call: Callable[[], Any]) -> Any:
    """What `call` returns, or its failure."""
    try:
        return call()
    except CallError as failed:
        return failed.failure


@given(answer=JSON)
def test_whatever_json_answers_there_is_a_score_or_a_failure(answer: object) -> None:
    found = outcome(lambda: perspective._value(answer, "TOXICITY"))
    assert found is Failure.BAD_ANSWER or 0 <= found <= 1


@given(detail=JSON)
def test_whatever_json_refuses_there_is_no_verdict_or_a_failure(detail: object) -> None:
    found = outcome(lambda: perspective._refusal(detail))
    assert found in (Failure.REFUSED, Failure.UNAUTHENTICATED) or found.missing


# --- its end


def test_before_its_end_it_works_and_warns() -> None:
    with (
        pytest.warns(FutureWarning, match="ends on 2026-12-31, and nothing takes its place"),
        perspective_case(today=lambda: BEFORE) as case,
    ):
        assert case.screen()[0].verdict is Verdict.KEEP


def test_on_its_last_day_it_works() -> None:
    with perspective_case(today=lambda: LAST) as case:
        assert case.screen()[0].verdict is Verdict.KEEP


def test_after_its_end_it_is_refused_with_the_reason_and_what_to_use() -> None:
    with pytest.raises(ValueError, match="ended the Perspective API on 2026-12-31") as caught:
        Perspective(today=lambda: AFTER)
    assert "moderate_text" in str(caught.value)
    assert "thresholds anew" in str(caught.value)


def test_a_run_that_goes_on_past_its_end_stops() -> None:
    days = [LAST]
    with perspective_case(today=lambda: days[-1]) as case:
        case.screen()
        days.append(AFTER)
        with pytest.raises(BackendDown, match=r"^filter toxicity: Google ended the Perspective"):
            case.screen()
        assert len(case.service.requests) == len(case.items)


def test_the_day_is_the_world_s() -> None:
    assert abs((today() - date.today()).days) <= 1


# --- its key


def test_a_key_may_lie_in_a_file(case: Case, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    with perspective_case(key_from=f"file:{tmp_path / 'key'}") as other:
        assert other.screen()[0].verdict is Verdict.KEEP


@pytest.mark.parametrize(
    "key_from", ["env:NO_SUCH_VARIABLE", "file:/no/such/file", "env:", "file:."]
)
def test_a_key_that_isn_t_there_stops_the_run_and_names_the_place(key_from: str) -> None:
    with (
        perspective_case(key_from=key_from) as case,
        pytest.raises(BackendDown, match=f"no API key in {key_from}; put one there"),
    ):
        case.screen()


def test_a_key_with_a_line_break_inside_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\nX-Other: {KEY}")
    with (
        perspective_case(key_from=f"file:{tmp_path / 'key'}") as case,
        pytest.raises(BackendDown, match="no API key") as caught,
    ):
        case.screen()
    assert KEY not in str(caught.value)


def test_a_key_among_the_options_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="names a place") as caught:
        Perspective(key_from=KEY, today=lambda: BEFORE)
    assert KEY not in str(caught.value)


def test_a_scorer_that_was_used_travels_without_its_key(case: Case) -> None:
    used = Perspective(endpoint=case.service.url, today=today)
    used.score(case.items[:1])
    sent = pickle.dumps(perspective_filter(used))
    assert KEY.encode() not in sent
    arrived = pickle.loads(sent)
    assert arrived.scorer == used
    assert arrived.screen(case.items[:1])[0].verdict is Verdict.KEEP


# --- its options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"endpoint": "http://example.org"}, "must begin with https://"),
        ({"endpoint": "ftp://127.0.0.1"}, "must begin with https://"),
        ({"attributes": ()}, "there are"),
        ({"attributes": ("toxicity", "rudeness")}, r"no attribute \['rudeness'\]"),
    ],
)
def test_options_that_can_t_work_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Perspective(today=lambda: BEFORE, **options)  # type: ignore[arg-type]


def test_a_threshold_for_what_isn_t_scored_is_refused() -> None:
    scorer = Perspective(attributes=("toxicity",), today=lambda: BEFORE)
    with pytest.raises(ValueError, match=r"\['insult'\] has a threshold"):
        perspective_filter(scorer, {"insult": 0.5})
