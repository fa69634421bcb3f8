"""One run at a time over an output folder, whoever dies, sleeps or comes at the same moment."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from runs import ENVIRONMENT

from transforms import storage
from transforms.lease import Lease, TakenOverError
from transforms.lock import Lock, LockHeldError
from transforms.processes import ProcessIdentity, this_process

HOLD = """
import sys
from transforms.lease import Lease, TakenOverError
from transforms.lock import Lock
output, lease = sys.argv[1], float(sys.argv[2])
held = Lease(output, Lock(output, "annotate", lease).acquire(), "run")
print("held", flush=True)
for line in sys.stdin:
    try:
        with held.guard():
            if line.startswith("stay"):
                print("within", flush=True)
                sys.stdin.readline()
        print("guarded", flush=True)
    except TakenOverError:
        print("taken over", flush=True)
"""


@contextlib.contextmanager
def holding(output, lease=300.0):
    """A process of its own that has the folder; it tries to write at each line it is sent."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(output), str(lease)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )
    assert process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def asked(process, line="write"):
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def names(output, suffix):
    return [path for path in (output / "lock").iterdir() if path.name.endswith(suffix)]


def claim_of(output, process, lease=300.0, command="annotate"):
    """A claim with its beat, as a run of another process left it."""
    identity = dataclasses.asdict(process)
    values = {"id": "a" * 32, "command": command, "process": identity, "lease": lease}
    folder = output / "lock"
    folder.mkdir(parents=True, exist_ok=True)
    claim, beat = folder / f"{'a' * 32}.claim", folder / f"{'a' * 32}.beat"
    claim.write_text(json.dumps({**values, "began": "2026-01-01T00:00:00+00:00"}))
    beat.write_text("{}")
    return claim, beat


def elsewhere():
    return ProcessIdentity("another-machine", "its boot", 1, 1)


def silent_for(seconds, *paths):
    then = time.time() - seconds
    for path in paths:
        os.utime(path, (then, then))


def test_a_second_run_is_refused_with_the_holder_named_until_the_first_gives_it_back(tmp_path):
    first, second = Lock(str(tmp_path), "annotate"), Lock(str(tmp_path), "screen")
    first.acquire()
    with pytest.raises(LockHeldError, match=f"palipipe annotate, process {os.getpid()} on"):
        second.acquire()
    first.release()
    assert names(tmp_path, ".claim") == []
    second.acquire()
    second.release()
    assert list((tmp_path / "lock").iterdir()) == []


def test_a_run_that_waits_is_told_for_whom_and_gets_the_folder_when_it_is_free(tmp_path):
    first, second = Lock(str(tmp_path), "annotate"), Lock(str(tmp_path), "annotate")
    first.acquire()
    told = []
    threading.Timer(0.5, first.release).start()
    second.acquire(wait=30, waiting=told.append)
    second.release()
    assert [holder.command for holder in told] == ["annotate"]


def test_a_killed_holder_is_noticed_at_once_on_its_own_machine(tmp_path):
    with holding(tmp_path) as process:
        with pytest.raises(LockHeldError):
            Lock(str(tmp_path), "annotate").acquire()
        process.kill()
        process.wait()
        Lock(str(tmp_path), "annotate").acquire()


def test_a_killed_holder_that_its_parent_has_not_buried_is_dead_too(tmp_path):
    with holding(tmp_path) as process:
        process.kill()
        time.sleep(0.2)  # a zombie now
        Lock(str(tmp_path), "annotate").acquire()


def test_a_process_number_that_was_given_out_again_is_not_taken_for_the_holder(tmp_path):
    mine = this_process()
    claim_of(tmp_path, dataclasses.replace(mine, started=mine.started - 1))
    Lock(str(tmp_path), "annotate").acquire()


def test_a_holder_on_another_machine_is_there_until_its_own_lease_is_over(tmp_path):
    claim, beat = claim_of(tmp_path, elsewhere(), lease=60)
    silent_for(3000, claim)
    silent_for(50, beat)
    with pytest.raises(LockHeldError, match="last heard of 50 s ago"):
        Lock(str(tmp_path), "annotate", lease=1).acquire()
    silent_for(70, beat)
    Lock(str(tmp_path), "annotate").acquire()
    assert not claim.exists()
    assert not beat.exists()


def test_ages_go_by_the_stores_clock_and_not_by_this_machines(tmp_path, monkeypatch):
    claim_of(tmp_path, elsewhere(), lease=60)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    with pytest.raises(LockHeldError):
        Lock(str(tmp_path), "annotate").acquire()


