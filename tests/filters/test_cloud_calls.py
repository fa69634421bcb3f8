"""Calls are paced, retried within a deadline, split around bad items, and given up."""

from __future__ import annotations

import pickle
import random
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers.cases import FakeTime

from filters.cloud.calls import Backend, Once
from filters.cloud.failures import REMEDIES, CallError, Failure
from filters.cloud.pacing import Clock, Pace, RateLimiter, Retry
from filters.contract import BackendDown, Filter, Item, Scores, Subject, Verdict
from filters.thresholds import ThresholdPolicy

PACE = Pace(per_second=1e9, burst=1000, min_calls=1_000_000, open_after=1_000_000)


def backend(time: FakeTime, pace: Pace = PACE) -> Backend:
    return Backend("Example", "roles/example.user", pace, time.clock)


def failing(failure: Failure, retry_after_s: float | None = None):
    def attempt(seconds: float) -> str:
        raise CallError(failure, retry_after_s)

    return attempt


# --- pace


@given(
    per_second=st.floats(0.1, 100),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_no_window_holds_more_calls_than_the_rate_and_one_burst(
    per_second: float, burst: int, pauses: list[float]
) -> None:
    time = FakeTime()
    limiter = RateLimiter(per_second, burst, time.clock)
    made = []
    for pause in pauses:
        time.seconds += pause
        limiter.wait()
        made.append(time.seconds)
    for first in range(len(made)):
        for last in range(first, len(made)):
            window = made[last] - made[first]
            assert last - first + 1 <= burst + per_second * window + 1e-6


def test_a_limiter_shared_by_threads_makes_each_wait_its_turn() -> None:
    lock, waits = threading.Lock(), []

    def sleep(seconds: float) -> None:
        with lock:
            waits.append(round(seconds, 6))

    limiter = RateLimiter(2, 1, Clock(now=lambda: 0.0, sleep=sleep))
    threads = [threading.Thread(target=limiter.wait) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [0.5, 1.0, 1.5, 2.0]


def test_a_quota_of_items_is_spent_by_the_item() -> None:
    time = FakeTime()
    asked = backend(time, Pace(per_second=10, burst=20, counts_items=True))
    for _ in range(3):
        asked.scores([0] * 20, lambda items, seconds: [Scores()] * len(items))
    assert time.seconds == pytest.approx(4)


@given(attempt=st.integers(0, 500), uniform=st.floats(0, 1, exclude_max=True))
def test_backoff_is_uniform_below_a_doubling_limit(attempt: int, uniform: float) -> None:
    retry = Retry(initial_s=1, maximum_s=32)
    assert retry.delay(attempt, uniform) == uniform * min(32, 2 ** min(attempt, 5))


def test_the_real_clock_jitters_apart_after_travelling() -> None:
    random.seed(1)
    clock = pickle.loads(pickle.dumps(Clock()))
    random.seed(2)
    assert clock.uniform() != random.Random(1).random()


@pytest.mark.parametrize(
    "options", [{"failed_share": 2}, {"min_calls": 0}, {"open_after": 0}, {"failed_share": -0.1}]
)
def test_a_pace_that_means_nothing_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Pace(per_second=1, **options)  # type: ignore[arg-type]


def test_a_rate_that_never_calls_is_refused() -> None:
    with pytest.raises(ValueError, match="never calls"):
        RateLimiter(0)


# --- retry


def test_a_call_is_tried_again_until_the_deadline_and_not_after() -> None:
    time, tries = FakeTime(), []

    def attempt(seconds: float) -> str:
        tries.append(seconds)
        raise CallError(Failure.THROTTLED)

    with pytest.raises(CallError, match="throttled"):
        backend(time).call(attempt)
    assert time.slept == [1, 2, 4, 8, 16, 32, 32]
    assert time.seconds < PACE.retry.deadline_s
    assert set(tries) == {PACE.retry.attempt_s}


def test_an_attempt_is_given_no_more_time_than_the_deadline_leaves() -> None:
    time, given_s = FakeTime(), []

    def attempt(seconds: float) -> str:
        given_s.append(seconds)
        time.seconds += seconds
        raise CallError(Failure.TIMEOUT)

    with pytest.raises(CallError):
        backend(time, replace(PACE, retry=Retry(attempt_s=20, deadline_s=30))).call(attempt)
    assert given_s == [20, 9]


def test_the_server_s_wait_is_kept_unless_it_is_past_the_deadline() -> None:
    time = FakeTime()
    with pytest.raises(CallError):
        backend(time).call(failing(Failure.THROTTLED, retry_after_s=50))
    assert time.slept == [50, 50]
    with pytest.raises(CallError):
        backend(time).call(failing(Failure.THROTTLED, retry_after_s=3600))
    assert time.slept == [50, 50]


@pytest.mark.parametrize("failure", [f for f in Failure if not f.passes])
def test_what_can_t_pass_is_not_tried_again(failure: Failure) -> None:
    time = FakeTime()
    with pytest.raises(CallError, match=failure.value):
        backend(time).call(failing(failure))
    assert time.slept == []


def test_every_failure_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Failure)


# --- one bad item costs one item


@given(
    poisoned=st.lists(st.booleans(), min_size=1, max_size=64),
    failure=st.sampled_from([f for f in Failure if f.may_be_one_item]),
)
def test_bad_items_cost_themselves_and_nothing_else(poisoned: list[bool], failure: Failure) -> None:
    def ask(items: Sequence[int], seconds: float) -> list[Scores]:
        if any(poisoned[item] for item in items):
            raise CallError(failure)
        return [Scores({"item": float(item)}) for item in items]

    scores = backend(FakeTime()).scores(range(len(poisoned)), ask)
    for item, (bad, one) in enumerate(zip(poisoned, scores, strict=True)):
        assert one == (Scores(error=failure.value) if bad else Scores({"item": float(item)}))


@given(count=st.integers(2, 64), answers=st.integers(0, 70))
def test_a_wrong_number_of_answers_is_no_answer(count: int, answers: int) -> None:
    def ask(items: Sequence[int], seconds: float) -> list[Scores]:
        return [Scores({"n": 1.0})] * (len(items) if len(items) < 2 else answers)

    scores = backend(FakeTime()).scores(range(count), ask)
    assert len(scores) == count


def test_a_server_error_is_waited_for_once_and_not_at_every_split() -> None:
    time = FakeTime()
    backend(time).scores(range(16), lambda items, seconds: failing(Failure.SERVER_ERROR)(seconds))
    assert time.slept == [1, 2, 4, 8, 16, 32, 32]


def test_an_outage_is_not_split() -> None:
    asked = []

    def ask(items: Sequence[int], seconds: float) -> list[Scores]:
        asked.append(len(items))
        raise CallError(Failure.PERMISSION_DENIED)

    scores = backend(FakeTime()).scores(range(16), ask)
    assert asked == [16]
    assert scores == [Scores(error="permission_denied")] * 16


# --- a backend that is down


class Switch:
    """Answers while it is on; counts what is asked."""

    def __init__(self, failure: Failure = Failure.PERMISSION_DENIED) -> None:
        self.on, self.asked, self.failure = True, 0, failure

    def __call__(self, items: Sequence[int], seconds: float) -> list[Scores]:
        self.asked += 1
        if not self.on:
            raise CallError(self.failure)
        return [Scores({"n": 0.0})] * len(items)


def test_a_backend_that_is_down_is_asked_no_more_until_one_probe_after_the_cooldown() -> None:
    time, switch = FakeTime(), Switch()
    asked = backend(time, replace(PACE, open_after=5, cooldown_s=30))
    switch.on = False
    errors = [asked.scores([0], switch)[0].error for _ in range(8)]
    assert errors == ["permission_denied"] * 5 + ["backend_down"] * 3
    assert switch.asked == 5

    time.seconds += 30
    errors = [asked.scores([0], switch)[0].error for _ in range(3)]
    assert errors == ["permission_denied", "backend_down", "backend_down"]

    time.seconds += 30
    switch.on = True
    assert [asked.scores([0], switch)[0].error for _ in range(3)] == [None] * 3
    assert switch.asked == 9


def test_only_one_of_several_threads_probes() -> None:
    time, switch = FakeTime(), Switch()
    asked = backend(time, replace(PACE, open_after=1))
    switch.on = False
    asked.scores([0], switch)
    time.seconds += 30
    inside, release = threading.Event(), threading.Event()

    def slow(items: Sequence[int], seconds: float) -> list[Scores]:
        inside.set()
        release.wait(5)
        return [Scores({"n": 0.0})]

    probe = threading.Thread(target=asked.scores, args=([0], slow))
    probe.start()
    assert inside.wait(5)
    assert asked.scores([0], switch)[0].error == "backend_down"
    release.set()
    probe.join()
    switch.on = True
    assert asked.scores([0], switch)[0].error is None


def test_a_probe_that_breaks_leaves_room_for_the_next() -> None:
    time, switch = FakeTime(), Switch()
    asked = backend(time, replace(PACE, open_after=1))
    switch.on = False
    asked.scores([0], switch)
    time.seconds += 30

    def broken(items: Sequence[int], seconds: float) -> list[Scores]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asked.scores([0], broken)
    switch.on = True
    assert asked.scores([0], switch)[0].error is None


def test_a_refused_item_does_not_close_the_backend_to_the_others() -> None:
    switch = Switch(Failure.REFUSED)
    asked = backend(FakeTime(), replace(PACE, open_after=2))
    switch.on = False
    for _ in range(5):
        asked.scores([0], switch)
    switch.on = True
    assert asked.scores([0], switch)[0].error is None


def test_the_run_stops_above_the_share_and_says_what_to_do() -> None:
    switch = Switch()
    asked = backend(FakeTime(), replace(PACE, failed_share=0.01, min_calls=100))
    for _ in range(298):
        asked.scores([0], switch)
    switch.on = False
    for _ in range(2):
        assert asked.scores([0], switch)[0].error == "permission_denied"
    switch.on = True
    asked.scores([0], switch)
    switch.on = False
    # 3 of 302 are below 1 %, 4 of 303 are above.
    asked.scores([0], switch)
    with pytest.raises(BackendDown) as caught:
        asked.scores([0], switch)
    assert str(caught.value) == (
        "Example: 4 of 303 calls were not answered, the last one made: permission_denied. "
        "Grant access to it and enable its API. It needs roles/example.user."
    )


def test_few_calls_are_too_few_to_judge_by() -> None:
    switch = Switch()
    asked = backend(FakeTime(), replace(PACE, min_calls=100))
    switch.on = False
    for _ in range(99):
        assert asked.scores([0], switch)[0].error == "permission_denied"
    with pytest.raises(BackendDown):
        asked.scores([0], switch)


def test_an_outage_pauses_then_quarantines_then_stops_the_run() -> None:
    time, switch = FakeTime(), Switch(Failure.UNAVAILABLE)
    asked = backend(time, Pace(per_second=1e9))
    for _ in range(2000):
        asked.scores([0], switch)
    switch.on = False
    errors: list[str | None] = []

    def go_on() -> None:
        for _ in range(1000):
            errors.append(asked.scores([0], switch)[0].error)

    with pytest.raises(BackendDown, match="Wait until it is back"):
        go_on()
    assert errors[:5] == ["unavailable"] * 5
    assert time.seconds > 5 * 60
    assert set(errors[5:]) == {"backend_down"}
    assert len(errors) == 20


# --- the filter around it


class _Down:
    name, version = "down", "1"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        raise BackendDown("Example: no key; put one there")


def test_a_filter_lets_a_backend_s_end_through_under_its_own_name() -> None:
    screen = Filter("toxicity", Subject.TEXT, _Down(), ThresholdPolicy({"toxic": 0.8}))
    with pytest.raises(BackendDown, match=r"^filter toxicity: Example: no key; put one there$"):
        screen.screen([Item("1", text="a dog"), Item("2", text="a cat")])


def test_an_error_is_never_kept() -> None:
    class Errs(_Down):
        def score(self, items: Sequence[Item]) -> list[Scores]:
            return [Scores(error="timeout")] * len(items)

    screen = Filter("toxicity", Subject.TEXT, Errs(), ThresholdPolicy({"toxic": 0.8}))
    assert {d.verdict for d in screen.screen([Item("1", text="a dog")])} == {Verdict.ERROR}


def test_a_thing_made_once_is_made_once() -> None:
    made = []
    once = Once(lambda: made.append(1) or "client")
    threads = [threading.Thread(target=once.get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (once.get(), made) == ("client", [1])
