"""A run's hold on an output folder, as those see it who write there.

How it is got, kept and lost is in `transforms.lock`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from transforms import storage
from transforms.errors import WorkError

LOCK = "lock"
CLAIM = ".claim"

_GUARD = "guard"
# A commit's last step takes milliseconds; a holder that is in it for longer was stopped there.
_BREAK_SECONDS = 5.0
_POLL_SECONDS = 0.05


class TakenOverError(WorkError):
    """This run was silent for longer than its lease, and another one has the folder now."""


@dataclass(frozen=True)
class Lease:
    """A run's hold on an output folder, in plain values that travel to workers.

    id: of its claim. run: name of its record in the history.
    """

    output: str
    id: str
    run: str

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Within it, this run may change the folder.

        On a local disk nobody can take over within it. On a store the check and what follows are
        separate requests; what a run paused just between them writes is of its own units alone.

        Raises:
            TakenOverError: another run has the folder.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(flock(self.output, fcntl.LOCK_SH))
            except BlockingIOError:
                raise TakenOverError(
                    f"{self.output}: another run is taking over. What this run committed before "
                    "stays, and it writes nothing more"
                ) from None
            if not storage.exists(claim_path(self.output, self.id)):
                raise TakenOverError(
                    f"{self.output}: another run took over, as nothing was heard of this one for "
                    "longer than its lease. What this run committed before stays, and it writes "
                    "nothing more; the other one goes on from there"
                )
            yield


def claim_path(output: str, id: str) -> str:
    return storage.join(output, LOCK, id + CLAIM)


@contextlib.contextmanager
def flock(output: str, kind: int) -> Iterator[None]:
    """A lock of the kernel's on a local folder, which ends with the process at the latest.

    Shared by those who commit, exclusive for who breaks a claim. Where the folder is on a store, or
    on a filesystem without such locks, it is nothing.

    Raises:
        BlockingIOError: it can't be had for `_BREAK_SECONDS`.
    """
    if not storage.is_local(output):
        yield
        return
    path = storage.join(output, LOCK, _GUARD)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _lock_descriptor(descriptor, kind)
        yield
    finally:
        os.close(descriptor)


def _lock_descriptor(descriptor: int, kind: int) -> None:
    until = time.monotonic() + _BREAK_SECONDS
    while True:
        try:
            return fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(_POLL_SECONDS)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
                return None
            raise
