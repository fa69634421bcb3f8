"""What an engine has done, in numbers that add up."""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True)
class Usage:
    """Totals of some calls.

    rows, padded_rows: real rows generated for, and rows that only filled a batch.
    row_steps: rows, padding included, times the steps for which their batch was decoded.
    tokens: written by real rows, the EOS included: at most row_steps, and what lacks was idle.
    recompilations: programs compiled after loading; anything but 0 is a bug.
    seconds: in the device's calls, until their results were on the host.
    """

    rows: int = 0
    padded_rows: int = 0
    row_steps: int = 0
    tokens: int = 0
    recompilations: int = 0
    seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))
