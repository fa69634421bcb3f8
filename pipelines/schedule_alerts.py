"""When a run is unlike those before it, in numbers that small samples don't upset.

A rate is compared with the pooled rate of earlier runs by the score interval for the difference of
two proportions (Newcombe 1998, method 10, of Wilson's intervals). Images of one run are alike, so
runs differ by more than chance would have it: how much more they did before is measured (Pearson's
dispersion, McCullagh and Nelder 1989, 4.5.2) and the samples count for as much less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transforms.history import RunRecord
from transforms.row import Outcome

# Two-sided 99.9 %: where nothing has changed, one run in a thousand at most is beyond chance.
Z = 3.2905
# A run of fewer images is looked at together with those before it.
LEAST_IMAGES = 30
# The runs it takes to say how much they differ from each other.
LEAST_RUNS = 3

RATES = {
    "drop_rate": (Outcome.FILTERED, Outcome.QUARANTINED),
    "failure_rate": (Outcome.FAILED,),
}

Alert = Mapping[str, Any]


@dataclass(frozen=True)
class Bounds:
    """What raises an alert; None and False for nothing.

    drop_rate, failure_rate: the difference from earlier runs that is still borne, as a share.
    nothing_new: runs in a row without a new image. runs: earlier ones that are compared with.
    """

    drop_rate: float | None = None
    failure_rate: float | None = None
    nothing_new: int | None = None
    no_input: bool = False
    runs: int = 20


@dataclass(frozen=True)
class Sample:
    """A share of some runs' images. size: of a sample of independent images that says as much."""

    share: float
    images: int
    size: float

    def interval(self) -> tuple[float, float]:
        """Wilson's score interval."""
        center = (self.share + Z * Z / (2 * self.size)) / (1 + Z * Z / self.size)
        spread = math.sqrt(self.share * (1 - self.share) / self.size + (Z / (2 * self.size)) ** 2)
        half = Z * spread / (1 + Z * Z / self.size)
        return center - half, center + half


def alerts(record: RunRecord, earlier: Sequence[RunRecord], bounds: Bounds) -> list[Alert]:
    """What is to be told of a run. earlier: runs of the same command, the latest last."""
    found: list[Alert] = []
    if bounds.no_input:
        found += [{"kind": "no_input", "input": pattern} for pattern in record.empty]
        if not record.images and not record.empty:
            found.append({"kind": "no_input"})
    if (
        bounds.nothing_new is not None
        and (count := _idle([*earlier, record])) >= bounds.nothing_new
    ):
        found.append({"kind": "nothing_new", "runs": count})
    for name in RATES:
        bound = getattr(bounds, name)
        if bound is not None and (alert := _moved(name, record, earlier, bound, bounds.runs)):
            found.append(alert)
    return [{**alert, "run": record.run} for alert in found]


def line(alert: Alert, output: str) -> str:
    """One line of stable words for logs: ``palipipe-alert kind=drop_rate run=… …``."""
    return " ".join(
        ["palipipe-alert", *(f"{k}={_word(v)}" for k, v in {**alert, "output": output}.items())]
    )


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    text = str(value)
    plain = text and not any(character in text for character in ' "=\n')
    return text if plain else '"' + text.replace("\n", " ").replace('"', "'") + '"'


def _idle(records: Sequence[RunRecord]) -> int:
    """How many of the last runs, in a row, found nothing new."""
    for count, record in enumerate(reversed(records)):
        if record.units.new or record.units.changed or record.rows:
            return count
    return len(records)


def _moved(
    name: str, record: RunRecord, earlier: Sequence[RunRecord], bound: float, runs: int
) -> Alert | None:
    """The alert for a rate that is beyond its bound, or None."""
    if not record.rows:
        return None
    now, before = _parted(record, [one for one in earlier if one.rows])
    before = _calm(before[-runs:], name)
    images = sum(one.rows for one in now)
    if images < LEAST_IMAGES or len(before) < LEAST_RUNS:
        return None
    dispersion = _dispersion(before, name)
    current, usual = _sample(now, name, dispersion), _sample(before, name, dispersion)
    low, high = _difference(current, usual)
    if not (low > bound or high < -bound):
        return None
    return {
        "kind": name,
        "now": current.share,
        "images": current.images,
        "before": usual.share,
        "before_images": usual.images,
        "before_runs": len(before),
        "bound": bound,
    }


def _parted(
    record: RunRecord, earlier: Sequence[RunRecord]
) -> tuple[list[RunRecord], list[RunRecord]]:
    """The run, with as many before it as it takes to say something; and those before them."""
    now, left = [record], list(earlier)
    while left and sum(one.rows for one in now) < LEAST_IMAGES:
        now.append(left.pop())
    return now, left


def _calm(records: list[RunRecord], name: str) -> list[RunRecord]:
    """Those that raised no such alert themselves, until a new level has lasted for nearly all."""
    calm = [one for one in records if all(alert["kind"] != name for alert in one.alerts)]
    return calm if len(calm) >= LEAST_RUNS else records


def _counts(records: Sequence[RunRecord], name: str) -> list[tuple[int, int]]:
    return [record.share(RATES[name]) for record in records]


def _dispersion(records: Sequence[RunRecord], name: str) -> float:
    """How many times more runs vary than independent images would; 1 at least."""
    counts = _counts(records, name)
    share = sum(k for k, _ in counts) / sum(n for _, n in counts)
    if share in (0, 1) or len(counts) < 2:
        return 1.0
    chi2 = sum((k - n * share) ** 2 / (n * share * (1 - share)) for k, n in counts)
    return max(1.0, chi2 / (len(counts) - 1))


def _sample(records: Sequence[RunRecord], name: str, dispersion: float) -> Sample:
    counts = _counts(records, name)
    images = sum(n for _, n in counts)
    return Sample(sum(k for k, _ in counts) / images, images, images / dispersion)


def _difference(now: Sample, before: Sample) -> tuple[float, float]:
    """The interval of the difference between two shares."""
    (low1, high1), (low2, high2) = now.interval(), before.interval()
    difference = now.share - before.share
    return (
        difference - math.hypot(now.share - low1, high2 - before.share),
        difference + math.hypot(high1 - now.share, before.share - low2),
    )
