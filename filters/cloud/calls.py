"""A remote service as its scorer calls it: paced, retried, split around bad items, given up."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from filters.cloud.breaker import Breaker, Outcome
from filters.cloud.failures import REMEDIES, CallError, Failure
from filters.cloud.pacing import Clock, Pace, RateLimiter
from filters.contract import BackendDown, Scores

T = TypeVar("T")
LOG = logging.getLogger(__name__)

# Asks for the scores of some items within so many seconds; raises CallError.
Ask = Callable[[Sequence[T], float], list[Scores]]


class Once(Generic[T]):
    """Makes a thing at its first use, also when threads ask for it together."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: T | None = None

    def get(self) -> T:
        with self._lock:
            if self._made is None:
                self._made = self._make()
            return self._made


class Backend:
    """One remote service.

    name: as the operator knows it. access: what a caller needs to be let in (role, API, key).
    """

    def __init__(self, name: str, access: str, pace: Pace, clock: Clock) -> None:
        self.name = name
        self._access = access
        self._pace = pace
        self._clock = clock
        self._limiter = RateLimiter(pace.per_second, pace.burst, clock)
        self._breaker = Breaker(pace, clock)

    def scores(self, items: Sequence[T], ask: Ask[T], patient: bool = True) -> list[Scores]:
        """One Scores for each item, in order; what can't be answered holds an error.

        Where one item may have spoilt the call for all, the halves are asked for apart. After a
        server error they are asked for once each (`patient` is false): a server that is really
        down would otherwise be waited for at every split.

        Raises BackendDown when more calls failed than the run may go on with.
        """
        try:
            many = len(items)
            return self.call(lambda seconds: _all(items, ask, seconds), patient, many > 1, many)
        except CallError as failed:
            failure = failed.failure
        if len(items) == 1 or not failure.may_be_one_item:
            return [Scores(error=failure.value)] * len(items)
        patient = patient and failure is not Failure.SERVER_ERROR
        half = len(items) // 2
        return self.scores(items[:half], ask, patient) + self.scores(items[half:], ask, patient)

    def call(
        self,
        attempt: Callable[[float], T],
        patient: bool = True,
        splits: bool = False,
        items: int = 1,
    ) -> T:
        """What `attempt(seconds)` returns, tried again for as long as it may help.

        splits: the caller asks again in parts where an item may be to blame.
        items: how many the call is for, where the quota counts them.

        Raises CallError, or BackendDown when more calls failed than the run may go on with.
        """
        was_open = self._breaker.is_open
        if not self._breaker.admits():
            self._stop_if_hopeless()
            raise CallError(Failure.BACKEND_DOWN)
        outcome, failure = Outcome.SPLIT, None
        try:
            answer = self._persist(attempt, patient, items)
            outcome = Outcome.ANSWERED
            return answer
        except CallError as failed:
            failure = failed.failure
            if not (splits and failure.may_be_one_item):
                outcome = Outcome.REFUSED if failure is Failure.REFUSED else Outcome.FAILED
            raise
        finally:
            self._breaker.settle(outcome, failure)
            self._tell(was_open)
            self._stop_if_hopeless()

    def _persist(self, attempt: Callable[[float], T], patient: bool, items: int) -> T:
        cost = items if self._pace.counts_items else 1
        self._limiter.wait(cost)
        deadline = self._clock.now() + self._pace.retry.deadline_s
        for number in itertools.count():
            seconds = min(self._pace.retry.attempt_s, max(deadline - self._clock.now(), 0.001))
            try:
                return attempt(seconds)
            except CallError as failed:
                last = failed
            delay = self._pace.retry.delay(number, self._clock.uniform())
            delay = max(delay, last.retry_after_s or 0.0)
            out_of_time = self._clock.now() + delay >= deadline
            if not patient or not last.failure.passes or out_of_time:
                break
            LOG.info("%s: %s; next attempt in %.1f s", self.name, last.failure, delay)
            self._clock.sleep(delay)
            self._limiter.wait(cost)
        raise last

    def _tell(self, was_open: bool) -> None:
        if self._breaker.is_open and not was_open:
            LOG.warning(
                "%s is down (%s); what it would have screened is quarantined until it is back",
                self.name,
                self._breaker.last_failure,
            )
        elif was_open and not self._breaker.is_open:
            LOG.warning("%s is back", self.name)

    def _stop_if_hopeless(self) -> None:
        if not self._breaker.gives_up:
            return
        failure = self._breaker.last_failure or Failure.BACKEND_DOWN
        raise BackendDown(
            f"{self.name}: {self._breaker.failed} of {self._breaker.calls} calls were not "
            f"answered, the last one made: {failure}. {REMEDIES[failure]} "
            f"It needs {self._access}."
        )


def _all(items: Sequence[T], ask: Ask[T], seconds: float) -> list[Scores]:
    scores = ask(items, seconds)
    if len(scores) != len(items):
        raise CallError(Failure.BAD_ANSWER)
    return scores
