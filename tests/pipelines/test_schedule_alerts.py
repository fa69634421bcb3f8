"""What raises an alert, and that small or restless samples don't."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.schedule_alerts import Bounds, Sample, alerts, line
from transforms.history import RunRecord, Units
from transforms.processes import ProcessIdentity

PROCESS = ProcessIdentity("host", "boot", 1, 1)


def run(rows, dropped=0, failed=0, **more):
    values = {
        "run": "000042-abc",
        "command": "annotate",
        "state": "ended",
        "began": "now",
        "process": PROCESS,
        "version": "1",
        "fingerprint": "f",
        "rows": rows,
        "images": 1000,
        "outcomes": {"kept": rows - dropped - failed, "filtered": dropped, "failed": failed},
        "units": Units(new=rows and 1),
    }
    return RunRecord(**{**values, **more})


def kinds(record, earlier, **bounds):
    return [alert["kind"] for alert in alerts(record, earlier, Bounds(**bounds))]


USUAL = [run(500, 50) for _ in range(10)]


def test_a_drop_rate_that_jumps_is_told_with_its_numbers():
    (alert,) = alerts(run(500, 200), USUAL, Bounds(drop_rate=0.1))
    assert alert == {
        "kind": "drop_rate",
        "now": 0.4,
        "images": 500,
        "before": 0.1,
        "before_images": 5000,
        "before_runs": 10,
        "bound": 0.1,
        "run": "000042-abc",
    }


def test_one_that_falls_is_told_too_as_a_filter_may_have_stopped_working():
    assert kinds(run(500, 0), [run(500, 200)] * 10, drop_rate=0.1) == ["drop_rate"]


def test_within_the_bound_nothing_is_told_however_sure_it_is():
    assert kinds(run(100_000, 19_000), USUAL, drop_rate=0.1) == []


def test_rates_have_bounds_of_their_own():
    broken = run(500, 50, failed=100)
    assert kinds(broken, USUAL, drop_rate=0.1) == []
    assert kinds(broken, USUAL, failure_rate=0.1) == ["failure_rate"]
    assert kinds(broken, USUAL) == []


def test_three_images_page_nobody():
    assert kinds(run(3, 3), USUAL, drop_rate=0.0) == []
    assert kinds(run(3, 3), [run(3)] * 3, drop_rate=0.0) == []


def test_many_runs_of_three_images_are_looked_at_together():
    assert kinds(run(3, 3), USUAL + [run(3, 3)] * 9, drop_rate=0.1) == ["drop_rate"]
    assert kinds(run(3, 3), USUAL + [run(3, 3)] * 5, drop_rate=0.1) == []


def test_a_new_level_is_told_until_it_has_lasted_for_nearly_as_many_runs_as_count():
    records, told = list(USUAL), 0
    while found := alerts(run(500, 200), records, Bounds(drop_rate=0.1, runs=10)):
        records.append(run(500, 200, alerts=tuple(found)))
        told += 1
    assert told == 8


def test_without_enough_runs_before_there_is_nothing_to_compare_with():
    assert kinds(run(500, 500), [], drop_rate=0.1) == []
    assert kinds(run(500, 500), USUAL[:2], drop_rate=0.1) == []
    assert kinds(run(500, 500), USUAL[:3], drop_rate=0.1) == ["drop_rate"]


def test_runs_that_always_differ_much_have_to_differ_more():
    restless = [run(500, dropped) for dropped in (0, 250, 20, 180, 5, 230, 40, 200)]
    pooled = sum(r.outcomes["filtered"] for r in restless) / 4000
    steady = [run(500, round(500 * pooled))] * 8
    assert kinds(run(500, 240), steady, drop_rate=0.1) == ["drop_rate"]
    assert kinds(run(500, 240), restless, drop_rate=0.1) == []


def test_only_the_last_runs_count():
    old, new = [run(500, 400)] * 30, [run(500, 50)] * 5
    assert kinds(run(500, 50), old + new, drop_rate=0.1, runs=5) == []
    assert kinds(run(500, 400), old + new, drop_rate=0.1, runs=5) == ["drop_rate"]


def test_runs_without_new_images_say_nothing_of_rates():
    assert kinds(run(0), USUAL, drop_rate=0.1, failure_rate=0.1) == []
    assert kinds(run(500, 200), USUAL + [run(0)] * 50, drop_rate=0.1) == ["drop_rate"]


def test_chance_alone_raises_one_in_a_thousand_at_the_most():
    chance = random.Random(1)

    def drawn(images):
        return run(images, sum(chance.random() < 0.1 for _ in range(images)))

    earlier = [drawn(200) for _ in range(20)]
    told = sum(bool(kinds(drawn(200), earlier, drop_rate=0.0)) for _ in range(500))
    assert told <= 2


def test_the_nth_run_without_anything_new_is_told():
    idle = run(0)
    assert kinds(idle, [*USUAL, idle], nothing_new=3) == []
    assert kinds(idle, [*USUAL, idle, idle], nothing_new=3) == ["nothing_new"]
    assert kinds(run(500), [idle, idle, idle], nothing_new=3) == []
    assert kinds(idle, [], nothing_new=1) == ["nothing_new"]


def test_inputs_that_stand_for_nothing_are_told_each():
    record = run(0, images=0, empty=("a/*.tar", "b/*.tar"))
    found = alerts(record, [], Bounds(no_input=True))
    assert [alert["input"] for alert in found] == ["a/*.tar", "b/*.tar"]
    assert kinds(run(0, images=0), [], no_input=True) == ["no_input"]
    assert kinds(run(0, images=9), [], no_input=True) == []
    assert kinds(record, []) == []


def test_the_line_has_one_line_and_stable_words():
    (alert,) = alerts(run(500, 200), USUAL, Bounds(drop_rate=0.1))
    assert line(alert, "gs://bucket/out put\n") == (
        "palipipe-alert kind=drop_rate now=0.4000 images=500 before=0.1000 before_images=5000 "
        'before_runs=10 bound=0.1000 run=000042-abc output="gs://bucket/out put "'
    )


# From Wilson (1927), as in Newcombe (1998) for 95 %; here for 99.9 %, worked out by hand:
# n = 10, x = 0 gives 0 to z² / (n + z²) = 10.827 / 20.827.
def test_wilsons_interval_of_none_in_ten():
    low, high = Sample(0.0, 10, 10).interval()
    assert low == pytest.approx(0, abs=1e-12)
    assert high == pytest.approx(0.51987, abs=1e-4)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_share_and_stays_within_bounds(sample):
    k, n = sample
    low, high = Sample(k / n, n, n).interval()
    assert -1e-9 <= low <= k / n + 1e-9
    assert k / n - 1e-9 <= high <= 1 + 1e-9
