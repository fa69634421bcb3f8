"""Runs a pipeline in this process, in waves of units.

Beam's in-process runner keeps a stage's whole output in memory and says nothing until the end.
A wave is one pipeline over some units: memory is bounded by the wave, and what a wave has
committed survives whatever comes after it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import signal
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from pipelines.reporter import Reporter
from transforms import counters, filesystems, progress
from transforms.errors import raised_in_worker
from transforms.unit import Unit

# A kill costs the work of one wave; a pipeline costs some 50 ms to build and take down.
WAVE_SECONDS = 15.0
# Rows of a wave wait in memory for their unit's end; a unit has seldom more than 10,000.
WAVE_UNITS = 64
# A first guess of bytes a second that errs on the small side, so that the first wave is short.
FIRST_RATE = 1 << 17
# What a picture is taken to have where only its name is known.
PICTURE_BYTES = 50_000


def run_in_waves(
    units: Sequence[Unit],
    build: Callable[[beam.Pipeline, Sequence[Unit], str], Any],
    reporter: Reporter,
) -> Counter[str]:
    """Run `build(pipeline, units, name of the progress meter)` over all units, wave after wave.

    Returns the totals of the steps' counters.

    Raises:
        WorkError: a step failed; what earlier waves committed stays.
    """
    name = uuid.uuid4().hex
    meter = progress.register(name)
    totals: Counter[str] = Counter()
    try:
        by, amount = measure(units)
        # What is there already, modules and a loaded model, isn't searched for garbage after each
        # wave: that took longer than building and taking down its pipeline.
        gc.freeze()
        with reporter.watching(meter, sum(map(amount, units)), by):
            for wave in waves(units):
                totals += _run(lambda p: build(p, wave, name))  # noqa: B023 (run at once)
                reporter.wave_done(sum(map(amount, wave)))
    finally:
        gc.unfreeze()
        progress.unregister(name)
    return totals


def _run(build: Callable[[beam.Pipeline], Any]) -> Counter[str]:
    options = filesystems.options()
    try:
        with _minding_ctrl_c(), beam.Pipeline(runner=FnApiRunner(), options=options) as pipeline:
            build(pipeline)
        return counters.totals(pipeline.result)
    except Exception as error:
        raise raised_in_worker(error) from error
    finally:
        _give_back_memory()


@contextlib.contextmanager
def _minding_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt for Ctrl-C also where Beam makes a RuntimeError of it, in a step."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    pressed = threading.Event()

    def interrupt(*_: object) -> None:
        pressed.set()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    except Exception as error:
        if pressed.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        signal.signal(signal.SIGINT, before)


def _give_back_memory() -> None:
    """Keep a long run's memory level: what a wave needed is not left lying about for the next.

    Beam's graphs are cyclic, Arrow keeps freed buffers, and so does glibc.
    """
    gc.collect()
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def measure(units: Sequence[Unit]) -> tuple[str, Callable[[Unit], int]]:
    """What progress over these units is told by: rows where all say how many, else bytes."""
    if all(unit.records is not None for unit in units):
        return "rows", lambda unit: unit.records or 0
    return "bytes", lambda unit: unit.size


def cost(unit: Unit) -> int:
    """Bytes a unit has to read, about: those of a list are not the bytes of what it names."""
    return max(unit.size, PICTURE_BYTES * (unit.records or 0))


def waves(
    units: Sequence[Unit], clock: Callable[[], float] = time.monotonic
) -> Iterator[list[Unit]]:
    """Runs of units, in order, each as many as should take `WAVE_SECONDS` at the last one's pace.

    A wave has one unit at least. Its time is what passes until the next one is asked for.
    """
    rate: float = FIRST_RATE
    left = deque(units)
    while left:
        wave = [left.popleft()]
        size = cost(wave[0])
        while left and len(wave) < WAVE_UNITS and size + cost(left[0]) <= rate * WAVE_SECONDS:
            size += cost(left[0])
            wave.append(left.popleft())
        began = clock()
        yield wave
        rate = size / max(clock() - began, 1e-3)
