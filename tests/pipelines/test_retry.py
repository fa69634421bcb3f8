"""Quarantined and failed records are taken up again: nothing is dropped for a server's sake."""

import json

import grpc
import pytest
from corpus import encode, photograph
from runs import annotate_here, commits, here, rows, screen_here
from servers.google_services import BAD, Language
from servers.grpc_service import fails

from examples.build import Picture, write_webdataset
from filters.cloud.moderate_text import ModerateText
from filters.cloud.pacing import Pace, Retry
from filters.unsafe_text import UnsafeTextScorer
from transforms import storage
from transforms.ledger import Ledger
from transforms.record import record_id

# A backend that is down is given up after one attempt, and the run goes on.
HASTY = Pace(
    per_second=1e4,
    burst=100,
    retry=Retry(attempt_s=30, deadline_s=30, initial_s=1e6, maximum_s=1e6),
    min_calls=10_000,
    open_after=10_000,
)
TEXTS = {"dog": "a dog on grass", "bad": f"a {BAD}", "car": "a red car", "mute": ""}


def picture(key, text="a picture", name="coffee.png", side=96):
    data = encode(photograph(name, (side, side)), "JPEG")
    return Picture(key, "jpg", data, text)


@pytest.fixture
def shards(tmp_path):
    """Two shards of captioned pictures, and a picture that is broken."""
    folder = tmp_path / "in"
    folder.mkdir()
    broken = picture("broken")
    broken = Picture("broken", "jpg", broken.data[:700], "a broken one")
    write_webdataset(folder / "a.tar", [picture(key, text) for key, text in TEXTS.items()])
    write_webdataset(folder / "b.tar", [picture("cat", "a cat", "chelsea.png"), broken])
    return f"{folder}/*.tar"


@pytest.fixture
def backend(tmp_path, monkeypatch):
    """A server that speaks Natural Language, and filters that ask it."""
    monkeypatch.setitem(ModerateText.__init__.__kwdefaults__, "pace", HASTY)
    service = Language()
    filters = {"unsafe_text": {"backend": "moderate_text", "location": "eu"}}
    filters["unsafe_text"]["endpoint"] = service.address
    path = tmp_path / "filters.yaml"
    path.write_text(json.dumps({"filters": filters}))
    service.config = path
    yield service
    service.close()


def retry(output, *words):
    return here("retry", output, "--progress", "none", *words)


def outcomes(output):
    return {row["source"]["key"]: (row["outcome"], row["reason"]) for row in rows(output)}


DOWN = ("quarantined", "unsafe_text:error:unavailable")
UP = {
    "dog": ("kept", None),
    "bad": ("filtered", "sexual"),
    "car": ("kept", None),
    "mute": ("kept", None),
    "cat": ("kept", None),
    "broken": ("failed", "truncated_image"),
}


def test_what_a_server_that_was_down_left_open_is_screened_once_it_is_up(
    shards, backend, tmp_path, capsys
):
    output, filters = tmp_path / "out", ("--filters", backend.config)
    backend.always(fails(grpc.StatusCode.UNAVAILABLE))
    assert screen_here(shards, output, *filters) == 0
    left_open = dict.fromkeys(("dog", "bad", "car", "cat", "broken"), DOWN)
    assert outcomes(output) == {**left_open, "mute": ("kept", None)}
    assert all(row["text"] is None for row in rows(output) if row["outcome"] != "kept")
    # Still down: nothing is lost by trying.
    assert retry(output) == 0
    assert outcomes(output) == {**left_open, "mute": ("kept", None)}
    backend.recover()
    capsys.readouterr()
    assert retry(output) == 0
    assert "again   5 images" in capsys.readouterr().out
    assert outcomes(output) == UP
    assert screen_here(shards, tmp_path / "undisturbed", *filters) == 0
    assert rows(output) == rows(tmp_path / "undisturbed")
    assert here("verify", output) == 0
    # And the first command finds its folder as it would have left it.
    assert screen_here(shards, output, *filters, "--export", "webdataset") == 0


