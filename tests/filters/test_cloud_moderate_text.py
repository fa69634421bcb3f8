"""moderate_text scores its categories in the place asked for, or gives no verdict."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest
from google.cloud import language_v2
from servers import grpc_service
from servers.cases import Case, moderate_text_case, texts
from servers.google_services import BAD, POISON

from filters.cloud.moderate_text import (
    CATEGORIES,
    MAX_BYTES,
    TOXIC_THRESHOLDS,
    ModerateText,
    moderate_text_filter,
)
from filters.contract import Item, Verdict


@pytest.fixture
def case() -> Iterator[Case]:
    with moderate_text_case() as made:
        yield made


def test_a_text_is_sent_as_plain_text_with_its_language_and_the_model_s_version(case: Case) -> None:
    case.items = [Item("1", text="ein Hund", language="de"), Item("2", text="?", language="und")]
    case.screen()
    known, unknown = case.service.requests
    assert known.document.type_ is language_v2.Document.Type.PLAIN_TEXT
    assert (known.document.content, known.document.language_code) == ("ein Hund", "de")
    assert known.model_version is language_v2.ModerateTextRequest.ModelVersion.MODEL_VERSION_1
    assert unknown.document.language_code == ""


def test_every_category_is_in_the_ledger_and_the_thresholds_decide(case: Case) -> None:
    kept, dropped, *_ = case.screen()
    assert set(kept.scores) == set(CATEGORIES)
    assert (dropped.verdict, dropped.reason, dropped.threshold) == (Verdict.DROP, "sexual", 0.8)


def test_the_same_scorer_serves_toxicity(case: Case) -> None:
    scorer = case.filter.scorer
    assert isinstance(scorer, ModerateText)
    toxicity = moderate_text_filter(scorer, TOXIC_THRESHOLDS, name="toxicity")
    (decision,) = toxicity.screen(texts(f"a {BAD}"))
    assert (decision.filter, decision.reason) == ("toxicity", "toxic")


def test_a_language_without_support_gets_no_verdict(case: Case) -> None:
    case.items = [Item("1", text="Qapla'", language="tlh")]
    (decision,) = case.screen()
    assert decision.reason == "unsafe_text:no_verdict:language"


@pytest.mark.parametrize(
    ("categories", "reason"),
    [
        ([], "unsafe_text:error:bad_answer"),
        ([{"name": "Weather", "confidence": 0.1}], "unsafe_text:error:bad_answer"),
        ([{"name": "Sexual", "confidence": 1.5}], "unsafe_text:error:bad_answer"),
        ([{"name": "Sexual", "confidence": float("nan")}], "unsafe_text:error:bad_answer"),
        ([{"name": "Toxic", "confidence": 0.1}], "sexual_unknown"),
    ],
)
def test_a_category_that_isn_t_scored_is_never_taken_for_0(
    case: Case, categories: list[dict[str, object]], reason: str
) -> None:
    case.service.always(
        grpc_service.says(
            language_v2.ModerateTextResponse(
                moderation_categories=categories, language_code="en", language_supported=True
            )
        )
    )
    decisions = case.screen()
    assert {d.reason for d in decisions} == {reason}
    assert Verdict.KEEP not in {d.verdict for d in decisions}


def test_a_refused_text_costs_itself(case: Case) -> None:
    case.items = texts("a dog", f"a {POISON} apple", "a car")
    assert [d.verdict for d in case.screen()] == [Verdict.KEEP, Verdict.ERROR, Verdict.KEEP]


def test_a_text_too_long_gets_no_verdict_and_isn_t_sent(case: Case) -> None:
    case.items = texts("x" * (MAX_BYTES + 1))
    (decision,) = case.screen()
    assert decision.reason == "unsafe_text:no_verdict:text_too_long"
    assert case.service.requests == []


def test_a_scorer_that_was_used_travels(case: Case) -> None:
    assert case.proxy is not None
    used = ModerateText(location="eu", endpoint=case.proxy.address)
    used.score(case.items)
    arrived = pickle.loads(pickle.dumps(moderate_text_filter(used)))
    assert arrived.scorer == used
    assert arrived.screen(case.items)[0].verdict is Verdict.KEEP


def test_the_version_tells_the_models_apart() -> None:
    first, second = (ModerateText(location="eu", model=model) for model in (1, 2))
    assert first.version != second.version


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"location": "europe-west4"}, "location is 'europe-west4'; it is one of"),
        ({"location": "eu", "model": 3}, "model is 3; it is 1 or 2"),
    ],
)
def test_options_that_can_t_work_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModerateText(**options)  # type: ignore[arg-type]


def test_a_threshold_for_no_category_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no category \['rude'\]"):
        moderate_text_filter(ModerateText(location="eu"), {"rude": 0.5})
