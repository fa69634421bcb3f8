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
import fcntl
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from transforms import storage
from transforms.errors import BusyError
from transforms.lease import CLAIM, LOCK, claim_path, flock
from transforms.processes import ProcessIdentity, this_process

LEASE_SECONDS = 300.0

_BEAT = ".beat"
# A beat may fail to be written a few times before the lease is over.
_BEATS_A_LEASE = 6
_POLL_SECONDS = 2.0
# Of several that come at once all but one withdraw; so long that one waits for the others to.
_SETTLE_SECONDS = 10.0
_SETTLE_POLL = 0.05


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
        storage.remove(claim_path(self._output, self._id))
        storage.remove(_beat_path(self._output, self._id))

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
            storage.remove(claim_path(self._output, self._id))
            raise
        for id in beats.keys() - claims.keys():  # of holders that were killed while they released
            storage.remove(_beat_path(self._output, id))

    def _claim(self) -> None:
        """Each attempt has a claim of its own: a late removal of an earlier one can't hit it."""
        self._id = uuid.uuid4().hex
        began = datetime.now(UTC).isoformat(timespec="seconds")
        holder = Holder(self._id, self._command, this_process(), began, self._lease)
        storage.write_json(claim_path(self._output, self._id), self._output, asdict(holder))

    def _look(self) -> tuple[dict[str, float | None], dict[str, float | None]]:
        """Claims and beats by their ids, with the times at which the store says they were made."""
        times = storage.list_times(storage.join(self._output, LOCK))
        return (
            {n.removesuffix(CLAIM): t for n, t in times.items() if n.endswith(CLAIM)},
            {n.removesuffix(_BEAT): t for n, t in times.items() if n.endswith(_BEAT)},
        )

    def _living(self, id: str, age: float | None) -> Holder | None:
        """The holder of another claim; None once the claim is gone, removed here if it is dead."""
        path = claim_path(self._output, id)
        holder = _holder(path)
        if holder is None or not _is_over(holder, age):
            return holder
        try:
            with flock(self._output, fcntl.LOCK_EX):
                claims, beats = self._look()
                now = claims.get(self._id)
                age = _age(now, claims[id], beats.get(id)) if now and id in claims else None
                if id in claims and not _is_over(holder, age):
                    return holder  # it was paused, and is back
                storage.remove(path)
                storage.remove(_beat_path(self._output, id))
        except BlockingIOError:  # it was stopped in the middle of a commit
            return holder
        return None

    def _beat(self) -> None:
        values = {"at": datetime.now(UTC).isoformat(timespec="seconds")}
        storage.write_json(_beat_path(self._output, self._id), self._output, values)

    def _keep_beating(self) -> None:
        while not self._released.wait(self._lease / _BEATS_A_LEASE):
            # A store that fails now and then is no reason to end: `Lease.guard` decides.
            with contextlib.suppress(Exception):
                if not storage.exists(claim_path(self._output, self._id)):
                    return
                self._beat()
        # A beat that was under way while the lock was released.
        with contextlib.suppress(Exception):
            storage.remove(_beat_path(self._output, self._id))


def _beat_path(output: str, id: str) -> str:
    return storage.join(output, LOCK, id + _BEAT)


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
