"""S3 and what speaks its protocol, through Beam's filesystem: one client a process, and patience.

Beam makes a new boto3 client for every call, which takes some 100 ms of processor time: to read
3,000 commit records would take five minutes. And of its calls some are tried again for ten minutes,
others not at all. Here a process has one client, and boto3 alone decides what is tried again; only
downloads, which may break off within, are left to Beam as well.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from apache_beam.io.aws.clients.s3 import boto3_client
from apache_beam.io.aws.clients.s3.messages import S3ClientError
from apache_beam.options.pipeline_options import PipelineOptions, S3Options
from apache_beam.utils.retry import PermanentException

from transforms.errors import UserError

SCHEME = "s3"
# The last wait is at most a minute, all of them together a minute on average.
ATTEMPTS = 8
# As many as read commit records and shards at once, and some to spare.
CONNECTIONS = 64

_lock = threading.Lock()


class S3GaveUpError(PermanentException):
    """A request that went wrong as often as boto3 may try. code: the last HTTP status, if any."""

    def __init__(self, message: str, code: int | None):
        super().__init__(message)
        self.message = message
        self.code = code


def prepare(options: PipelineOptions) -> None:
    """Have Beam use this process's one client for S3.

    Raises:
        UserError: boto3 isn't installed, or finds no credentials.
    """
    setattr(boto3_client, "Client", _Client)  # noqa: B010 (a class, to mypy, is no variable)
    _shared(options)


class _Client(boto3_client.Client):
    """Beam's client over the process's one. Beam's state of a download belongs to one open file."""

    def __init__(self, options: PipelineOptions):
        self.client = _shared(options)
        self._download_request = None
        self._download_stream = None
        self._download_pos = 0

    def get_object_metadata(self, request: Any) -> Any:
        with _once():
            return super().get_object_metadata(request)

    def list(self, request: Any) -> Any:
        with _once():
            return super().list(request)

    def delete_batch(self, request: Any) -> Any:
        with _once():
            return super().delete_batch(request)


@contextlib.contextmanager
def _once() -> Iterator[None]:
    """Keep Beam from trying again what boto3 has tried as often as it was told to."""
    try:
        yield
    except S3ClientError as error:
        if error.code is None or error.code >= 500:
            raise S3GaveUpError(error.message, error.code) from error
        raise


def _shared(options: PipelineOptions) -> Any:
    given = options.view_as(S3Options)
    with _lock:
        return _client(
            given.s3_access_key_id,
            given.s3_secret_access_key,
            given.s3_session_token,
            given.s3_endpoint_url,
            given.s3_region_name,
            given.s3_api_version,
            given.s3_verify,
            not given.s3_disable_ssl,
        )


@functools.lru_cache(maxsize=4)
def _client(
    access_key_id: str | None,
    secret_access_key: str | None,
    session_token: str | None,
    endpoint_url: str | None,
    region_name: str | None,
    api_version: str | None,
    verify: str | None,
    use_ssl: bool,
) -> Any:
    make = _boto3()
    session = make(
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        aws_session_token=session_token,
        region_name=region_name,
    )
    if session.get_credentials() is None:
        raise UserError(
            "s3://: no credentials were found. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE, or run under a role"
        )
    return session.client(
        "s3",
        endpoint_url=endpoint_url,
        api_version=api_version,
        verify=verify,
        use_ssl=use_ssl,
        config=_config(),
    )


def _boto3() -> Callable[..., Any]:
    try:
        import boto3
    except ImportError:
        raise UserError("s3:// needs boto3: pip install 'palipipe[s3]'") from None
    return boto3.session.Session


def _config() -> Any:
    from botocore.config import Config

    own = {"max_pool_connections": CONNECTIONS}
    if "AWS_MAX_ATTEMPTS" in os.environ or "AWS_RETRY_MODE" in os.environ:
        return Config(**own)
    # The mode that also tries again what a store answers with 429, whatever it calls it.
    return Config(**own, retries={"mode": "legacy", "total_max_attempts": ATTEMPTS})
