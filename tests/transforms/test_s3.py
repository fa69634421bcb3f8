"""Files on a real S3 server: whole or not there, whatever goes wrong between it and here."""

import os
import time

import object_server
import pytest
from object_server import BUCKET, CUT, DENIED, DROP, INTERNAL, SLOW_DOWN, TOO_MANY, UNAVAILABLE

from transforms import filesystems, s3, storage
from transforms.configuration import Configuration
from transforms.errors import UnitError, UserError, WorkError
from transforms.ledger import Ledger
from transforms.planning import plan
from transforms.readers.streams import open_file

ROOT = f"s3://{BUCKET}/out"
PASSING = {
    "dropped": DROP,
    "cut": CUT,
    "slow down": SLOW_DOWN,
    "too many": TOO_MANY,
    "internal": INTERNAL,
    "unavailable": UNAVAILABLE,
}


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


@pytest.fixture
def impatient(server, monkeypatch):
    """boto3 tries twice; a client of its own, as there is one for each set of options."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    filesystems.configure([f"--s3_endpoint_url={server.url}/"])


def every(step, fault, offset=1):
    return lambda request: fault if request.number % step == offset else None


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_costs_time_and_nothing_else(server, fault):
    path = f"{ROOT}/commits/a.json"
    with server.failing(every(4, fault)):
        storage.write_json(path, ROOT, {"a": 1})
        assert storage.read_json(path) == {"a": 1}
        assert list(storage.list_files(f"{ROOT}/commits", ".json")) == ["a.json"]
        assert server.faults >= 2
    assert server.keys() == ["out/commits/a.json"]


def test_a_large_file_survives_connections_cut_within_its_parts_and_its_reading(server):
    parts = [os.urandom(6 << 20), os.urandom(6 << 20)]
    data = b"".join(parts)
    path = f"{ROOT}/data/large"
    cut = iter([CUT, DROP])
    with server.failing(lambda request: next(cut, None) if request.kind == "part" else None):
        storage.write_atomically(path, ROOT, lambda file: [file.write(part) for part in parts])
        assert server.kinds["part"] == 4
    cut = iter([CUT])
    with server.failing(lambda request: next(cut, None) if request.kind == "get" else None):
        assert storage.read_bytes(path) == data
        assert server.kinds["get"] >= 2
    assert server.keys() == ["out/data/large"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("kind", ["begin", "part", "complete", "copy"])
def test_a_write_that_fails_for_good_leaves_the_old_file_and_says_what_to_do(server, kind):
    path = f"{ROOT}/commits/a.json"
    storage.write_json(path, ROOT, "old")
    with (
        server.failing(lambda request: UNAVAILABLE if request.kind == kind else None),
        pytest.raises(WorkError, match=r"commits/a\.json: the store failed .*same command again"),
    ):
        storage.write_json(path, ROOT, "new")
    assert storage.read_json(path) == "old"
    assert server.keys() == ["out/commits/a.json"]


def test_a_writer_that_fails_midway_leaves_nothing(server):
    def write(file):
        file.write(b"half")
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        storage.write_atomically(f"{ROOT}/data/a", ROOT, write)
    assert server.keys() == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "do",
    [
        lambda path: storage.exists(path),
        lambda path: storage.read_json(path),
        lambda path: storage.list_files(path, ".json"),
        lambda path: storage.write_json(path, ROOT, 1),
        lambda path: storage.delete([path]),
    ],
    ids=["exists", "read", "list", "write", "delete"],
)
@pytest.mark.parametrize(
    ("fault", "said"), [(DENIED, "check the credentials"), (SLOW_DOWN, "the store failed")]
)
def test_what_a_store_refuses_is_worded_with_the_file_and_the_remedy(server, do, fault, said):
    began = time.monotonic()
    with (
        server.failing(lambda request: fault),
        pytest.raises(WorkError, match=rf"s3://{BUCKET}/out/x.*{said}"),
    ):
        do(f"{ROOT}/x")
    assert time.monotonic() - began < 5, "Beam's own ten minutes of retries came on top"


def test_a_bucket_that_is_not_there_is_named():
    with pytest.raises(WorkError, match=r"s3://none/out/a: not there .*check the bucket's name"):
        storage.write_json("s3://none/out/a", "s3://none/out", 1)
    with pytest.raises(UserError, match="nothing matches s3://none/shards"):
        plan(["s3://none/shards/*.tar"])


def test_nobody_listening_is_said_within_boto3s_patience(monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    filesystems.configure(["--s3_endpoint_url=http://127.0.0.1:9"])
    with pytest.raises(WorkError, match=r"Could not connect to the endpoint URL"):
        storage.exists(f"{ROOT}/a")
    with pytest.raises(UserError, match=r"can't be listed: Could not connect"):
        plan([f"{ROOT}/*.tar"])


def test_without_credentials_a_run_ends_at_once(server, monkeypatch):
    for name in object_server.KEYS:
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    filesystems.configure([f"--s3_endpoint_url={server.url}/without"])
    with pytest.raises(UserError, match=r"no credentials were found\. Set AWS_ACCESS_KEY_ID"):
        storage.exists(f"{ROOT}/a")


def test_a_shard_whose_store_fails_is_told_from_a_damaged_one(server, monkeypatch):
    server.client().put_object(Bucket=BUCKET, Key="in/a.tar", Body=b"x" * 1000)
    with server.failing(lambda request: DENIED if request.kind == "get" else None):
        stream = open_file(f"s3://{BUCKET}/in/a.tar")
        with pytest.raises(UnitError, match=r"in/a\.tar: reading failed .*AccessDenied"):
            stream.read()


def test_a_process_has_one_client_for_all_its_calls(server):
    options = filesystems.options()
    s3.prepare(options)
    clients = {id(s3.boto3_client.Client(options).client) for _ in range(3)}
    assert len(clients) == 1


def commit_values(number):
    unit = {"format": "webdataset", "uri": f"s3://{BUCKET}/in/{number}.tar", "files": []}
    return {
        "unit": unit | {"records": 1000, "size": 50_000_000, "version": "50000000-1"},
        "data": f"data/{number}.parquet",
        "rows": 1000,
        "outcomes": {"kept": 1000},
        "reasons": {},
        "bytes": 1,
        "sha256": "0" * 64,
        "fingerprint": "0" * 16,
    }


def put_commits(server, count):
    for number in range(count):
        server.put(f"out/commits/{number:05}.json", commit_values(number))


def test_thousands_of_commits_are_listed_a_thousand_a_request(server):
    put_commits(server, 2100)
    server.requests.clear()
    assert len(storage.list_files(f"{ROOT}/commits", ".json")) == 2100
    assert dict(server.kinds) == {"list": 3}


def test_a_commit_takes_two_requests_to_read_and_no_client_of_its_own(server):
    put_commits(server, 150)
    server.requests.clear()
    began = time.process_time()
    assert len(Ledger(ROOT, Configuration({})).committed()) == 150
    assert dict(server.kinds) == {"list": 1, "head": 150, "get": 150}
    # The server's own time is in it. A client for each would take 15 seconds.
    assert time.process_time() - began < 7


@pytest.mark.slow
def test_three_thousand_commits_are_read_while_the_store_throttles(server):
    put_commits(server, 3000)
    with server.failing(every(50, SLOW_DOWN)):
        began = time.monotonic()
        commits = Ledger(ROOT, Configuration({})).committed()
        seconds = time.monotonic() - began
        kinds, faults = server.kinds, server.faults
    assert len(commits) == 3000
    print(f"{seconds:.1f} s, {dict(kinds)}, {faults} refused")
    assert kinds["list"] <= 5
    # A busy server may miss a connection or two besides.
    assert sum(kinds.values()) - faults == pytest.approx(3 + 2 * 3000, rel=0.01)
