"""The ways a remote call fails, told apart by what to do about them."""

from __future__ import annotations

from enum import StrEnum


class Failure(StrEnum):
    """Why a call gave no scores; the value is what the ledger shows."""

    TIMEOUT = "timeout"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    SERVER_ERROR = "server_error"
    UNAUTHENTICATED = "unauthenticated"
    PERMISSION_DENIED = "permission_denied"
    MISCONFIGURED = "misconfigured"
    REFUSED = "invalid_argument"
    BAD_ANSWER = "bad_answer"
    TRUNCATED = "truncated"
    BACKEND_DOWN = "backend_down"

    @property
    def passes(self) -> bool:
        """The same call may succeed later."""
        return self in _PASSING

    @property
    def may_be_one_item(self) -> bool:
        """One item of a batch may have caused it; the others may be answered without it."""
        return self in _OF_AN_ITEM


_PASSING = {Failure.TIMEOUT, Failure.THROTTLED, Failure.UNAVAILABLE, Failure.SERVER_ERROR}
_OF_AN_ITEM = {Failure.REFUSED, Failure.BAD_ANSWER, Failure.SERVER_ERROR, Failure.TRUNCATED}

_LATER = "Wait until it is back and run the same command again."
REMEDIES = {
    Failure.TIMEOUT: _LATER,
    # Google's clients also report a token that they couldn't get so.
    Failure.UNAVAILABLE: f"Check the network and the credentials. {_LATER}",
    Failure.SERVER_ERROR: _LATER,
    Failure.BACKEND_DOWN: _LATER,
    Failure.THROTTLED: "Lower its rate per worker, use fewer workers, or ask for a larger quota.",
    Failure.UNAUTHENTICATED: "Its credentials are missing, wrong or expired.",
    Failure.PERMISSION_DENIED: "Grant access to it and enable its API.",
    Failure.MISCONFIGURED: "Check its project, location and endpoint.",
    Failure.REFUSED: "Check its options: it refuses the requests themselves.",
    Failure.BAD_ANSWER: "Check its endpoint: what answers there doesn't speak its protocol.",
    Failure.TRUNCATED: _LATER,
}


class CallError(Exception):
    """A remote call that gave no answer.

    Holds no text of the server's, which may quote the record or the key.

    retry_after_s: the wait that the server asked for.
    """

    def __init__(self, failure: Failure, retry_after_s: float | None = None) -> None:
        super().__init__(failure.value)
        self.failure = failure
        self.retry_after_s = retry_after_s
