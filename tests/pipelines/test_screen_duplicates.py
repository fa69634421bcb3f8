"""Duplicates in a ledger: one of them is kept, whatever the order, the run or the kill."""

import time

import pytest
from corpus import encode, photograph, records_of
from runs import commits, here, rows, screen_here, start

from examples.build import Picture, write_webdataset
from transforms import ledger as ledgers
from transforms import storage
from transforms.record import record_id

NAMES = ("coffee.png", "chelsea.png", "rocket.jpg", "astronaut.png")


def jpeg(name, quality=90, side=256):
    return encode(photograph(name, (side, side)), "JPEG", quality=quality)


ORIGINALS = {name: jpeg(name) for name in NAMES}
ALTERED = {name: jpeg(name, quality=30) for name in NAMES}
HALVED = {name: jpeg(name, side=128) for name in NAMES}


def write(path, **pictures):
    """A shard of encoded pictures by their keys."""
    path.parent.mkdir(exist_ok=True)
    write_webdataset(path, [Picture(key, "jpg", data, key) for key, data in pictures.items()])
    return path


def keys(output):
    """Key of each row to its outcome, and the key of its survivor where it is a duplicate."""
    found = rows(output)
    key_of = {row["id"]: row["source"]["key"] for row in found}
    return {
        row["source"]["key"]: (
            key_of.get(row["decisions"][-1]["labels"][0])
            if row["outcome"] == "duplicate"
            else row["outcome"]
        )
        for row in found
    }


def first(path, *names):
    """The key with the lowest id of those in a shard, and the others."""
    return sorted(names, key=lambda key: record_id(str(path), key))


@pytest.fixture
def corpus(tmp_path):
    """Two shards: three photographs, an equal file of one, altered copies of two."""
    a = write(
        tmp_path / "in" / "a.tar",
        coffee=ORIGINALS["coffee.png"],
        same=ORIGINALS["coffee.png"],
        cat=ORIGINALS["chelsea.png"],
    )
    b = write(
        tmp_path / "in" / "b.tar",
        pale_coffee=ALTERED["coffee.png"],
        small_cat=HALVED["chelsea.png"],
        rocket=ORIGINALS["rocket.jpg"],
    )
    return a, b


def groups(output):
    """Each duplicate's survivor, by their keys; a survivor is always kept."""
    found = keys(output)
    kept = {key for key, value in found.items() if value == "kept"}
    assert all(value in kept | {"kept"} for value in found.values())
    return {key: value for key, value in found.items() if value != "kept"}


def test_equal_files_are_marked_with_the_one_that_stands_for_them(corpus, tmp_path):
    output = tmp_path / "out"
    assert screen_here(list(corpus), output, "--duplicates", "exact") == 0
    survivor, copy = first(corpus[0], "coffee", "same")
    assert groups(output) == {copy: survivor}
    row = next(row for row in rows(output) if row["outcome"] == "duplicate")
    decision = row["decisions"][-1]
    assert (row["reason"], decision["filter"]) == ("duplicate:exact", "duplicates")
    assert (decision["verdict"], decision["score"], decision["threshold"]) == ("drop", 0.0, 0.0)
    assert decision["labels"] == [record_id(str(corpus[0]), survivor)]
    assert here("verify", output) == 0


def test_pictures_that_look_the_same_are_marked_with_their_distance(corpus, tmp_path):
    output = tmp_path / "out"
    assert screen_here(list(corpus), output, "--duplicates", "near") == 0
    found = groups(output)
    assert len(found) == 3
    assert keys(output)["rocket"] == "kept"
    near = [row for row in rows(output) if row["reason"] == "duplicate:near"]
    assert near
    assert all(0 <= row["decisions"][-1]["score"] <= 31 for row in near)
    assert all(row["decisions"][-1]["threshold"] == 31 for row in near)
    assert here("verify", output) == 0


def test_what_is_not_kept_stands_for_nothing(tmp_path):
    path = tmp_path / "a.tar"
    names = [f"k{n}" for n in range(4)]
    lowest, *others = first(path, *names)
    pictures = dict.fromkeys(others, ORIGINALS["coffee.png"])
    write(path, **pictures, **{lowest: HALVED["coffee.png"]})
    output = tmp_path / "out"
    assert screen_here(path, output, "--duplicates", "near", "--min-side", 100) == 0
    assert keys(output)[lowest] == "filtered"
    assert [keys(output)[key] for key in others] == ["kept", others[0], others[0]]


def test_a_new_record_is_marked_and_never_an_old_survivor(corpus, tmp_path):
    """Whatever their ids: of the copies that come later one has a lower id, one a higher."""
    output = tmp_path / "out"
    assert screen_here(list(corpus), output, "--duplicates", "near") == 0
    before = keys(output)
    c = tmp_path / "in" / "c.tar"
    old = record_id(str(corpus[1]), "rocket")
    ids = {name: record_id(str(c), name) for name in map("new{}".format, range(1000))}
    lower = next(name for name in ids if ids[name] < old)
    higher = next(name for name in ids if ids[name] > old)
    later = dict.fromkeys((lower, higher), ALTERED["rocket.jpg"])
    write(c, **later, other=ORIGINALS["astronaut.png"])
    assert screen_here([*corpus, c], output, "--duplicates", "near") == 0
    assert keys(output) == before | dict.fromkeys(later, "rocket") | {"other": "kept"}


