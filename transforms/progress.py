"""How far a local run is, told by the workers of this process to whoever shows it.

A Beam step is pickled even when it runs in the launcher's own process, so a step can't hold the
launcher's meter. It holds its name instead; where no meter has that name (on a remote worker)
nothing is counted.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Meter:
    """Counts that only grow. rows: finished records; bytes: encoded bytes of those."""

    rows: int = 0
    bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, rows: int, size: int) -> None:
        with self._lock:
            self.rows += rows
            self.bytes += size


_meters: dict[str, Meter] = {}


def register(name: str) -> Meter:
    """A new meter that steps of this process find by its name."""
    _meters[name] = meter = Meter()
    return meter


def unregister(name: str) -> None:
    _meters.pop(name, None)


def advance(name: str | None, rows: int, size: int) -> None:
    """Count finished records on the meter of that name, if this process has it."""
    if name is not None and (meter := _meters.get(name)) is not None:
        meter.add(rows, size)
