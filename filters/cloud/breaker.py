"""Stops asking a backend that is down, and counts what went unanswered."""

from __future__ import annotations

import threading
from enum import Enum, auto

from filters.cloud.failures import Failure
from filters.cloud.pacing import Clock, Pace


class Outcome(Enum):
    """What a call says of its backend."""

    ANSWERED = auto()
    REFUSED = auto()  # the backend is up, and said no
    FAILED = auto()
    SPLIT = auto()  # asked again in halves, which are counted instead


class Breaker:
    """Closed while a backend answers, open while it is down. Threads may share it.

    `Pace.open_after` failures in a row open it; no call is then made until `Pace.cooldown_s` has
    passed, when one call goes out to see. Its answer closes the breaker again.
    """

    def __init__(self, pace: Pace, clock: Clock) -> None:
        self._pace = pace
        self._clock = clock
        self._lock = threading.Lock()
        self._in_a_row = 0
        self._probe_at: float | None = None  # None: closed
        self._probing = False
        self.calls = 0
        self.failed = 0
        self.last_failure: Failure | None = None

    def admits(self) -> bool:
        """Whether a call may be made; every call admitted must be settled."""
        with self._lock:
            if self._probe_at is None:
                return True
            if self._probing or self._clock.now() < self._probe_at:
                self.calls += 1
                self.failed += 1
                return False
            self._probing = True
            return True

    def settle(self, outcome: Outcome, failure: Failure | None = None) -> None:
        """Counts a call that `admits` let through."""
        with self._lock:
            self._probing = False
            if outcome is Outcome.SPLIT:
                return
            self.calls += 1
            if outcome is not Outcome.ANSWERED:
                self.failed += 1
                self.last_failure = failure
            if outcome is not Outcome.FAILED:
                self._in_a_row, self._probe_at = 0, None
                return
            self._in_a_row += 1
            if self._in_a_row >= self._pace.open_after:
                self._probe_at = self._clock.now() + self._pace.cooldown_s

    @property
    def is_open(self) -> bool:
        return self._probe_at is not None

    @property
    def gives_up(self) -> bool:
        """More of the calls failed than the run may go on with."""
        with self._lock:
            enough = self.calls >= self._pace.min_calls
            return enough and self.failed > self._pace.failed_share * self.calls
