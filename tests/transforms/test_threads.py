"""Producing ahead of the consumer."""

import threading
import time

import pytest

from transforms.threads import Waited, ahead


@pytest.mark.parametrize("capacity", [0, 1, 8])
def test_elements_come_in_order_whatever_the_capacity(capacity):
    assert list(ahead(range(100), capacity)) == list(range(100))


def test_no_more_than_capacity_and_one_are_produced_ahead():
    produced = []

    def source():
        for n in range(100):
            produced.append(n)
            yield n

    stream = ahead(source(), 4)
    next(stream)
    time.sleep(0.3)
    # One consumed, four waiting, one in the producer's hand.
    assert len(produced) == 6
    stream.close()


def test_the_producers_exception_is_raised_after_what_came_before_it():
    def source():
        yield 1
        raise KeyError("gone")

    stream = ahead(source(), 4)
    assert next(stream) == 1
    with pytest.raises(KeyError, match="gone"):
        next(stream)


def test_a_consumer_that_stops_early_leaves_no_thread_behind():
    before = threading.active_count()
    stream = ahead(iter(int, 1), 2)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_only_the_time_in_which_the_consumer_waits_is_counted():
    def slow():
        for n in range(3):
            time.sleep(0.05)
            yield n

    stream = Waited(slow())
    for _ in stream:
        time.sleep(0.2)
    assert 0.15 <= stream.seconds < 0.5
