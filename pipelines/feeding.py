"""How well a run fed its model: when it worked, when it waited, and what it did for nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from transforms import counters


@dataclass(frozen=True)
class Feeding:
    """Seconds, and shares between 0 and 1, of all that the run did.

    images: rows of any outcome. seconds: of the run, or of its workers together where it ran
    elsewhere. model, waiting: shares of these seconds in the model's calls, and in which it was
    free and no batch was ready; the rest is other work on its thread.
    padding: share of the model's rows that only filled a batch. writing: share of its decoding
    steps, by rows, that wrote a token; the others waited for their batch's longest answer.
    recompilations: programs compiled after loading.
    """

    images: int
    seconds: float
    model: float
    waiting: float
    padding: float
    writing: float
    recompilations: int

    @classmethod
    def of(cls, totals: Mapping[str, int], elapsed: float | None = None) -> Feeding | None:
        """From the totals of a run's counters; None where no model was asked anything.

        elapsed: seconds the run took in this process; None where its workers were elsewhere.
        """
        rows = totals.get(counters.MODEL_ROWS, 0)
        if not rows:
            return None
        in_units = totals.get(counters.UNIT_MICROSECONDS, 0) / 1e6
        seconds = max(in_units if elapsed is None else elapsed, 1e-6)
        padded = totals.get(counters.PADDED_ROWS, 0)
        return cls(
            images=sum(n for name, n in totals.items() if name.startswith(counters.ROWS)),
            seconds=seconds,
            model=totals[counters.MODEL_MICROSECONDS] / 1e6 / seconds,
            waiting=totals.get(counters.WAITING_MICROSECONDS, 0) / 1e6 / seconds,
            padding=padded / (rows + padded),
            writing=totals[counters.DECODED_TOKENS] / totals[counters.DECODING_ROW_STEPS],
            recompilations=totals.get(counters.RECOMPILATIONS, 0),
        )

    def text(self) -> str:
        """The same for a person, in two or three lines."""
        rest = 1 - self.model - self.waiting
        lines = [
            f"{self.images:,} images in {self.seconds:,.1f} s, "
            f"{self.images / self.seconds:,.1f} images/s: model {self.model:.1%}, "
            f"waiting for pictures {self.waiting:.1%}, other work {rest:.1%}",
            f"{self.padding:.1%} of the model's rows only filled a batch; "
            f"{self.writing:.1%} of its decoding steps wrote a token",
        ]
        if self.recompilations:
            lines.append(
                f"{self.recompilations} programs were compiled after loading, which costs time. "
                "This is a defect of palipipe: report it"
            )
        return "\n".join(lines)
