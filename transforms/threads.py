"""Run an iterable ahead of whoever consumes it, and tell how long that one waited.

For a producer that mostly waits or works outside the interpreter's lock (reading, decoding,
scoring in native code). Don't use it to make pure Python code faster.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# How often a producer that is blocked on a full queue looks whether anyone still listens.
POLL_SECONDS = 0.1


class _End:
    """The producer's last word: nothing more, or the exception that ended it."""

    def __init__(self, error: BaseException | None = None):
        self.error = error


def ahead(iterable: Iterable[T], capacity: int) -> Iterator[T]:
    """The same elements in the same order, up to `capacity` of them produced ahead.

    The producer runs in one thread that ends with the iteration, also when the consumer stops
    early. Its exceptions are raised here. A capacity of 0 means no thread at all.
    """
    if capacity == 0:
        yield from iterable
        return
    buffer: queue.Queue[T | _End] = queue.Queue(capacity)
    stopped = threading.Event()

    def put(item: T | _End) -> bool:
        while not stopped.is_set():
            try:
                buffer.put(item, timeout=POLL_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            for item in iterable:
                if not put(item):
                    return
            put(_End())
        except BaseException as error:
            put(_End(error))

    thread = threading.Thread(target=produce, name="palipipe-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := buffer.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()


class Waited(Iterator[T]):
    """The same elements; `seconds` is how long their consumer has waited for them so far."""

    def __init__(self, iterable: Iterable[T]):
        self.seconds = 0.0
        self._iterator = iter(iterable)

    def __next__(self) -> T:
        began = time.perf_counter()
        try:
            return next(self._iterator)
        finally:
            self.seconds += time.perf_counter() - began
