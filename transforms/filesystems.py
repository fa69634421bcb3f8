"""Beam's filesystems as this project uses them: set up in every process, and with clear words.

A launcher gives them their options once; on a worker Beam has done so, or the environment says all.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator, Sequence
from typing import Any

from apache_beam.io.aws.clients.s3.messages import S3ClientError
from apache_beam.io.filesystem import FileSystem
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from transforms import s3
from transforms.errors import WorkError

AGAIN = "run the same command again: it goes on from what is committed"


_flags: tuple[str, ...] = ()


def configure(flags: Sequence[str] = ()) -> None:
    """Give this process's filesystems their options, such as ``--s3_endpoint_url=URL``."""
    global _flags
    _flags = tuple(flags)
    FileSystems.set_options(options())


def options() -> PipelineOptions:
    """For a pipeline of this process: making one gives the filesystems its options."""
    # Without flags they would be read from the command line of whoever imported us.
    return PipelineOptions(flags=list(_flags), save_main_session=False)


def filesystem(path: str) -> FileSystem:
    """The filesystem of a path, ready for use.

    Raises:
        ValueError: Beam knows none for the scheme.
        UserError: it lacks something that the user has to give.
    """
    if FileSystems._pipeline_options is None:
        # A worker that was started without the job's options; see worker_pool_main of Beam.
        configure()
    given: PipelineOptions | None = FileSystems._pipeline_options
    if given is not None and FileSystems.get_scheme(path) == s3.SCHEME:
        s3.prepare(given)
    return FileSystems.get_filesystem(path)


@contextlib.contextmanager
def naming_the_remedy(path: str) -> Iterator[None]:
    """Turn what storage says of a failure into what a person can do about it.

    Raises:
        WorkError: in place of an error that the storage of `path` raised.
    """
    try:
        yield
    except _store_errors() as error:
        if "://" in path:
            raise WorkError(f"{path}: {_of_a_store(error)}") from error
        code = getattr(error, "errno", None)
        if code in (errno.ENOSPC, errno.EDQUOT):
            problem = "no space left to write it; free some"
        elif code in (errno.EACCES, errno.EPERM, errno.EROFS):
            problem = "not allowed; check the folder's permissions"
        else:
            raise
        raise WorkError(f"{path}: {problem} and {AGAIN}") from error


def _store_errors() -> tuple[type[Exception], ...]:
    """What filesystems raise: Beam's errors are OSErrors, but some let their clients' through."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    return OSError, S3ClientError, s3.S3GaveUpError, GoogleAPIError, GoogleAuthError


def _of_a_store(error: Exception) -> str:
    code = getattr(_cause(error), "code", None)
    if isinstance(error, FileNotFoundError):
        return "missing"
    if code == 403:
        return f"the store doesn't allow it ({said(error)}); check the credentials and their rights"
    if code == 404:
        return f"not there ({said(error)}); check the bucket's name"
    return f"the store failed ({said(error)}); {AGAIN}"


def said(error: Exception) -> str:
    """The line in which a store, or what asked it, says what went wrong."""
    cause = _cause(error)
    return str(getattr(cause, "message", None) or cause).strip().split("\n")[0]


def _cause(error: Any) -> Any:
    """What a store said, out of Beam's list of what it said of each file."""
    details = getattr(error, "exception_details", None) or {}
    inner = next((one for one in details.values() if isinstance(one, Exception)), None)
    return error if inner is None else _cause(inner)
