"""The counters that the steps keep: their names in one place, and their totals after a run.

Beam carries them from wherever a step runs, so that a local run and a remote job tell the same.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from apache_beam.metrics import Metrics

NAMESPACE = "palipipe"

UNITS_COMMITTED = "units_committed"
UNITS_FAILED = "units_failed"
BLOCKLIST_HITS = "blocklist_hits"

ROWS = "rows_"
"""What the counter of rows of an outcome begins with."""

MODEL_ROWS = "model_rows"
"""Answers asked of the model: pictures times tasks."""
PADDED_ROWS = "padded_rows"
"""Rows that only filled a batch."""
DECODING_ROW_STEPS = "decoding_row_steps"
"""Rows, padding included, times the steps for which their batch was decoded."""
DECODED_TOKENS = "decoded_tokens"
"""Those row-steps that wrote a token, the one that ends an answer included."""
RECOMPILATIONS = "recompilations"
"""Programs compiled after loading; anything but 0 is a defect."""
MODEL_MICROSECONDS = "model_microseconds"
"""Time in the model's calls."""
WAITING_MICROSECONDS = "waiting_microseconds"
"""Time in which the model could have worked and no batch was ready."""
UNIT_MICROSECONDS = "unit_microseconds"
"""Time from taking a unit up to having its last row, the two above included."""


def count(name: str, amount: int = 1) -> None:
    """Add to a counter, from within a step."""
    Metrics.counter(NAMESPACE, name).inc(amount)


def count_seconds(name: str, seconds: float) -> None:
    """Add to a counter of microseconds."""
    count(name, round(seconds * 1e6))


def outcome_counter(outcome: str) -> str:
    """The counter of rows with an outcome."""
    return ROWS + outcome


def totals(result: Any) -> Counter[str]:
    """Counter to total over all steps. result: of a Beam pipeline that has ended."""
    found: Counter[str] = Counter()
    for counter in result.metrics().query()["counters"]:
        if counter.key.metric.namespace == NAMESPACE:
            found[counter.key.metric.name] += counter.result or 0  # None of a job service for 0
    return found
