"""Google's gRPC clients: made where they are used, kept from logging, their errors told apart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from filters.cloud.failures import CallError, Failure
from filters.contract import BackendDown

T = TypeVar("T")

# https://grpc.io/docs/guides/status-codes and https://google.aip.dev/194 on which are retried.
_FAILURES = {
    "DEADLINE_EXCEEDED": Failure.TIMEOUT,
    "RESOURCE_EXHAUSTED": Failure.THROTTLED,
    "UNAVAILABLE": Failure.UNAVAILABLE,
    "ABORTED": Failure.UNAVAILABLE,
    "CANCELLED": Failure.UNAVAILABLE,
    "INTERNAL": Failure.SERVER_ERROR,
    "UNKNOWN": Failure.SERVER_ERROR,
    "DATA_LOSS": Failure.SERVER_ERROR,
    "UNAUTHENTICATED": Failure.UNAUTHENTICATED,
    "PERMISSION_DENIED": Failure.PERMISSION_DENIED,
    "INVALID_ARGUMENT": Failure.REFUSED,
    "OUT_OF_RANGE": Failure.REFUSED,
}


def is_loopback(host: str) -> bool:
    """Whether `host[:port]` is this machine: an emulator, spoken to without TLS or credentials."""
    return host.rsplit(":", 1)[0] in ("localhost", "127.0.0.1", "[::1]")


def make_client(client: type[Any], transport: type[Any], host: str, project: str | None) -> Any:
    """A client of `host[:port]`, billed to `project` where the credentials are a person's.

    Raises BackendDown where the machine has no credentials: no record could be screened.
    """
    _keep_records_out_of_logs(client)
    if is_loopback(host):
        import grpc

        return client(transport=transport(channel=grpc.insecure_channel(host)))
    from google.auth.exceptions import GoogleAuthError

    options = {"api_endpoint": host, "quota_project_id": project}
    try:
        return client(client_options=options)
    except GoogleAuthError:
        problem = (
            f"no credentials for {host}. Run `gcloud auth application-default login`, or give "
            "the workers a service account"
        )
    raise BackendDown(problem)


def answer_of(call: Callable[[], T]) -> T:
    """What `call` returns. Raises CallError for what Google's clients raise."""
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    try:
        return call()
    except GoogleAPICallError as error:
        failed = _failed(error)
    except GoogleAuthError:
        failed = CallError(Failure.UNAUTHENTICATED)
    # Raised out here, it carries no context: the client's exception may quote the record.
    raise failed


def failure_of(status: str) -> Failure:
    """The failure behind a gRPC status code's name."""
    return _FAILURES.get(status, Failure.MISCONFIGURED)


def failure_of_code(code: int) -> Failure:
    """The failure behind the number of a google.rpc.Status."""
    from google.rpc.code_pb2 import Code

    return failure_of(Code.Name(code)) if code in Code.values() else Failure.SERVER_ERROR


def _failed(error: Any) -> CallError:
    from google.rpc.error_details_pb2 import RetryInfo

    status = error.grpc_status_code
    waits = [d.retry_delay.ToTimedelta() for d in error.details if isinstance(d, RetryInfo)]
    return CallError(
        failure_of(status.name) if status else Failure.SERVER_ERROR,
        max(wait.total_seconds() for wait in waits) if waits else None,
    )


def _keep_records_out_of_logs(client: type[Any]) -> None:
    # The generated clients log whole requests at DEBUG, texts and pictures included.
    package = ".".join(client.__module__.split(".")[:3])
    logging.getLogger(package).setLevel(logging.INFO)