def test_what_is_final_is_left_alone_unless_it_is_asked_for(shards, backend, tmp_path, capsys):
    output = tmp_path / "out"
    assert screen_here(shards, output, "--filters", backend.config) == 0
    before, asked = commits(output), len(backend.requests)
    assert retry(output) == 0
    assert "again   0 images" in capsys.readouterr().out
    assert commits(output) == before
    assert retry(output, "--reason", "no such*") == 0
    assert commits(output) == before
    assert len(backend.requests) == asked
    assert retry(output, "--all") == 0
    assert len(backend.requests) == asked + 1  # the broken picture's text
    a, b = commits(output)
    assert (a["generation"], b["generation"]) == (0, 1)
    assert outcomes(output) == UP


def test_only_the_reasons_that_are_named_are_taken_up(shards, backend, tmp_path):
    output = tmp_path / "out"
    backend.always(fails(grpc.StatusCode.UNAVAILABLE))
    assert screen_here(shards, output, "--filters", backend.config) == 0
    backend.recover()
    assert retry(output, "--reason", "toxicity:*") == 0
    assert outcomes(output)["dog"] == DOWN
    assert retry(output, "--reason", "toxicity:*", "--reason", "*:error:unavailable") == 0
    assert outcomes(output) == UP


def test_a_dry_run_changes_nothing(shards, backend, tmp_path, capsys):
    output = tmp_path / "out"
    backend.always(fails(grpc.StatusCode.UNAVAILABLE))
    assert screen_here(shards, output, "--filters", backend.config) == 0
    before = commits(output)
    assert retry(output, "--dry-run") == 0
    assert "again   5 images" in capsys.readouterr().out
    assert commits(output) == before


def test_a_file_that_could_not_be_fetched_is_fetched_later(tmp_path):
    (tmp_path / "there.jpg").write_bytes(picture("a").data)
    lines = [json.dumps({"image": f"{name}.jpg", "text": name}) for name in ("there", "late")]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    output = tmp_path / "out"
    assert screen_here(tmp_path / "list.jsonl", output, "--image-field", "image") == 0
    assert [row["reason"] for row in rows(output)] == [None, "missing_file"]
    (tmp_path / "late.jpg").write_bytes(picture("b", name="rocket.jpg").data)
    assert retry(output) == 0
    there, late = rows(output)
    assert (late["outcome"], late["error"], late["text"]) == ("kept", None, "late")
    assert late["image"]["sha256"] != there["image"]["sha256"]


def test_records_are_annotated_that_a_broken_filter_had_stopped(shards, tmp_path, monkeypatch):
    """Their rows are those of an undisturbed run, and the others' are the bytes they were."""
    (tmp_path / "filters.yaml").write_text("filters: {unsafe_text: {subjects: [text, output]}}")
    words = ("--filters", tmp_path / "filters.yaml")
    whole = UnsafeTextScorer.score

    def broken(self, items):
        if any(item.text == "a cat" for item in items):
            raise OSError("a lexicon that can't be read")
        return whole(self, items)

    output, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
    with monkeypatch.context() as patched:
        patched.setattr(UnsafeTextScorer, "score", broken)
        assert annotate_here(shards, output, *words) == 0
    assert outcomes(output)["cat"] == ("quarantined", "unsafe_text:error:OSError")
    before = {row["id"]: row for row in rows(output)}
    assert retry(output) == 0
    assert annotate_here(shards, undisturbed, *words) == 0
    for row, expected in zip(rows(output), rows(undisturbed), strict=True):
        assert row["outcome"] == expected["outcome"]
        if row["source"]["key"] != "cat":
            assert row == before[row["id"]]
        else:
            assert row["annotations"][0]["raw"] == expected["annotations"][0]["raw"]
    assert here("verify", output) == 0


