"""Runs whose input and output lie on an S3 server that throttles, breaks off and outlives them.

Whoever goes by the commit records must find every file that they name whole, at any moment; and a
run that was killed, wherever that was, ends the next time with the rows of an undisturbed one.
"""

import hashlib
import io
import json
import tarfile
import threading

import object_server
import pytest
import runs
from corpus import encode, photograph, real_pictures, write_corpus
from object_server import BUCKET, CUT, DROP, INTERNAL, SLOW_DOWN, TOO_MANY, UNAVAILABLE

from examples.build import Picture, write_webdataset
from transforms import filesystems, storage

SHARDS = 4
IMAGES = 5  # a shard


@pytest.fixture(scope="module")
def server():
    with object_server.serving() as server:
        yield server


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    """Credentials as a user's environment has them; the address is said on the command line."""
    for name, value in object_server.KEYS.items():
        monkeypatch.setenv(name, value)
        monkeypatch.setitem(runs.ENVIRONMENT, name, value)
    yield
    filesystems.configure()


@pytest.fixture(scope="module")
def shards(server, tmp_path_factory):
    """A few small shards in the store; their URI."""
    folder = tmp_path_factory.mktemp("shards")
    china = photograph("china.jpg")
    for shard in range(SHARDS):
        crops = [
            china.crop((60 * i, 40 * shard, 60 * i + 64, 40 * shard + 64)) for i in range(IMAGES)
        ]
        pictures = [
            Picture(f"{number:03}", "jpg", encode(crop, "JPEG"), "a crop", {})
            for number, crop in enumerate(crops)
        ]
        write_webdataset(folder / f"{shard:02}.tar", pictures)
    return server.upload(folder, "shards")


def uri(name):
    return f"s3://{BUCKET}/{name}"


def at(server):
    return "--s3_endpoint_url", server.url


def screen_line(server, shards, name):
    words = ("--filters", "off", "--progress", "none", "--min-side", "8")
    return ("screen", "--input", shards, "--output", uri(name), *words, *at(server))


def committed(server, name):
    """Data file to digest as the commit records say, each file being checked against its record.

    Read as anybody may read it, by plain requests and at any moment of a run.
    """
    files = {}
    for key in server.keys(f"{name}/commits/"):
        commit = json.loads(server.get(key))
        data = server.get(f"{name}/{commit['data']}")
        assert hashlib.sha256(data).hexdigest() == commit["sha256"], key
        files[commit["data"]] = commit["sha256"]
    return files


@pytest.fixture(scope="module")
def undisturbed(server, shards):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.KEYS.items():
            patch.setenv(name, value)
        assert runs.here(*screen_line(server, shards, "undisturbed")) == 0
    return committed(server, "undisturbed")


def local_rows(server, name, folder):
    """The rows of an output in the bucket, less where their shards lie."""
    return [without_place(row) for row in runs.rows(server.download(f"{name}/", folder))]


def without_place(row):
    return row | {"id": None, "source": row["source"] | {"uri": None, "shard": None}}


def config(folder, **filters):
    path = folder / f"{len(list(folder.iterdir()))}.yaml"
    path.write_text(json.dumps({"filters": filters}))
    return path


def test_annotating_in_a_bucket_gives_the_rows_of_annotating_on_a_disk(server, tmp_path, capsys):
    write_corpus(tmp_path, real_pictures()[4:14], "webdataset")
    source, target = server.upload(tmp_path / "webdataset", "pictures"), uri("annotated")
    assert runs.annotate_here(tmp_path / "webdataset", tmp_path / "out") == 0
    assert runs.annotate_here(source, target, *at(server)) == 0
    expected = [without_place(row) for row in runs.rows(tmp_path / "out")]
    assert local_rows(server, "annotated", tmp_path / "down") == expected
    assert runs.here("verify", target, *at(server)) == 0
    assert "10 rows: all there, whole, and once" in capsys.readouterr().out
    # Done is done: a second run reads commits, and of the shards a first record.
    server.requests.clear()
    assert runs.annotate_here(source, target, *at(server)) == 0
    assert not [r for r in server.requests if r.kind == "copy" and "/data/" in r.key]


def test_retrying_and_rescreening_work_in_a_bucket(server, tmp_path, capsys):
    pictures = real_pictures()[4:8]
    broken = Picture("broken", "jpg", pictures[0].data[:900], "cut")
    write_webdataset(tmp_path / "in.tar", [*pictures, broken])
    source = server.upload(tmp_path, "mixed")
    loose, strict = (
        config(tmp_path, image_size={"min_side": side}, blank_image={}) for side in (40, 1000)
    )
    target = uri("retried")
    line = ("--filters", loose, "--export", "webdataset", *at(server))
    assert runs.screen_here(f"{source}/in.tar", target, *line) == 0
    (before,) = committed(server, "retried")
    (shard,) = server.keys("retried/kept/")
    with tarfile.open(fileobj=io.BytesIO(server.get(shard))) as kept:
        assert len(kept.getnames()) == 3 * 4  # of each its picture, its text and its metadata
    assert runs.here("retry", target, "--all", "--progress", "none", *at(server)) == 0
    (after,) = committed(server, "retried")
    assert after != before
    assert server.keys("retried/data/") == [f"retried/{after}"], "the earlier generation is gone"
    assert runs.here("verify", target, *at(server)) == 0
    words = ("--filters", strict, "--write", uri("strict"), *at(server))
    assert runs.here("rescreen", target, *words) == 0
    rows = local_rows(server, "strict", tmp_path / "strict")
    assert {row["reason"] for row in rows} == {"too_small"}
    capsys.readouterr()
    data = server.keys("strict/data/")[0]
    server.client().put_object(Bucket=BUCKET, Key=data, Body=b"torn")
    assert runs.here("verify", uri("strict"), *at(server)) == 1
    assert f"s3://{BUCKET}/{data}: not the file that was committed" in capsys.readouterr().err


