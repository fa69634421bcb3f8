"""Workers in processes of their own, which have nothing of the launcher's but the job."""

import os
import signal
import time

import object_server
import pytest
import runs
import workers
from corpus import encode, photograph
from runs import commits, palipipe, rows

from examples.build import Picture, write_webdataset

SHARDS = 8
IMAGES = 6  # a shard


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where the wheel is installed, which the command comes from here as well."""
    site = workers.install_wheel(tmp_path_factory.mktemp("wheel"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "COMMAND", (*workers.PYTHON, "-m", "pipelines.main"))
        patch.setitem(runs.ENVIRONMENT, "PYTHONPATH", workers.path_of(site))
        yield site


@pytest.fixture
def cluster(site, tmp_path):
    with workers.cluster(tmp_path / "cluster", site) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder with small shards, in which the launcher is started."""
    folder = tmp_path_factory.mktemp("corpus")
    china = photograph("china.jpg")
    for shard in range(SHARDS):
        corners = [(50 * image, 30 * shard) for image in range(IMAGES)]
        crops = [china.crop((x, y, x + 64, y + 64)) for x, y in corners]
        pictures = [
            Picture(f"{number:03}", "jpg", encode(crop, "JPEG"), "a crop", {})
            for number, crop in enumerate(crops)
        ]
        write_webdataset(folder / f"{shard:02}.tar", pictures)
    return folder


def line(output):
    words = ("--batch-size", 4, "--max-new-tokens", 6, "--progress", "none")
    return ("annotate", "--input", "*.tar", "--output", output, *words)


@pytest.fixture(scope="module")
def undisturbed(site, corpus, tmp_path_factory):
    """Data file to digest, of a run in one process."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    palipipe(*line(output), cwd=corpus)
    return files(output)


def files(output):
    return {commit["data"]: commit["sha256"] for commit in commits(output)}


def relative(path, to):
    return os.path.relpath(path, to)


def test_two_processes_of_the_installed_package_share_the_work(
    cluster, site, corpus, undisturbed, tmp_path
):
    output = tmp_path / "out"
    palipipe(*line(relative(output, corpus)), *cluster.options, cwd=corpus)
    assert files(output) == undisturbed
    logs = cluster.told()
    assert len(logs) == 2
    for log in logs.values():
        (rooms,) = [each for each in log.splitlines() if each.startswith("rooms:")]
        assert rooms.count(str(site)) == 4, rooms
        assert str(workers.ROOT) not in rooms
        assert f"folder: {cluster.logs.parent / 'elsewhere'}" in log
    loaded = workers.matches(logs, r"process (\d+): model loaded")
    assert loaded == {pid: [str(pid)] for pid in logs}, "one engine a process"
    begun = workers.matches(logs, r"unit (\S+) begun")
    assert all(begun.values()), "each did some of it"
    assert sum(map(len, begun.values())) == SHARDS
    assert sum(map(len, workers.matches(logs, r"unit (\S+) committed").values())) == SHARDS
    assert os.getpid() not in logs
    for small in (workers.ROOT / "model" / "small").glob("*.npz"):
        assert (site / "model" / "small" / small.name).exists(), "which no run here has read"


def test_a_path_that_workers_would_look_for_elsewhere_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hashes.txt").write_text(f"sha256:{'0' * 64}\n")
    config = tmp_path / "filters.yaml"
    config.write_text('{"filters": {"blocklist": {"path": "hashes.txt"}}}')
    where = ("--input", "*.tar", "--output", "out", "--runner", "PortableRunner")
    assert runs.here("screen", *where, "--filters", config, "--job_endpoint", "localhost:1") == 2
    said = capsys.readouterr().err
    assert "filters.blocklist.path hashes.txt: workers look for it in a folder of their own" in said
    assert not (tmp_path / "out").exists()


def killed_in(cluster, process, pattern):
    """Kill -9 one of the workers as soon as its log has the pattern; returns its process id."""
    while process.poll() is None:
        for pid, found in workers.matches(cluster.told(), pattern).items():
            if found:
                os.kill(pid, signal.SIGKILL)
                return pid
        time.sleep(0.01)
    raise AssertionError(process.communicate())


@pytest.mark.parametrize("moment", [pytest.param("begun", marks=pytest.mark.slow), "committed"])
def test_a_worker_killed_in_a_bundle_ends_the_job_with_a_word_and_the_rerun_finishes(
    cluster, corpus, undisturbed, tmp_path, moment
):
    output = tmp_path / "out"
    job = line(relative(output, corpus))
    process = runs.start(*job, *cluster.options, cwd=corpus)
    killed_in(cluster, process, rf"unit \S+ {moment}")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "the job on PortableRunner failed: " in err
    assert "the same command goes on from there" in err
    before = files(output)
    assert before.items() < undisturbed.items()
    palipipe(*job, cwd=corpus)
    assert files(output) == undisturbed


@pytest.mark.slow
def test_workers_reach_a_bucket_by_the_options_of_the_job(site, corpus, tmp_path, monkeypatch):
    for name, value in object_server.KEYS.items():
        monkeypatch.setitem(runs.ENVIRONMENT, name, value)
    keys = object_server.KEYS
    with (
        object_server.serving() as server,
        workers.cluster(tmp_path / "cluster", site, keys) as cluster,
    ):
        source = server.upload(corpus, "shards")
        output, at = f"s3://{object_server.BUCKET}/out", ("--s3_endpoint_url", server.url)
        words = ("--filters", "off", "--max-new-tokens", 6, "--progress", "none")
        where = ("--input", source, "--output", output)
        palipipe("annotate", *where, *words, *cluster.options, *at)
        palipipe("verify", output, *at)
        found = rows(server.download("out/", tmp_path / "down"))
        committed = workers.matches(cluster.told(), r"unit (\S+) committed")
    assert [row["outcome"] for row in found] == ["kept"] * SHARDS * IMAGES
    assert sum(map(len, committed.values())) == SHARDS