def test_a_shard_that_changed_is_named_and_its_rows_stay(shards, backend, tmp_path, capsys):
    output = tmp_path / "out"
    backend.always(fails(grpc.StatusCode.UNAVAILABLE))
    assert screen_here(shards, output, "--filters", backend.config) == 0
    backend.recover()
    others = [picture(key, text, "rocket.jpg") for key, text in TEXTS.items()]
    write_webdataset(tmp_path / "in" / "a.tar", others)
    assert retry(output) == 1
    said = capsys.readouterr().err
    assert "a.tar: holds other records than when it was committed" in said
    assert "--on-changed redo" in said
    assert outcomes(output)["dog"] == DOWN
    assert outcomes(output)["cat"] == ("kept", None)


class KilledError(Exception):
    """Stands for the moment at which a process ends; Beam passes it on."""


@pytest.mark.parametrize("moment", ["before the record", "before the old rows are removed"])
def test_a_retry_that_is_killed_is_gone_on_with(shards, backend, tmp_path, monkeypatch, moment):
    output = tmp_path / "out"
    backend.always(fails(grpc.StatusCode.UNAVAILABLE))
    assert screen_here(shards, output, "--filters", backend.config) == 0
    backend.recover()
    whole = Ledger._publish

    def dying(self, name, commit):
        if moment == "before the record":
            raise KilledError

        def no_delete(paths):
            raise KilledError

        patched.setattr(storage, "delete", no_delete)
        whole(self, name, commit)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "_publish", dying)
        with pytest.raises(Exception, match="KilledError"):
            retry(output)
    assert here("verify", output) == 0
    assert len(rows(output)) == 6
    assert retry(output) == 0
    assert outcomes(output) == UP
    present = {f"data/{path.name}" for path in (output / "data").iterdir()}
    assert present == {commit["data"] for commit in commits(output)}


def test_a_copy_that_comes_late_does_not_take_the_place_of_an_old_survivor(backend, tmp_path):
    path = tmp_path / "a.tar"
    low, high = sorted(("one", "two"), key=lambda key: record_id(str(path), key))
    # The record with the lower id is the one whose text the server couldn't be asked about.
    write_webdataset(path, [picture(low, "a dog"), picture(high, "")])
    output, words = tmp_path / "out", ("--filters", backend.config, "--duplicates", "near")
    backend.always(fails(grpc.StatusCode.UNAVAILABLE))
    assert screen_here(path, output, *words) == 0
    assert outcomes(output) == {low: DOWN, high: ("kept", None)}
    backend.recover()
    assert retry(output) == 0
    found = {row["source"]["key"]: row for row in rows(output)}
    assert found[low]["reason"] == "duplicate:exact"
    assert found[low]["decisions"][-1]["labels"] == [found[high]["id"]]
    assert found[high]["outcome"] == "kept"


def test_a_model_is_refused_where_there_was_none(shards, tmp_path, capsys):
    output = tmp_path / "out"
    assert screen_here(shards, output) == 0
    assert retry(output, "--checkpoint", "x.npz") == 2
    assert "screened without a model" in capsys.readouterr().err


def test_another_model_than_the_folders_is_refused(shards, tmp_path, capsys):
    output = tmp_path / "out"
    assert annotate_here(shards, output) == 0
    manifest = json.loads((output / "palipipe.json").read_text())
    manifest["configuration"]["model"]["weights_sha256"] = "0" * 64
    (output / "palipipe.json").write_text(json.dumps(manifest))
    assert retry(output) == 2
    said = capsys.readouterr().err
    assert "model.weights_sha256" in said
    assert "--checkpoint" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--all", "--reason", "x"), "not allowed with"),
        (("--resaon", "x"), "did you mean --reason?"),
        (("--task", "caption en"), "unknown option --task"),
    ],
)
def test_a_mistake_in_the_line_is_named(tmp_path, capsys, words, said):
    assert retry(tmp_path, *words) == 2
    assert said in capsys.readouterr().err


def test_a_folder_that_no_run_wrote_is_named(tmp_path, capsys):
    assert retry(tmp_path / "nowhere") == 2
    assert "no palipipe.json" in capsys.readouterr().err