def test_a_store_that_tells_no_times_never_makes_a_holder_dead(tmp_path, monkeypatch):
    claim, beat = claim_of(tmp_path, elsewhere(), lease=1)
    silent_for(3000, claim, beat)
    whole = storage.list_times
    monkeypatch.setattr(storage, "list_times", lambda folder: dict.fromkeys(whole(folder)))
    with pytest.raises(LockHeldError):
        Lock(str(tmp_path), "annotate").acquire()


def test_a_holder_that_beats_outlives_its_lease(tmp_path):
    first = Lock(str(tmp_path), "annotate", lease=1)
    first.acquire()
    time.sleep(2)
    with pytest.raises(LockHeldError):
        Lock(str(tmp_path), "annotate").acquire()
    first.release()


def test_a_holder_that_was_paused_past_its_lease_can_write_nothing_when_it_is_back(tmp_path):
    with holding(tmp_path, lease=1) as process:
        assert asked(process) == "guarded"
        process.send_signal(signal.SIGSTOP)
        lock = Lock(str(tmp_path), "annotate")
        lock.acquire(wait=30)
        process.send_signal(signal.SIGCONT)
        assert asked(process) == "taken over"
        time.sleep(0.5)  # in which it would have beaten
        assert asked(process) == "taken over"
        assert len(names(tmp_path, ".claim")) == len(names(tmp_path, ".beat")) == 1
        lock.release()


def test_a_holder_that_was_paused_amid_a_commit_is_not_taken_over(tmp_path):
    with holding(tmp_path, lease=1) as process:
        assert asked(process, "stay") == "within"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)
        with pytest.raises(LockHeldError):
            Lock(str(tmp_path), "annotate").acquire()
        process.kill()
        process.wait()
        Lock(str(tmp_path), "annotate").acquire()


def test_a_run_that_died_before_its_claim_stood_alone_is_in_nobodys_way(tmp_path, monkeypatch):
    monkeypatch.setattr("transforms.lock._SETTLE_SECONDS", 0.5)
    _, beat = claim_of(tmp_path, elsewhere(), lease=60)
    beat.unlink()
    with pytest.raises(LockHeldError):
        Lock(str(tmp_path), "annotate").acquire()
    silent_for(61, tmp_path / "lock" / f"{'a' * 32}.claim")
    Lock(str(tmp_path), "annotate").acquire()


def test_what_a_run_killed_while_it_wrote_its_claim_left_is_no_claim(tmp_path):
    (tmp_path / "_tmp").mkdir()
    (tmp_path / "_tmp" / f"{'a' * 32}.claim.{'b' * 32}").write_text('{"id": "a')
    Lock(str(tmp_path), "annotate").acquire()


def test_a_late_claim_of_a_run_that_was_paused_before_it_wrote_it_gets_nothing(tmp_path):
    """It stood in `storage.write_json` while another run came, saw nobody and began."""
    late = Lock(str(tmp_path), "annotate")
    other = Lock(str(tmp_path), "annotate")
    other.acquire()
    with pytest.raises(LockHeldError):
        late.acquire()
    other.release()


def test_of_many_that_come_at_once_exactly_one_gets_the_folder(tmp_path):
    for number in range(5):
        output = str(tmp_path / str(number))
        barrier, got = threading.Barrier(6), []

        def come(output=output, barrier=barrier, got=got):
            barrier.wait()
            with contextlib.suppress(LockHeldError):
                got.append(Lock(output, "annotate").acquire())

        threads = [threading.Thread(target=come) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1


def test_of_many_that_wait_each_has_the_folder_alone_once(tmp_path, monkeypatch):
    monkeypatch.setattr("transforms.lock._POLL_SECONDS", 0.02)
    inside, most, turns = 0, 0, 0

    def come():
        nonlocal inside, most, turns
        lock = Lock(str(tmp_path), "annotate")
        lease = Lease(str(tmp_path), lock.acquire(wait=60), "run")
        with lease.guard():
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1
            turns += 1
        lock.release()

    threads = [threading.Thread(target=come) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (turns, most) == (6, 1)


def test_a_claim_that_was_taken_away_guards_nothing(tmp_path):
    lock = Lock(str(tmp_path), "annotate")
    lease = Lease(str(tmp_path), lock.acquire(), "run")
    (claim,) = names(tmp_path, ".claim")
    claim.unlink()
    with pytest.raises(TakenOverError, match="writes nothing more"), lease.guard():
        raise AssertionError
    lock.release()