class Watching(threading.Thread):
    """A reader that checks all that is committed, over and over, while a run is going on."""

    def __init__(self, server, name):
        super().__init__()
        self._server, self._name = server, name
        self._over = threading.Event()
        self.looks, self.error = 0, None

    def run(self):
        try:
            while not self._over.wait(0.02):
                committed(self._server, self._name)
                self.looks += 1
        except Exception as error:
            self.error = error

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self.join()


FAULTS = (SLOW_DOWN, DROP, TOO_MANY, CUT, UNAVAILABLE, INTERNAL)


def test_a_store_that_fails_every_ninth_request_is_worked_with(server, shards, undisturbed):
    def fault(request):
        return FAULTS[request.number // 9 % len(FAULTS)] if request.number % 9 == 3 else None

    with server.failing(fault), Watching(server, "flaky") as watching:
        assert runs.here(*screen_line(server, shards, "flaky")) == 0
        assert server.faults >= 10
    assert watching.error is None
    assert watching.looks
    assert committed(server, "flaky") == undisturbed


def test_a_store_that_goes_down_for_good_ends_the_run_with_a_word(
    server, shards, undisturbed, monkeypatch
):
    monkeypatch.setitem(runs.ENVIRONMENT, "AWS_MAX_ATTEMPTS", "2")
    line = screen_line(server, shards, "down")
    renamed = 0

    def fault(request):
        """All is refused from the third data file on."""
        nonlocal renamed
        renamed += request.kind == "copy" and "/data/" in f"/{request.key}"
        return UNAVAILABLE if renamed > 2 else None

    with server.failing(fault):
        said = runs.palipipe(*line, code=1).stderr
    assert "the store failed" in said
    assert "run the same command again: it goes on from what is committed" in said
    assert "Traceback" not in said
    check_goes_on(server, line, "down", undisturbed)


# Where a process is killed: the request at which it is, which the server then breaks off.
MOMENTS = {
    "while it uploads rows": ("part", "/_tmp/", ".parquet"),
    "before it renames rows": ("copy", "/data/", ".parquet"),
    "between rows and their commit": ("begin", "/_tmp/", ".tar-"),
    "before it renames a commit": ("copy", "/commits/", ".json"),
}


def killed_at(server, line, moment, nth=2):
    """Start a run and kill it, kill -9, at its nth request of that kind."""
    kind, *parts = moment
    process = None
    seen = 0

    def fault(request):
        nonlocal seen
        if request.kind != kind or not all(part in f"/{request.key}" for part in parts):
            return None
        if kind == "begin" and ".parquet" in request.key:
            return None
        seen += 1
        if seen < nth:
            return None
        process.kill()
        return CUT if kind == "part" else DROP

    with server.failing(fault):
        process = runs.start(*line)
        _, err = process.communicate(timeout=120)
    assert process.returncode == -9, err


def check_goes_on(server, line, name, undisturbed):
    before = committed(server, name)
    assert before.items() < undisturbed.items()
    assert runs.here(*line) == 0
    assert committed(server, name) == undisturbed
    assert {key.removeprefix(f"{name}/") for key in server.keys(f"{name}/data/")} == set(
        undisturbed
    )
    assert runs.here("verify", uri(name), *at(server)) == 0


def test_a_run_killed_between_rows_and_their_commit_ends_with_the_same_rows(
    server, shards, undisturbed
):
    line = screen_line(server, shards, "killed")
    killed_at(server, line, MOMENTS["between rows and their commit"])
    assert len(server.keys("killed/data/")) > len(server.keys("killed/commits/"))
    check_goes_on(server, line, "killed", undisturbed)


@pytest.mark.slow
def test_a_run_killed_at_every_moment_that_matters_ends_with_the_same_rows(
    server, shards, undisturbed
):
    line = screen_line(server, shards, "killed-often")
    for moment in MOMENTS.values():
        killed_at(server, line, moment, nth=1)
        assert committed(server, "killed-often").items() <= undisturbed.items()
    check_goes_on(server, line, "killed-often", undisturbed)


def test_what_a_killed_run_left_unrenamed_goes_after_an_hour(server, shards, undisturbed):
    filesystems.configure(at(server))
    storage.write_json(uri("left/_tmp/x.json"), uri("left"), "half")
    assert server.keys("left/") == ["left/_tmp/x.json"]
    storage.remove_temporary(uri("left"))
    assert server.keys("left/") == ["left/_tmp/x.json"]
    storage.remove_temporary(uri("left"), older_than=-2)
    assert server.keys("left/") == []
