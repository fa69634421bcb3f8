"""One run at a time over an output folder, on any Beam filesystem.

Who wants the folder puts a claim of its own into ``lock/`` and then lists what is there. Whoever
sees its claim stand alone has the folder until it removes the claim: a claim that is written later
is listed by its writer together with the first, so that two can never both be alone. That needs
nothing of a store but that it lists what was written, no rename and no exclusive creation.

A claim is written once. Its holder shows that it is there by writing a second file again and again,
the beat. A claim whose process is known to be dead, or whose beat is older than its lease, is
removed by whoever comes next. Ages are differences between times that the store itself gave, so
that the clocks of the machines don't matter. A holder that was only paused finds its claim gone,
and `Lease.guard` keeps it from writing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from transforms import storage
from transforms.errors import BusyError, WorkError
from transforms.processes import ProcessIdentity, this_process

LOCK = "lock"
LEASE_SECONDS = 300.0

_CLAIM = ".claim"
_BEAT = ".beat"
_GUARD = "guard"
# A beat may fail to be written a few times before the lease is over.
_BEATS_A_LEASE = 6
_POLL_SECONDS = 2.0
# Of several that come at once all but one withdraw; so long that one waits for the others to.
_SETTLE_SECONDS = 10.0
_SETTLE_POLL = 0.05
# A commit's last step takes milliseconds; a holder that is in it for longer was stopped there.
_BREAK_SECONDS = 5.0


@dataclass(frozen=True)
class Holder:
    """What a claim says. began: in ISO 8601, by its machine's clock. lease: in seconds."""

    id: str
    command: str
    process: ProcessIdentity
    began: str
    lease: float

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Holder:
        return cls(**{**values, "process": ProcessIdentity(**values["process"])})

    def __str__(self) -> str:
        where = f"process {self.process.pid} on {self.process.host}"
        return f"palipipe {self.command}, {where}, since {self.began}"


class LockHeldError(BusyError):
    """Another run has the folder. silent: seconds since it was last heard of, if that is known."""

    def __init__(self, output: str, holder: Holder, silent: float | None):
        heard = "" if silent is None else f", last heard of {silent:,.0f} s ago"
        super().__init__(
            f"{output}: another run has this folder ({holder}{heard}). Run again later, or wait "
            "for it with --wait-for-lock 1h. Should it be gone, that is noticed at once on its own "
            f"machine, and elsewhere after {holder.lease:,.0f} s of silence"
        )
        self.holder = holder


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
                stack.enter_context(_flock(self.output, fcntl.LOCK_SH))
            except BlockingIOError:
                raise TakenOverError(
                    f"{self.output}: another run is taking over. What this run committed before "
                    "stays, and it writes nothing more"
                ) from None
            if not storage.exists(_path(self.output, self.id + _CLAIM)):
                raise TakenOverError(
                    f"{self.output}: another run took over, as nothing was heard of this one for "
                    "longer than its lease. What this run committed before stays, and it writes "
                    "nothing more; the other one goes on from there"
                )
            yield


