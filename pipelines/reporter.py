"""What a person sees of a run under way: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from tqdm import tqdm

from transforms.progress import Meter

BAR_SECONDS = 0.2
LINE_SECONDS = 10.0
BAR = "{percentage:3.0f} % |{bar}| {desc}"


class Reporter:
    """Shows images done, images a second and time left, from a meter that the work advances.

    Where it isn't known beforehand how many images there are (a tar doesn't say), the share that
    is done, and with it the time left, goes by bytes.
    """

    def __init__(self, style: str = "auto", stream: TextIO | None = None):
        """style: auto, bar, lines or none."""
        self._stream = stream or sys.stderr
        if style == "auto":
            style = "bar" if self._stream.isatty() else "lines"
        self._style = style
        self._done = 0
        self._wave_start = 0

    @contextlib.contextmanager
    def watching(self, meter: Meter, total: int, by: str = "bytes") -> Iterator[None]:
        """Show the meter until the block ends. total: `by` (bytes or rows) of all the work."""
        self._meter, self._total, self._by = meter, max(total, 1), by
        self._began = time.monotonic()
        finished = threading.Event()
        show: Callable[[threading.Event], object] = {
            "bar": self._bar,
            "lines": self._lines,
            "none": self._nothing,
        }[self._style]
        thread = threading.Thread(
            target=show, args=(finished,), name="palipipe-progress", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            finished.set()
            thread.join()

    def wave_done(self, amount: int) -> None:
        """Some units are committed: so much of the total, whatever the meter says of them."""
        self._done += amount
        self._wave_start = getattr(self._meter, self._by)

    def share(self) -> float:
        """How much is done, between 0 and 1."""
        under_way = getattr(self._meter, self._by) - self._wave_start
        return min((self._done + under_way) / self._total, 1.0)

    def text(self) -> str:
        """``1,234 images, 56.7 images/s, 0:12:34 left``"""
        seconds = max(time.monotonic() - self._began, 1e-6)
        rows, share = self._meter.rows, self.share()
        left = ""
        if 0 < share < 1:
            left = f", {tqdm.format_interval(seconds * (1 - share) / share)} left"
        return f"{rows:,} images, {rows / seconds:,.1f} images/s{left}"

    def _bar(self, finished: threading.Event) -> None:
        with tqdm(total=self._total, file=self._stream, bar_format=BAR, dynamic_ncols=True) as bar:
            while True:
                ended = finished.wait(BAR_SECONDS)
                bar.n = round(self.share() * self._total)
                bar.set_description_str(self.text(), refresh=True)
                if ended:
                    return

    def _nothing(self, finished: threading.Event) -> None:
        finished.wait()

    def _lines(self, finished: threading.Event) -> None:
        while not finished.wait(LINE_SECONDS):
            print(f"{self.share():4.0%} {self.text()}", file=self._stream, flush=True)
