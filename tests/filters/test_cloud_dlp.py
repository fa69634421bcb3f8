"""Cloud DLP is asked by tables within its limits, and its findings come home to their texts."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest
from google.cloud import dlp_v2
from hypothesis import given, settings
from hypothesis import strategies as st
from servers import grpc_service
from servers.cases import Case, dlp_case, texts
from servers.google_services import POISON, Dlp

from filters.cloud.dlp import INFO_TYPES, MAX_BYTES, SENTINEL, CloudDlp, dlp_filter
from filters.cloud.scorer import chunks
from filters.contract import Item, Verdict


@pytest.fixture
def case() -> Iterator[Case]:
    with dlp_case() as made:
        yield made


def rows(service: Dlp) -> list[list[str]]:
    return [[r.values[0].string_value for r in one.item.table.rows] for one in service.requests]


def test_one_request_holds_many_texts_and_asks_for_no_quote(case: Case) -> None:
    case.items = texts(*(f"caption {n}" for n in range(500)))
    case.screen()
    (request,) = case.service.requests
    assert len(request.item.table.rows) == 501
    assert request.parent == "projects/p/locations/europe-west4"
    assert [one.name for one in request.inspect_config.info_types] == list(INFO_TYPES)
    assert request.inspect_config.min_likelihood is dlp_v2.Likelihood.POSSIBLE
    assert request.inspect_config.include_quote is False


def test_ids_stay_here(case: Case) -> None:
    case.items = [Item("gs://bucket/private-name.tar#7", text="a dog", language="en")]
    case.screen()
    assert "private-name" not in str(case.service.requests)


def test_findings_come_home_to_their_texts(case: Case) -> None:
    values = [f"caption {n}" for n in range(200)]
    values[0] = "ann@example.org"
    values[77] = "bob@example.org and cy@example.org"
    values[199] = "dee@example.org"
    case.items = texts(*values)
    decisions = case.screen()
    dropped = {n: d.scores for n, d in enumerate(decisions) if d.verdict is Verdict.DROP}
    assert dropped == {
        0: {"findings": 1.0, "EMAIL_ADDRESS": 1.0},
        77: {"findings": 2.0, "EMAIL_ADDRESS": 2.0},
        199: {"findings": 1.0, "EMAIL_ADDRESS": 1.0},
    }
    assert decisions[77].labels == ("EMAIL_ADDRESS",)
    assert decisions[77].reason == "personal_information"
    assert sum(d.verdict is Verdict.KEEP for d in decisions) == 197


def test_a_request_stays_within_the_service_s_size(case: Case) -> None:
    case.items = texts(*("é" * 20_000 for _ in range(40)))
    assert {d.verdict for d in case.screen()} == {Verdict.KEEP}
    assert len(case.service.requests) == 4
    sizes = [len(dlp_v2.InspectContentRequest.serialize(r)) for r in case.service.requests]
    assert max(sizes) < 500_000


def test_truncated_findings_are_asked_for_again_by_halves() -> None:
    with dlp_case(most_findings=5) as case:
        case.items = texts(*(f"ann{n}x@example.org" for n in range(16)))
        decisions = case.screen()
        assert {d.verdict for d in decisions} == {Verdict.DROP}
        assert [d.scores["EMAIL_ADDRESS"] for d in decisions] == [1.0] * 16
        assert len(case.service.requests) == 7
        assert case.time.slept == []


def test_one_text_with_more_findings_than_an_answer_holds_is_dropped() -> None:
    with dlp_case(most_findings=5) as case:
        case.items = texts("a@b " * 9, "a dog")
        assert [d.verdict for d in case.screen()] == [Verdict.DROP, Verdict.KEEP]


def test_a_text_too_large_for_a_request_gets_no_verdict_and_isn_t_sent(case: Case) -> None:
    case.items = texts("x" * MAX_BYTES, "a dog")
    decisions = case.screen()
    assert decisions[0].reason == "personal_information:no_verdict:text_too_long"
    assert decisions[1].verdict is Verdict.KEEP
    assert rows(case.service) == [["a dog", SENTINEL]]


def test_texts_that_say_nothing_are_not_sent(case: Case) -> None:
    case.items = [
        Item("1"),
        Item("2", text=" \n"),
        Item("3", text="half a pair \ud83d"),
        Item("4", text="a dog"),
    ]
    reasons = [d.reason for d in case.screen()]
    assert reasons == [
        "personal_information:no_verdict:no_text",
        "personal_information:no_verdict:no_text",
        "personal_information:no_verdict:text_not_unicode",
        None,
    ]
    assert rows(case.service) == [["a dog", SENTINEL]]


def test_one_text_that_is_refused_costs_one_text(case: Case) -> None:
    values = [f"caption {n}" for n in range(64)]
    values[40] = f"a {POISON} apple"
    case.items = texts(*values)
    decisions = case.screen()
    case.check_closed(decisions)
    wrong = [n for n, d in enumerate(decisions) if d.verdict is not Verdict.KEEP]
    assert wrong == [40]
    assert decisions[40].reason == "personal_information:error:invalid_argument"


def _found_at(*places: dict[str, object], kind: str = "EMAIL_ADDRESS") -> grpc_service.Behaviour:
    findings = [
        {"info_type": {"name": kind}, "location": {"content_locations": [place]}}
        for place in places
    ]
    return grpc_service.says(dlp_v2.InspectContentResponse(result={"findings": findings}))


def _row(index: int) -> dict[str, object]:
    return {"record_location": {"table_location": {"row_index": index}}}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(_found_at(), id="the table's last row not inspected"),
        pytest.param(_found_at({}), id="no place"),
        pytest.param(_found_at({"record_location": {}}), id="no row"),
        pytest.param(_found_at(_row(99)), id="a row beyond the table"),
        pytest.param(_found_at(_row(-1)), id="a row before the table"),
        pytest.param(_found_at(_row(0), kind="ann@example.org"), id="a text in place of a kind"),
        pytest.param(_found_at(_row(0), kind=""), id="no kind"),
    ],
)
def test_an_answer_that_doesn_t_fit_the_table_is_no_answer(
    case: Case, answer: grpc_service.Behaviour
) -> None:
    case.service.always(answer)
    reasons = {d.reason for d in case.screen()}
    assert reasons == {"personal_information:error:bad_answer"}


def test_the_sentinel_in_a_caption_is_no_finding(case: Case) -> None:
    case.items = texts(f"a {SENTINEL} on grass")
    (decision,) = case.screen()
    assert (decision.verdict, decision.scores) == (Verdict.KEEP, {"findings": 0.0})


def test_a_scorer_that_was_used_travels_and_works_where_it_arrives(case: Case) -> None:
    case.screen()
    scorer = case.filter.scorer
    assert isinstance(scorer, CloudDlp)
    options = {"project": "p", "location": "eu", "endpoint": scorer.endpoint}
    used = CloudDlp(**options)
    used.score(case.items)
    arrived = pickle.loads(pickle.dumps(dlp_filter(used)))
    assert arrived.scorer == used
    assert [d.verdict for d in arrived.screen(case.items)][:2] == [Verdict.KEEP, Verdict.DROP]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"location": ""}, "name the project and the location"),
        ({"project": ""}, "name the project and the location"),
        ({"info_types": ()}, "info_types is empty"),
        ({"min_likelihood": "MAYBE"}, "min_likelihood is 'MAYBE'; it is one of"),
    ],
)
def test_options_that_can_t_work_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CloudDlp(**{"project": "p", "location": "europe-west4", **options})  # type: ignore[arg-type]


def test_a_location_has_to_be_said() -> None:
    with pytest.raises(TypeError, match="location"):
        CloudDlp(project="p")  # type: ignore[call-arg]


@given(
    sizes=st.lists(st.integers(0, 30), max_size=60),
    most_bytes=st.integers(1, 40),
    most=st.integers(1, 9),
)
@settings(max_examples=200)
def test_chunks_hold_every_item_once_in_order_and_within_the_limits(
    sizes: list[int], most_bytes: int, most: int
) -> None:
    made = list(chunks(sizes, lambda size: size, most_bytes, most))
    assert [size for chunk in made for size in chunk] == sizes
    assert all(len(chunk) <= most for chunk in made)
    assert all(sum(chunk) <= most_bytes or len(chunk) == 1 for chunk in made)
