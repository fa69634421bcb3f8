"""Waves of units, and what a person sees of them."""

import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import local
from pipelines.reporter import Reporter
from transforms.errors import InvariantError, WorkError, raised_in_worker
from transforms.progress import Meter
from transforms.unit import Unit


def units(sizes):
    return [Unit(format="files", uri=f"/{n}", size=size) for n, size in enumerate(sizes)]


class Clock:
    """A clock that moves when it is told to."""

    now = 0.0

    def __call__(self):
        return self.now


@given(st.lists(st.integers(0, 10**12)))
def test_each_unit_is_in_one_wave_and_in_order(sizes):
    given_units = units(sizes)
    waves = list(local.waves(given_units, Clock()))
    assert [unit for wave in waves for unit in wave] == given_units
    assert all(1 <= len(wave) <= local.WAVE_UNITS for wave in waves)


def test_waves_grow_until_they_take_as_long_as_they_should():
    clock = Clock()
    sizes = []
    for wave in local.waves(units([1 << 20] * 600), clock):
        sizes.append(len(wave))
        clock.now += len(wave) * 0.5  # half a second a unit
    full = round(local.WAVE_SECONDS / 0.5)
    assert sizes[0] == 1
    assert set(sizes[1:-1]) == {full}


def test_a_slow_model_gets_one_unit_a_wave():
    clock = Clock()
    for wave in local.waves(units([1 << 20] * 5), clock):
        assert len(wave) == 1
        clock.now += 3600


def test_progress_counts_images_and_estimates_the_time_left():
    reporter, meter = Reporter("none"), Meter()
    with reporter.watching(meter, total=1000):
        meter.add(rows=3, size=250)
        assert re.fullmatch(r"3 images, [\d,.]+ images/s, 00:00 left", reporter.text())
        assert reporter.share() == 0.25
        reporter.wave_done(500)
        assert reporter.share() == 0.5


def test_progress_goes_by_rows_where_every_unit_says_how_many_it_has():
    lists = [Unit(format="list", uri="/a.csv", start=n, size=40, records=1000) for n in range(3)]
    by, amount = local.measure(lists)
    assert (by, sum(map(amount, lists))) == ("rows", 3000)
    assert local.measure([*lists, *units([5])])[0] == "bytes"
    reporter, meter = Reporter("none"), Meter()
    with reporter.watching(meter, 3000, by):
        meter.add(rows=750, size=10**9)
        assert reporter.share() == 0.25


def test_a_list_is_not_taken_for_as_small_as_its_lines():
    lists = [Unit(format="list", uri="/a.csv", start=n, size=40, records=1000) for n in range(9)]
    assert len(next(local.waves(lists, Clock()))) == 1


@pytest.mark.parametrize("style", ["auto", "bar"])
def test_without_a_terminal_there_is_no_bar_unless_it_is_asked_for(style):
    stream, meter = io.StringIO(), Meter()
    with Reporter(style, stream).watching(meter, total=10):
        meter.add(1, 10)
    assert ("1 images" in stream.getvalue()) == (style == "bar")


def test_a_failure_in_a_worker_comes_back_as_what_it_was():
    text = (
        "Traceback (most recent call last):\n  ...\n"
        "transforms.errors.InvariantError: a.tar: rows differ; [why] "
        "[while running 'CommittedUnits-ptransform-33']\n"
    )
    error = raised_in_worker(RuntimeError(text))
    assert isinstance(error, InvariantError)
    assert str(error) == "a.tar: rows differ; [why]"


def test_the_steps_name_is_no_part_of_a_failures_message():
    error = raised_in_worker(WorkError("disk full [while running 'CommittedUnits']"))
    assert str(error) == "disk full"


def test_a_defect_in_a_worker_keeps_its_traceback():
    error = RuntimeError("Traceback …\nKeyError: 'x' [while running 'Step']")
    assert raised_in_worker(error) is error
    assert not isinstance(error, WorkError)
