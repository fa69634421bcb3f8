"""Killed at any moment and started again, a run ends with the rows of an undisturbed one."""

import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from corpus import encode, photograph
from runs import annotate, commits, palipipe, rows, start

from examples.build import Picture, write_webdataset
from model import tiny

SHARDS = 12
IMAGES = 40  # a shard


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Shards of distinct crops of a photograph."""
    folder = tmp_path_factory.mktemp("corpus")
    china = photograph("china.jpg")
    for shard in range(SHARDS):
        pictures = []
        for image in range(IMAGES):
            left, top = (37 * image + 11 * shard) % 500, (23 * image) % 300
            crop = china.crop((left, top, left + 64, top + 64))
            pictures.append(Picture(f"{image:03}", "jpg", encode(crop, "JPEG"), "a crop", {}))
        write_webdataset(folder / f"{shard:02}.tar", pictures)
    return f"{folder}/*.tar"


def line(corpus, output):
    words = ("--filters", "off", "--batch-size", 8, "--max-new-tokens", 6, "--progress", "none")
    return ("annotate", "--input", corpus, "--output", output, "--checkpoint", tiny.NAME, *words)


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    """The output of a run that nobody stopped, and how long it took in seconds."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    palipipe(*line(corpus, tmp_path_factory.mktemp("warm") / "out"))  # fills the compile cache
    began = time.monotonic()
    palipipe(*line(corpus, output))
    return output, time.monotonic() - began


def files(output):
    """Name and content digest of every committed file."""
    return {commit["data"]: commit["sha256"] for commit in commits(output)}


def kill_until_done(corpus, output, undisturbed, kills, seed):
    """Kill -9 that many runs at random moments, then let one finish."""
    _, seconds = undisturbed
    moment = random.Random(seed)
    survived = 0
    for _ in range(kills):
        process = start(*line(corpus, output))
        try:
            process.wait(moment.uniform(0.0, seconds))
            survived += 1
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
    palipipe(*line(corpus, output))
    return survived


def check_equal(output, undisturbed):
    expected, _ = undisturbed
    assert files(output) == files(expected)
    found = rows(output)
    assert found == rows(expected)
    assert len({row["id"] for row in found}) == len(found) == SHARDS * IMAGES
    palipipe("verify", output)


def test_a_run_killed_three_times_ends_with_the_same_bytes(corpus, undisturbed, tmp_path):
    kill_until_done(corpus, tmp_path / "out", undisturbed, kills=3, seed=3)
    check_equal(tmp_path / "out", undisturbed)


@pytest.mark.slow
def test_a_run_killed_at_twenty_random_moments_ends_with_the_same_bytes(
    corpus, undisturbed, tmp_path
):
    kill_until_done(corpus, tmp_path / "out", undisturbed, kills=20, seed=20)
    check_equal(tmp_path / "out", undisturbed)


def test_a_kill_after_each_commit_loses_none_of_them(corpus, undisturbed, tmp_path):
    """The moments that matter most, aimed at: the first commit has just appeared."""
    output = tmp_path / "out"
    for kept in (1, 4):
        process = start(*line(corpus, output))
        while process.poll() is None and len(commits(output)) < kept:
            time.sleep(0.005)
        process.kill()
        process.communicate()
        assert len(commits(output)) >= kept
    before = files(output)
    palipipe(*line(corpus, output))
    assert before.items() <= files(output).items()
    check_equal(output, undisturbed)


def test_ctrl_c_stops_with_a_word_and_leaves_a_run_that_goes_on(corpus, undisturbed, tmp_path):
    output = tmp_path / "out"
    process = start(*line(corpus, output))
    while process.poll() is None and not commits(output):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    palipipe(*line(corpus, output))
    check_equal(output, undisturbed)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 100 kB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_is_named_and_what_was_committed_stays(
    corpus, undisturbed, small_disk, tmp_path
):
    output = small_disk / "out"
    said = annotate(corpus, output, "--batch-size", 8, code=1).stderr
    assert "no space left" in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    kept = files(output)
    assert kept
    # On a larger disk, the same folder goes on.
    shutil.copytree(output, tmp_path / "out")
    palipipe(*line(corpus, tmp_path / "out"))
    assert kept.items() <= files(tmp_path / "out").items()
    check_equal(tmp_path / "out", undisturbed)
