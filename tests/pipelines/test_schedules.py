"""Scheduled runs over a growing corpus: each image is annotated once for each of its editions."""

import json
import signal
import time
from collections import Counter

import pyarrow.parquet as pq
import pytest
from corpus import encode, photograph
from runs import commits, here, palipipe, rows, start

from examples.build import Picture, write_webdataset

ANNOTATE = ("annotate", "--filters", "off", "--max-new-tokens", 4, "--progress", "none")
SCHEDULED = (*ANNOTATE, "--reuse-answers", "--on-changed", "redo")


class Corpus:
    """Shards of crops of a photograph, each known by a number."""

    def __init__(self, folder):
        self.folder = folder
        self.shards = {}
        self.seen = set()
        self._china = photograph("china.jpg")
        folder.mkdir()

    def write(self, shard, numbers):
        """A shard, new or in another one's place; it appears whole."""
        path = self.folder / f"{shard:02}.tar"
        write_webdataset(path.with_suffix(".part"), [self.picture(n) for n in numbers])
        path.with_suffix(".part").replace(path)
        self.shards[str(path)] = list(numbers)
        self.seen.update(numbers)

    def picture(self, number):
        left, top = (37 * number) % 560, (23 * number) % 360
        crop = self._china.crop((left, top, left + 48, top + 48))
        return Picture(f"{number:04}", "jpg", encode(crop, "JPEG"), "a crop", {})

    def expected(self):
        """(shard, key) of every image there is."""
        return sorted((s, f"{n:04}") for s, numbers in self.shards.items() for n in numbers)


class Schedule:
    """The command line of a schedule, and what it left behind."""

    def __init__(self, corpus, output):
        self.corpus = corpus
        self.output = output
        self._line = (*SCHEDULED, "--input", f"{corpus.folder}/*.tar", "--output", output)

    def run(self, *more, code=0):
        return palipipe(*self._line, *more, code=code)

    def begin(self, *more):
        """Start a run; returns once it has the folder."""
        known = set(self.beats())
        process = start(*self._line, *more)
        while process.poll() is None and not set(self.beats()) - known:
            time.sleep(0.01)
        return process

    def beats(self):
        return [path.name for path in (self.output / "lock").glob("*.beat")]

    def kill_at_commit(self, count):
        """Kill -9 a run as soon as it has committed so many units; True if it was in time."""
        before, runs = len(commits(self.output)), len(self.records())
        process = start(*self._line)
        while process.poll() is None and (
            len(self.records()) == runs or len(commits(self.output)) < before + count
        ):
            time.sleep(0.002)
        process.kill()
        process.communicate()
        return process.returncode == -signal.SIGKILL

    def records(self):
        paths = sorted((self.output / "runs").iterdir())
        return [json.loads(path.read_text()) for path in paths]


def former_rows(output):
    return [
        row
        for path in sorted((output / "former").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def former_commits(output):
    return [json.loads(path.read_text()) for path in sorted((output / "former").glob("*.json"))]


def check(schedule):
    """No gap, nothing twice, and the ledger and the history say the same."""
    output, corpus = schedule.output, schedule.corpus
    found = rows(output)
    assert sorted((r["source"]["shard"], r["source"]["key"]) for r in found) == corpus.expected()
    assert {row["outcome"] for row in found} == {"kept"}
    assert all(row["annotations"] for row in found)
    assert here("verify", output) == 0

    # The model wrote once for each picture there ever was; every other row says where from.
    every = found + former_rows(output)
    written = Counter(r["image"]["sha256"] for r in every if r["taken_from"] is None)
    assert set(written.values()) == {1}
    assert len(written) == len(corpus.seen)
    editions = {(r["id"], r["image"]["sha256"]): r for r in every if r["taken_from"] is None}
    for row in every:
        if row["taken_from"] is not None:
            source = editions[row["taken_from"]["id"], row["image"]["sha256"]]
            assert source["annotations"] == row["annotations"]
            assert source["source"]["shard"] == row["taken_from"]["shard"]

    records = schedule.records()
    assert len({record["run"].split("-")[0] for record in records}) == len(records)
    assert {record["state"] for record in records} <= {"ended", "killed"}
    made = commits(output) + former_commits(output)
    for record in records:
        mine = [commit for commit in made if commit["run"] == record["run"]]
        assert record["rows"] == sum(commit["rows"] for commit in mine)
        assert record["taken_over"] == sum(commit["taken_over"] for commit in mine)
        assert record["outcomes"] == ({"kept": record["rows"]} if mine else {})
    assert sum(record["rows"] for record in records) == len(every)
    assert records[-1]["images"] == len(found)
    assert schedule.beats() == []


def overlap(schedule):
    """A run that comes while another has the folder is turned away; one that waits comes next."""
    first = schedule.begin()
    assert first.poll() is None
    first.send_signal(signal.SIGSTOP)
    refused = schedule.run(code=75)
    assert f"process {first.pid} on" in refused.stderr
    assert "Traceback" not in refused.stderr
    second = start(*schedule._line, "--wait-for-lock", "10m")
    while "waiting for another run" not in (said := second.stderr.readline()):
        assert said or second.poll() is None
    first.send_signal(signal.SIGCONT)
    assert first.wait() == 0, first.communicate()
    out, err = second.communicate()
    assert second.returncode == 0, err
    return out


def test_three_scheduled_runs_of_which_one_is_killed_and_one_comes_too_early(tmp_path):
    corpus = Corpus(tmp_path / "corpus")
    schedule = Schedule(corpus, tmp_path / "out")
    corpus.write(0, range(6))
    corpus.write(1, range(6, 12))
    schedule.run()
    corpus.write(2, range(12, 15))
    assert schedule.kill_at_commit(0)
    corpus.write(1, [9, 10, 11, 15])  # three are gone, one is new
    corpus.write(3, [0, 1, 16])  # two are shard 0's
    said = overlap(schedule)
    assert "another run has been here" in said
    assert "0 units to do" in said
    check(schedule)
    states = [record["state"] for record in schedule.records()]
    assert states == ["ended", "killed", "ended", "ended"]
    assert schedule.records()[2]["taken_over"] == 5


@pytest.mark.slow
def test_ten_scheduled_runs_killed_overlapping_and_with_a_shard_replaced(tmp_path):
    corpus = Corpus(tmp_path / "corpus")
    schedule = Schedule(corpus, tmp_path / "out")
    killed = 0
    for number in range(10):
        first = 12 * number
        for part in range(3):
            begin = first + 4 * part
            corpus.write(3 * number + part, range(begin, begin + 4))
        if number == 4:
            corpus.write(1, [4, 5, 200, 201])  # two go, two stay, two are new
        if number == 6:
            corpus.write(1, [6, 7, 201, 202])  # those that went are back
            corpus.write(100, [0, 30, 203])  # one of shard 0, one of another, one new
        if number in (1, 4, 6, 8):
            killed += schedule.kill_at_commit(number % 3)
        if number in (3, 7):
            overlap(schedule)
        elif number != 8:  # what run 8 leaves is for the next one
            schedule.run()
    assert killed == 4
    check(schedule)
    states = Counter(record["state"] for record in schedule.records())
    assert states == {"killed": killed, "ended": 11}