def test_what_an_earlier_run_kept_does_not_come_again(corpus, tmp_path, capsys):
    first_run, second = tmp_path / "first", tmp_path / "second"
    a, b = corpus
    assert screen_here(a, first_run, "--duplicates", "near") == 0
    line = ("--duplicates", "near", "--earlier", first_run)
    assert screen_here(b, second, *line) == 0
    ids = {row["id"]: row["source"]["key"] for row in rows(first_run)}
    found = {
        row["source"]["key"]: ids[row["decisions"][-1]["labels"][0]]
        for row in rows(second)
        if row["outcome"] == "duplicate"
    }
    survivor = first(a, "coffee", "same")[0]
    assert found == {"pale_coffee": survivor, "small_cat": "cat"}
    # It is remembered: a later shard is compared with the earlier run without naming it again.
    c = write(tmp_path / "in" / "c.tar", again=ORIGINALS["chelsea.png"])
    assert screen_here([b, c], second, "--duplicates", "near") == 0
    again = next(row for row in rows(second) if row["source"]["key"] == "again")
    assert ids[again["decisions"][-1]["labels"][0]] == "cat"


def test_an_earlier_run_without_hashes_is_refused_where_they_are_needed(corpus, tmp_path, capsys):
    a, b = corpus
    assert screen_here(a, tmp_path / "first") == 0
    line = ("--earlier", tmp_path / "first")
    assert screen_here(b, tmp_path / "second", "--duplicates", "near", *line) == 2
    assert "no perceptual hashes" in capsys.readouterr().err
    assert screen_here(b, tmp_path / "second", "--duplicates", "exact", *line) == 0


def test_duplicates_are_not_exported_and_go_where_they_were(corpus, tmp_path):
    output = tmp_path / "out"
    line = ("--duplicates", "near", "--export", "webdataset")
    assert screen_here(list(corpus), output, *line) == 0
    kept = {row["id"] for row in rows(output) if row["outcome"] == "kept"}
    exported = records_of(output / "kept" / "*.tar")
    assert {record.source.key for record in exported} == kept
    assert len(exported) == 3


class KilledError(BaseException):
    """Stands for the moment at which a process ends: nothing catches it."""


def killed(monkeypatch, target, name, at):
    """The `at`-th call of a function, from 0, doesn't happen: the process ends there."""
    whole = getattr(target, name)
    calls = []

    def dying(*args, **kwargs):
        calls.append(args)
        if len(calls) > at:
            raise KilledError
        return whole(*args, **kwargs)

    monkeypatch.setattr(target, name, dying)


def test_a_process_killed_between_screening_and_marking_is_gone_on_with(several, tmp_path):
    corpus, undisturbed = several
    output = tmp_path / "out"
    words = ("--filters", "off", "--duplicates", "near", "--progress", "none")
    line = ("screen", "--input", corpus, "--output", output, *words)
    process = start(*line)
    while process.poll() is None and len(commits(output)) < 4:
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert here("verify", output) == 0
    assert here(*line) == 0
    assert files(output) == files(undisturbed)


def files(output):
    return {commit["data"]: commit["sha256"] for commit in commits(output)}


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Four shards with a copy of everything in each, and what an undisturbed run makes of them."""
    folder = tmp_path_factory.mktemp("several")
    for number, copies in enumerate((ORIGINALS, ALTERED, HALVED, ORIGINALS)):
        pictures = {f"{name.split('.')[0]}{number}": data for name, data in copies.items()}
        write(folder / "in" / f"{number}.tar", **pictures)
    output = folder / "undisturbed"
    assert screen_here(f"{folder}/in/*.tar", output, "--duplicates", "near") == 0
    assert sum(row["outcome"] == "kept" for row in rows(output)) == 4
    return f"{folder}/in/*.tar", output


@pytest.mark.parametrize("moment", ["before", "between", "renamed", "published"])
def test_a_run_killed_while_marking_ends_with_the_same_bytes(
    several, tmp_path, monkeypatch, moment
):
    corpus, undisturbed = several
    output = tmp_path / "out"
    line = (corpus, output, "--duplicates", "near")
    with monkeypatch.context() as patched:
        if moment == "before":
            killed(patched, ledgers.Ledger, "amend", 0)
        elif moment == "between":
            killed(patched, ledgers.Ledger, "amend", 2)
        else:
            # A unit is amended in three steps: its rows, their record, and the removal of the
            # file that the record named before.
            whole = ledgers.Ledger._publish

            def dying(self, name, commit):
                if commit.generation and moment == "renamed":
                    raise KilledError
                if commit.generation:
                    killed(patched, storage, "delete", 0)
                whole(self, name, commit)

            patched.setattr(ledgers.Ledger, "_publish", dying)
        with pytest.raises(KilledError):
            screen_here(*line)
    # At that very moment every commit record names a file that is as it says.
    assert here("verify", output) == 0
    assert len(rows(output)) == 16
    assert screen_here(*line) == 0
    assert files(output) == files(undisturbed)
    assert rows(output) == rows(undisturbed)
    present = {f"data/{path.name}" for path in (output / "data").iterdir()}
    assert present == set(files(output))
