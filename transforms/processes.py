"""Which process holds something, said so that another one can tell whether it is still there.

A process number alone says little: it is given out again, and another machine or container has
its own. So it goes with the system's boot, the namespace of process numbers and the moment at
which the process began.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

# Fields of /proc/PID/stat after the command's name, see proc(5): `state` is the third of all
# fields, `starttime` (in clock ticks since boot) the twenty-second.
_STATE = 0
_STARTED = 19
_DEAD_STATES = ("Z", "X")


@dataclass(frozen=True)
class ProcessIdentity:
    """A process among all that there ever were.

    host: for people. system: boot and namespace in which `pid` has a meaning; empty where the
    system doesn't tell. started: clock ticks from boot to the process's beginning.
    """

    host: str
    system: str
    pid: int
    started: int

    def is_dead(self) -> bool:
        """True only where it is certain: the process was of this system and is no more."""
        if not self.system or self.system != _system():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # there is one, of another user
            pass
        fields = _stat(self.pid)
        if fields is None:
            return False
        return fields[_STATE] in _DEAD_STATES or int(fields[_STARTED]) != self.started


def this_process() -> ProcessIdentity:
    fields = _stat(os.getpid())
    started = int(fields[_STARTED]) if fields else 0
    return ProcessIdentity(socket.gethostname(), _system(), os.getpid(), started)


def _system() -> str:
    """Empty where there is no /proc: then only a heartbeat tells whether a process is there."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    """What the kernel says of a process; None where it says nothing."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name, in parentheses, may itself hold spaces and parentheses.
    return text.rpartition(")")[2].split()
