"""What fits is known before a weight is read, and what doesn't is answered with what does."""

from dataclasses import replace
from pathlib import Path

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import fit
from model.checkpoint import read_config
from model.engine import Engine
from model.errors import ModelError
from model.fit import STEPS, DoesNotFit, Trial, fitted, largest_that_fits
from model.memory import GIB, capacity, host_memory, needed
from model.programs import EngineSpec
from model.sharding import Placement

CHECKPOINT = Path(__file__).parents[1] / "data" / "goldens" / "bv_paligemma2.npz"
SPEC = EngineSpec(str(CHECKPOINT), batch_size=8, prompt_lengths=(8,), max_new_tokens=4)
CONFIG = read_config(SPEC.checkpoint)
DEVICES = jax.local_devices()[:1]


@pytest.fixture(scope="module")
def need():
    """Bytes that the golden's model needs, by batch."""
    trial = Trial(SPEC, CONFIG, Placement.over(DEVICES), room=None)
    return {rows: trial.of(rows)[1] for rows in (2, 8)}


@pytest.fixture
def room(monkeypatch):
    """Sets what the device seems to have, in bytes."""
    return lambda size: monkeypatch.setattr(fit, "capacity", lambda _: size)


def test_what_is_needed_grows_with_the_batch_and_holds_the_weights(need):
    weights = CHECKPOINT.stat().st_size * 0.95
    assert weights < need[2] < need[8]


def test_a_batch_that_fits_is_compiled_once(room, need, monkeypatch):
    compiled = []
    compile_programs = fit.compile_programs
    monkeypatch.setattr(
        fit,
        "compile_programs",
        lambda spec, *rest: compiled.append(spec.rows) or compile_programs(spec, *rest),
    )
    room(need[8])
    found = fitted(SPEC, CONFIG, DEVICES)
    assert compiled == [8] == [found.spec.rows]
    assert needed(found.programs) == need[8]


def test_a_batch_that_does_not_fit_is_refused_with_the_largest_that_does(room, need):
    room(need[2])
    with pytest.raises(DoesNotFit) as refusal:
        Engine.load(SPEC)
    message = str(refusal.value)
    assert message.startswith("bv_paligemma2.npz at batch 8 needs 0.0")
    assert "the machine has 0.0" in message
    assert message.endswith("largest batch 2 (--batch-size 2)")


def test_no_weight_is_read_before_it_is_known_to_fit(room, need, monkeypatch):
    monkeypatch.setattr("model.engine.load", lambda *_: pytest.fail("weights were read"))
    room(need[2])
    with pytest.raises(DoesNotFit):
        Engine.load(SPEC)


def test_an_automatic_batch_is_the_largest_that_fits(room, need):
    automatic = replace(SPEC, batch_size=None)
    room(need[2])
    assert Engine.load(automatic).spec.batch_size == 2
    room(need[8] * 2)
    assert Engine.load(automatic).spec.batch_size == fit.ENOUGH_ON_CPU


def test_weights_that_do_not_fit_are_refused_without_compiling(room, monkeypatch):
    monkeypatch.setattr(fit, "compile_programs", lambda *_: pytest.fail("compiled"))
    room(1000)
    for batch_size in (8, None):
        with pytest.raises(DoesNotFit, match=r"of weights and the machine has .*: --dtype"):
            fitted(replace(SPEC, batch_size=batch_size), CONFIG, DEVICES)


def test_where_nobody_knows_the_room_nothing_is_refused(room):
    room(None)
    assert fitted(SPEC, CONFIG, DEVICES).spec.rows == 8


def test_a_batch_that_copies_cannot_share_is_refused():
    placement = Placement(jax.sharding.AbstractMesh((4, 1), ("data", "model")))
    with pytest.raises(ModelError, match="--batch-size 6 for 4 copies"):
        Trial(SPEC, CONFIG, placement, room=None).of(6)


@given(st.integers(0, 300), st.integers(1, 50), st.integers(0, 40), st.integers(0, 9000))
def test_the_search_finds_the_largest_in_few_tries(fixed, a_row, jump, room):
    """Whatever the slope, and where padding makes needs jump."""
    tries = []

    def need(rows):
        tries.append(rows)
        size = fixed + a_row * rows + jump * (rows // 8)
        return size if size <= room else None

    fitting = [rows for rows in STEPS if fixed + a_row * rows + jump * (rows // 8) <= room]
    assert largest_that_fits(need, STEPS, fixed, room) == max(fitting, default=0)
    assert len(tries) == len(set(tries)) <= len(STEPS)


def test_a_straight_line_takes_three_tries():
    tries = []

    def need(rows):
        tries.append(rows)
        return 5000 + 80 * rows if 5000 + 80 * rows <= 15_750 else None

    assert largest_that_fits(need, STEPS, 5000, 15_750) == 128
    assert tries == [1, 128, 192]


MEMINFO = "MemTotal:  100 kB\nMemAvailable:  64 kB\n"


def machine(folder, cgroup, files):
    """Fake /proc and /sys/fs/cgroup with these files."""
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "meminfo").write_text(MEMINFO)
    (folder / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return host_memory(folder / "proc", folder / "cgroup")


def group(folder, limit, used, cached):
    return {
        f"{folder}memory.max": f"{limit}\n",
        f"{folder}memory.current": f"{used}\n",
        f"{folder}memory.stat": f"anon 5\ninactive_file {cached}\n",
    }


def test_a_machine_without_limits_has_what_it_says(tmp_path):
    assert machine(tmp_path, "0::/\n", {}) == 64 * 1024


def test_a_container_has_what_its_limit_leaves_and_files_it_could_drop(tmp_path):
    assert machine(tmp_path, "0::/\n", group("", 9000, 5000, 1000)) == 5000


def test_the_tightest_of_nested_groups_counts(tmp_path):
    files = group("a/b/", "max", 100, 0) | group("a/", 7000, 4000, 0) | group("", 60_000, 100, 0)
    assert machine(tmp_path, "0::/a/b\n", files) == 3000


def test_the_first_version_of_control_groups_is_read_too(tmp_path):
    files = {
        "memory/job/memory.limit_in_bytes": "8000\n",
        "memory/job/memory.usage_in_bytes": "3000\n",
        "memory/job/memory.stat": "total_inactive_file 500\n",
    }
    assert machine(tmp_path, "3:cpu,cpuacct:/job\n2:memory:/job\n", files) == 5500


def test_elsewhere_nobody_knows(tmp_path):
    assert host_memory(tmp_path / "proc", tmp_path) is None


def test_a_cpu_has_what_this_machine_has():
    assert 0.05 * GIB < capacity(DEVICES[0]) < 100_000 * GIB
