"""SafeSearch is asked by batches within its limits; what it doesn't know is no verdict."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest
from google.cloud import vision_v1
from servers import grpc_service
from servers.cases import Case, images, safe_search_case
from servers.google_services import POISON

from filters.cloud.safe_search import MAX_BYTES, SafeSearch, safe_search_filter
from filters.contract import Item, Verdict


@pytest.fixture
def case() -> Iterator[Case]:
    with safe_search_case() as made:
        yield made


def answers(*responses: dict[str, object]) -> grpc_service.Behaviour:
    return grpc_service.says(vision_v1.BatchAnnotateImagesResponse(responses=list(responses)))


def known(**likelihoods: str | int) -> dict[str, object]:
    likelihoods = {"adult": "UNLIKELY", "racy": "UNLIKELY", "violence": "UNLIKELY", **likelihoods}
    return {"safe_search_annotation": likelihoods}


def test_sixteen_images_go_in_a_request_and_ask_for_safe_search_only(case: Case) -> None:
    case.items = images(*(b"image %d" % n for n in range(40)))
    assert {d.verdict for d in case.screen()} == {Verdict.KEEP}
    assert [len(r.requests) for r in case.service.requests] == [16, 16, 8]
    first = case.service.requests[0]
    assert first.parent == "projects/p/locations/eu"
    assert first.requests[3].image.content == b"image 3"
    (feature,) = first.requests[3].features
    assert feature.type_ is vision_v1.Feature.Type.SAFE_SEARCH_DETECTION


def test_a_request_stays_within_the_service_s_size(case: Case) -> None:
    case.items = images(*(b"%d" % n * 2_000_000 for n in range(8)))
    assert {d.verdict for d in case.screen()} == {Verdict.KEEP}
    assert [len(r.requests) for r in case.service.requests] == [3, 3, 2]


def test_likelihoods_become_scores_in_their_order(case: Case) -> None:
    kept, dropped, *_ = case.screen()
    assert kept.scores == {"adult": 0.0, "racy": 0.5, "violence": 0.25}
    assert (dropped.verdict, dropped.reason) == (Verdict.DROP, "adult")
    assert (dropped.score, dropped.threshold) == (1.0, 0.75)


@pytest.mark.parametrize(
    ("likelihood", "verdict"),
    [
        ("VERY_UNLIKELY", Verdict.KEEP),
        ("UNLIKELY", Verdict.KEEP),
        ("POSSIBLE", Verdict.KEEP),
        ("LIKELY", Verdict.DROP),
        ("VERY_LIKELY", Verdict.DROP),
        ("UNKNOWN", Verdict.NO_VERDICT),
        pytest.param(
            99, Verdict.NO_VERDICT, marks=pytest.mark.filterwarnings("ignore:Unrecognized")
        ),
    ],
)
def test_each_likelihood_has_its_verdict_and_unknown_has_none(
    case: Case, likelihood: str | int, verdict: Verdict
) -> None:
    case.items = case.items[:1]
    case.service.then(answers(known(adult=likelihood)))
    (decision,) = case.screen()
    assert decision.verdict is verdict


def test_an_image_the_service_can_t_read_costs_itself(case: Case) -> None:
    case.items = images(b"dog", POISON.encode(), b"fog", b"car")
    decisions = case.screen()
    case.check_closed(decisions)
    assert [d.reason for d in decisions] == [
        None,
        "pornographic_images:error:invalid_argument",
        "pornographic_images:no_verdict:unknown_likelihood",
        None,
    ]
    assert len(case.service.requests) == 1


def test_an_image_without_an_annotation_is_an_error(case: Case) -> None:
    case.items = images(b"dog", b"car")
    case.service.then(answers(known(), {}))
    assert [d.verdict for d in case.screen()] == [Verdict.KEEP, Verdict.ERROR]


def test_an_outage_told_image_by_image_is_an_outage(case: Case) -> None:
    case.items = images(b"dog", b"car")
    case.service.then(answers(*[{"error": {"code": 14, "message": "down"}}] * 2))
    assert [d.verdict for d in case.screen()] == [Verdict.KEEP, Verdict.KEEP]
    assert case.time.slept == [1.0]


@pytest.mark.parametrize("number", [0, 1, 3, 16])
def test_a_wrong_number_of_answers_is_asked_for_image_by_image(case: Case, number: int) -> None:
    case.items = images(b"dog", b"car")
    case.service.then(answers(*[known()] * number))
    decisions = case.screen()
    case.check_closed(decisions)
    assert [d.verdict for d in decisions] == [Verdict.KEEP, Verdict.KEEP]
    assert [len(r.requests) for r in case.service.requests] == [2, 1, 1]


def test_what_can_t_be_sent_gets_no_verdict(case: Case) -> None:
    case.items = [Item("1"), Item("2", encoded=b""), Item("3", encoded=b"x" * (MAX_BYTES + 1))]
    reasons = [str(d.reason).removeprefix("pornographic_images:no_verdict:") for d in case.screen()]
    assert reasons == ["no_image", "no_image", "image_too_large"]
    assert case.service.requests == []


def test_the_quota_is_spent_by_the_image() -> None:
    with safe_search_case(pace=SafeSearch.pace) as case:
        case.items = images(*(b"image %d" % n for n in range(92)))
        case.screen()
        assert case.time.seconds == pytest.approx(2)


def test_a_scorer_that_was_used_travels(case: Case) -> None:
    assert case.proxy is not None
    used = SafeSearch(project="p", location="eu", endpoint=case.proxy.address)
    used.score(case.items)
    arrived = pickle.loads(pickle.dumps(safe_search_filter(used)))
    assert arrived.scorer == used
    assert arrived.screen(case.items)[0].verdict is Verdict.KEEP


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"location": "asia"}, "location is 'asia'; it is one of"),
        ({"project": ""}, "name the project"),
        ({"categories": ("gore",)}, r"no category \['gore'\]"),
        ({"categories": ()}, "there are"),
    ],
)
def test_options_that_can_t_work_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SafeSearch(**{"project": "p", "location": "eu", **options})  # type: ignore[arg-type]


def test_a_threshold_for_what_isn_t_scored_is_refused() -> None:
    scorer = SafeSearch(project="p", location="eu")
    with pytest.raises(ValueError, match=r"\['medical'\] has a threshold"):
        safe_search_filter(scorer, {"medical": 0.5})
