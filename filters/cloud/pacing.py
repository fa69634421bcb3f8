"""When a remote call may be made, and when a failed one is worth another attempt."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


def _uniform() -> float:
    # A function of this module pickles as its name; `random.random` would take its state along,
    # and every worker would then wait for the same "random" times.
    return random.random()


@dataclass(frozen=True)
class Clock:
    """Seconds that only go forward, a way to wait for them, and a number in [0, 1)."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    uniform: Callable[[], float] = _uniform


class RateLimiter:
    """A token bucket: `per_second` calls on average, `burst` at once. Threads may share it."""

    def __init__(self, per_second: float, burst: int = 1, clock: Clock | None = None) -> None:
        if per_second <= 0 or burst < 1:
            raise ValueError(f"a rate of {per_second} a second in bursts of {burst} never calls")
        self._per_second = per_second
        self._burst = burst
        self._clock = clock or Clock()
        self._lock = threading.Lock()
        self._tokens = float(burst)
        self._counted_at = self._clock.now()

    def wait(self, cost: float = 1.0) -> None:
        """Returns when a call that counts for `cost` may be made, in the order of asking."""
        with self._lock:
            now = self._clock.now()
            earned = (now - self._counted_at) * self._per_second
            self._tokens = min(self._burst, self._tokens + earned) - cost
            self._counted_at = now
            # Below zero, the bucket holds the debts of those already waiting.
            debt = max(0.0, -self._tokens) / self._per_second
        if debt:
            self._clock.sleep(debt)


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with full jitter, in seconds.

    The wait before attempt n + 1 is uniform in [0, min(maximum_s, initial_s * 2**n)], the scheme
    that spreads clients best in Brooker, "Exponential Backoff And Jitter" (AWS, 2015).

    attempt_s: how long one attempt may take.
    deadline_s: after so long no further attempt is begun; this is how long an outage pauses a call.
    """

    attempt_s: float = 20.0
    deadline_s: float = 120.0
    initial_s: float = 1.0
    maximum_s: float = 32.0

    def __post_init__(self) -> None:
        if min(self.attempt_s, self.deadline_s, self.initial_s, self.maximum_s) <= 0:
            raise ValueError(f"{self}: every time must be above 0 seconds")

    def delay(self, attempt: int, uniform: float) -> float:
        """Seconds to wait after failed attempt number `attempt`, counted from 0."""
        return uniform * min(self.maximum_s, self.initial_s * 2.0 ** min(attempt, 32))


@dataclass(frozen=True)
class Pace:
    """How a backend is asked: how often, how patiently, and what it may fail before it is given up.

    per_second, burst: of one scorer object; the quota is the project's, so divide it by the
        workers. Requests, or items where `counts_items` is true.
    failed_share: the run stops when more than this share of the calls failed, of at least
        `min_calls`. A call that was not made because the backend was down counts as failed.
    open_after: so many failures in a row, and the backend counts as down.
    cooldown_s: so long after that one call is made to see whether it is back.
    """

    per_second: float
    burst: int = 1
    counts_items: bool = False
    retry: Retry = field(default_factory=Retry)
    failed_share: float = 0.01
    min_calls: int = 100
    open_after: int = 5
    cooldown_s: float = 30.0

    def __post_init__(self) -> None:
        if not 0 <= self.failed_share <= 1:
            raise ValueError(f"failed_share is {self.failed_share}; it is a share, from 0 to 1")
        if self.min_calls < 1 or self.open_after < 1:
            raise ValueError("min_calls and open_after count calls, and are at least 1")
