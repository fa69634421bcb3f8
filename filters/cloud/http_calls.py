"""JSON over HTTP with a time limit, a size limit, and errors told apart."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from filters.cloud.failures import CallError, Failure

# No answer asked for here comes near it; a server that never stops sending does.
MAX_ANSWER_BYTES = 1_000_000
_PIECE = 65_536

_FAILURES = {
    401: Failure.UNAUTHENTICATED,
    403: Failure.PERMISSION_DENIED,
    408: Failure.TIMEOUT,
    429: Failure.THROTTLED,
    503: Failure.UNAVAILABLE,
    504: Failure.TIMEOUT,
}


class RejectedError(Exception):
    """HTTP 400: what was sent will never be accepted. detail: the parsed body, or None."""

    def __init__(self, detail: Any) -> None:
        super().__init__("HTTP 400")
        self.detail = detail


def check_endpoint(url: str, option: str) -> None:
    """Raises ValueError unless a key may be sent there: by TLS, or to this machine."""
    parts = urlsplit(url)
    loopback = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise ValueError(
            f"{option} must begin with https://, so that the key isn't read on its way"
        )


def post(session: Any, url: str, body: Mapping[str, Any], seconds: float) -> Any:
    """The JSON that answers `body`, within about `seconds`; redirects are not followed.

    session: a `requests.Session`. Raises CallError, or RejectedError for HTTP 400.
    """
    import requests
    import urllib3

    try:
        return _post(session, url, body, seconds)
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        failure = Failure.TIMEOUT
    except (requests.ConnectionError, urllib3.exceptions.HTTPError, OSError):
        # A RequestException is an OSError too; those left are of the transfer.
        failure = Failure.UNAVAILABLE
    # Raised out here, it carries no context: the client's exception holds the request and its key.
    raise CallError(failure)


def _post(session: Any, url: str, body: Mapping[str, Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    data = json.dumps(body).encode()
    with session.post(
        url, data=data, timeout=seconds, stream=True, allow_redirects=False
    ) as response:
        content = _read(response.raw, deadline)
        status = response.status_code
        if status == 400:
            raise RejectedError(_parsed(content))
        if status != 200:
            other = Failure.SERVER_ERROR if status >= 500 else Failure.MISCONFIGURED
            wait = _seconds(response.headers.get("Retry-After"))
            raise CallError(_FAILURES.get(status, other), wait)
    answer = _parsed(content)
    if answer is None:
        raise CallError(Failure.BAD_ANSWER)
    return answer


def _read(raw: Any, deadline: float) -> bytes:
    """The body; a time limit of the socket's alone would let a server drip for hours."""
    pieces = bytearray()
    while piece := raw.read1(_PIECE):
        pieces += piece
        if len(pieces) > MAX_ANSWER_BYTES:
            raise CallError(Failure.BAD_ANSWER)
        if time.monotonic() > deadline:
            raise CallError(Failure.TIMEOUT)
    return bytes(pieces)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a Retry-After header; a date in it is left to the backoff."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None
