"""What a training says of itself: a log in JSON lines, a bar, and the loss as a picture."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

LINE_SECONDS = 10.0


class Log:
    """`log.jsonl`: one line every few steps with loss, learning rate and examples a second, and
    one for each evaluation. Going on from a step drops the lines that come after it."""

    def __init__(self, path: Path, step: int):
        self._path = path
        self.lines = [line for line in _lines(path) if line["step"] <= step]
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        partial = path.with_suffix(".partial")
        partial.write_text(text)
        os.replace(partial, path)

    def write(self, step: int, **values: Any) -> None:
        line = {"step": step, **values}
        self.lines.append(line)
        with open(self._path, "a") as file:
            file.write(json.dumps(line) + "\n")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Whole lines; a process that was killed may have left half of one."""
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                return


class Progress:
    """A bar on a terminal, else a line now and then."""

    def __init__(self, style: str, label: str, total: int, done: int, unit: str):
        """style: auto, bar, lines or none. label: what is counted. unit: bytes or steps."""
        stream: TextIO = sys.stderr
        if style == "auto":
            style = "bar" if stream.isatty() else "lines"
        self._lines = style == "lines"
        self._label, self._total, self._done, self._text = label, total, done, ""
        self._said = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=done,
            desc=label,
            unit=unit,
            unit_scale=unit == "B",
            file=stream,
            dynamic_ncols=True,
            disable=style != "bar",
        )

    def advance(self, count: int) -> None:
        self._done += count
        self._bar.update(count)
        if self._lines and time.monotonic() - self._said >= LINE_SECONDS:
            self.say()

    def tell(self, text: str) -> None:
        """What is shown beside the count."""
        self._text = text
        self._bar.set_postfix_str(text, refresh=False)

    def say(self) -> None:
        self._said = time.monotonic()
        share = self._done / max(self._total, 1)
        print(f"{self._label} {share:4.0%} {self._text}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self._bar.close()


@contextmanager
def progress(
    style: str, label: str, total: int, done: int = 0, unit: str = "steps"
) -> Iterator[Progress]:
    shown = Progress(style, label, total, done, unit)
    try:
        yield shown
    finally:
        shown.close()


def draw_losses(lines: list[dict[str, Any]], path: Path) -> None:
    """Training and held-out loss, and the learning rate below, over the steps, as a PNG."""
    from matplotlib.figure import Figure

    trained = [line for line in lines if "loss" in line]
    held_out = [line for line in lines if "held_out_loss" in line]
    matched = [line for line in lines if "exact_match" in line]
    figure = Figure(figsize=(8, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot(*_points(trained, "loss"), label="training", linewidth=1)
    if held_out:
        above.plot(*_points(held_out, "held_out_loss"), "o-", label="held out", markersize=3)
    above.set(ylabel="loss, nats", yscale="log")
    above.grid(alpha=0.3)
    if matched:
        share = above.twinx()
        share.plot(*_points(matched, "exact_match"), "C2s-", label="exact match", markersize=3)
        share.set(ylabel="exact match", ylim=(0, 1))
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    below.plot(*_points(trained, "learning_rate"), color="C3", linewidth=1)
    below.set(xlabel="step", ylabel="learning rate")
    below.grid(alpha=0.3)
    partial = path.with_suffix(".partial")
    figure.savefig(partial, format="png", dpi=120)
    os.replace(partial, path)


def _points(lines: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    return [line["step"] for line in lines], [line[name] for line in lines]