class Lock:
    """The way to a `Lease`, and what keeps it alive. Used once, as a context is."""

    def __init__(self, output: str, command: str, lease: float = LEASE_SECONDS):
        self._output = output
        self._command = command
        self._lease = lease
        self._id = ""
        self._released = threading.Event()

    def acquire(
        self, wait: float = 0.0, waiting: Callable[[Holder], object] = lambda holder: None
    ) -> str:
        """Take the folder; returns the claim's id.

        wait: seconds to wait for it. waiting: told once of the run that is waited for.

        Raises:
            LockHeldError: another run has it all that time.
        """
        deadline = time.monotonic() + wait
        told = False
        while True:
            try:
                self._attempt()
                break
            except LockHeldError as held:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise
                if not told:
                    waiting(held.holder)
                    told = True
                time.sleep(min(_POLL_SECONDS, left))
        self._beat()
        threading.Thread(target=self._keep_beating, name="palipipe-lease", daemon=True).start()
        return self._id

    def release(self) -> None:
        """Give the folder back."""
        self._released.set()
        storage.remove(_path(self._output, self._id + _CLAIM))
        storage.remove(_path(self._output, self._id + _BEAT))

    def _attempt(self) -> None:
        """Put up a claim and see it stand alone. Raises LockHeldError, the claim withdrawn."""
        self._claim()
        until = time.monotonic() + _SETTLE_SECONDS
        try:
            while True:
                claims, beats = self._look()
                if self._id not in claims:  # paused for so long that somebody broke it
                    self._claim()
                    continue
                now = claims[self._id]
                ages = {id: _age(now, claims[id], beats.get(id)) for id in claims}
                others = [id for id in sorted(ages) if id != self._id]
                there = [h for id in others if (h := self._living(id, ages[id]))]
                if not there:
                    break
                first = [h for h in there if h.id in beats] or [h for h in there if h.id < self._id]
                if first or time.monotonic() > until:
                    holder = (first or there)[0]
                    raise LockHeldError(self._output, holder, ages[holder.id])
                time.sleep(_SETTLE_POLL)
        except BaseException:
            storage.remove(_path(self._output, self._id + _CLAIM))
            raise
        for id in beats.keys() - claims.keys():  # of holders that were killed while they released
            storage.remove(_path(self._output, id + _BEAT))

    def _claim(self) -> None:
        """Each attempt has a claim of its own: a late removal of an earlier one can't hit it."""
        self._id = uuid.uuid4().hex
        began = datetime.now(UTC).isoformat(timespec="seconds")
        holder = Holder(self._id, self._command, this_process(), began, self._lease)
        storage.write_json(_path(self._output, self._id + _CLAIM), self._output, asdict(holder))

    def _look(self) -> tuple[dict[str, float | None], dict[str, float | None]]:
        """Claims and beats by their ids, with the times at which the store says they were made."""
        times = storage.list_times(storage.join(self._output, LOCK))
        return (
            {n.removesuffix(_CLAIM): t for n, t in times.items() if n.endswith(_CLAIM)},
            {n.removesuffix(_BEAT): t for n, t in times.items() if n.endswith(_BEAT)},
        )

    def _living(self, id: str, age: float | None) -> Holder | None:
        """The holder of another claim; None once the claim is gone, removed here if it is dead."""
        path = _path(self._output, id + _CLAIM)
        holder = _holder(path)
        if holder is None or not _is_over(holder, age):
            return holder
        try:
            with _flock(self._output, fcntl.LOCK_EX):
                claims, beats = self._look()
                now = claims.get(self._id)
                age = _age(now, claims[id], beats.get(id)) if now and id in claims else None
                if id in claims and not _is_over(holder, age):
                    return holder  # it was paused, and is back
                storage.remove(path)
                storage.remove(_path(self._output, id + _BEAT))
        except BlockingIOError:  # it was stopped in the middle of a commit
            return holder
        return None

    def _beat(self) -> None:
        values = {"at": datetime.now(UTC).isoformat(timespec="seconds")}
        storage.write_json(_path(self._output, self._id + _BEAT), self._output, values)

    def _keep_beating(self) -> None:
        while not self._released.wait(self._lease / _BEATS_A_LEASE):
            # A store that fails now and then is no reason to end: `Lease.guard` decides.
            with contextlib.suppress(Exception):
                if not storage.exists(_path(self._output, self._id + _CLAIM)):
                    return
                self._beat()
        # A beat that was under way while the lock was released.
        with contextlib.suppress(Exception):
            storage.remove(_path(self._output, self._id + _BEAT))


def _path(output: str, name: str) -> str:
    return storage.join(output, LOCK, name)


def _age(now: float | None, claimed: float | None, beat: float | None) -> float | None:
    """Seconds since a claim's holder was heard of; None where the store tells no times."""
    heard = max(claimed or 0.0, beat or 0.0)
    return max(now - heard, 0.0) if now and heard else None


def _is_over(holder: Holder, age: float | None) -> bool:
    return holder.process.is_dead() or (age is not None and age > holder.lease)


def _holder(path: str) -> Holder | None:
    """What a claim says; None where it has just been removed."""
    try:
        return Holder.from_json(storage.read_json(path))
    except Exception:
        if storage.exists(path):
            raise
        return None


@contextlib.contextmanager
def _flock(output: str, kind: int) -> Iterator[None]:
    """A lock of the kernel's on a local folder, which ends with the process at the latest.

    Shared by those who commit, exclusive for who breaks a claim. Where the folder is on a store, or
    on a filesystem without such locks, it is nothing.

    Raises:
        BlockingIOError: it can't be had for `_BREAK_SECONDS`.
    """
    if not storage.is_local(output):
        yield
        return
    path = _path(output, _GUARD)
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
            time.sleep(_SETTLE_POLL)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP):
                return None
            raise
