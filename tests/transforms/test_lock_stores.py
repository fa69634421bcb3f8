"""One run at a time over a folder of an object store, which has no exclusive creation."""

import contextlib
import threading
import time

import object_server
import pytest
from object_server import BUCKET, DROP, SLOW_DOWN

from transforms import filesystems
from transforms.lease import Lease, TakenOverError
from transforms.lock import Lock, LockHeldError

OUTPUT = f"s3://{BUCKET}/out"


@pytest.fixture(scope="module")
def server():
    with object_server.serving() as server:
        yield server


@pytest.fixture(autouse=True)
def reached(server, monkeypatch):
    for name, value in object_server.KEYS.items():
        monkeypatch.setenv(name, value)
    filesystems.configure([f"--s3_endpoint_url={server.url}"])
    yield
    filesystems.configure()
    server.clear("")


def together(count, come):
    threads = [threading.Thread(target=come) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_of_several_that_come_at_once_exactly_one_gets_the_folder(server):
    for number in range(3):
        barrier, got = threading.Barrier(4), []

        def come(output=f"{OUTPUT}/{number}", barrier=barrier, got=got):
            barrier.wait()
            with contextlib.suppress(LockHeldError):
                got.append(Lock(output, "annotate").acquire())

        together(4, come)
        assert len(got) == 1
    assert len([key for key in server.keys("out") if key.endswith(".claim")]) == 3


def test_of_several_that_wait_each_has_the_folder_alone_though_the_store_falters(
    server, monkeypatch
):
    monkeypatch.setattr("transforms.lock._POLL_SECONDS", 0.05)
    inside, most, turns = 0, 0, 0

    def come():
        nonlocal inside, most, turns
        lock = Lock(OUTPUT, "annotate")
        with Lease(OUTPUT, lock.acquire(wait=60), "run").guard():
            inside += 1
            most = max(most, inside)
            time.sleep(0.05)
            inside -= 1
            turns += 1
        lock.release()

    def now_and_then(request):
        return {5: DROP, 11: SLOW_DOWN}.get(request.number % 17)

    with server.failing(now_and_then):
        together(4, come)
        assert server.faults > 3
    assert (turns, most) == (4, 1)
    assert server.keys("out/lock") == []


def test_a_holder_that_falls_silent_is_taken_over_and_writes_nothing_more():
    first = Lock(OUTPUT, "annotate", lease=2)
    lease = Lease(OUTPUT, first.acquire(), "run")
    with pytest.raises(LockHeldError):
        Lock(OUTPUT, "annotate").acquire()
    first._released.set()  # nothing is heard of it any more
    second = Lock(OUTPUT, "annotate")
    second.acquire(wait=30)
    with pytest.raises(TakenOverError), lease.guard():
        raise AssertionError
    second.release()
