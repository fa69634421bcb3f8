"""New thresholds over stored scores: the same rows as screening anew, and never one unscreened."""

import json

import pytest
from corpus import encode, photograph
from PIL import Image
from runs import annotate_here, commits, here, rows, screen_here

from examples.build import Picture, write_webdataset
from filters.text_quality import TextShape
from transforms.ledger import Ledger

LONG = "a cup of coffee on a red saucer on a wooden table"
RECORDS = {
    "large": ("coffee.png", 200, LONG),
    "small": ("chelsea.png", 60, LONG),
    "short": ("rocket.jpg", 200, "rocket"),
    "small_short": ("rocket.jpg", 60, "rocket"),
    "silent": ("astronaut.png", 200, ""),
}
MIDDLING = {"image_size": {"min_side": 100}, "text_quality": {"min_words": 3}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Large and small pictures with long and short texts, one of nearly one colour, one broken."""
    pictures = [
        Picture(key, "jpg", encode(photograph(name, (side, side)), "JPEG"), text, {"note": key})
        for key, (name, side, text) in RECORDS.items()
    ]
    pale = encode(Image.new("RGB", (200, 200), (90, 90, 90)), "PNG")
    pictures += [
        Picture("pale", "png", pale, LONG),
        Picture("broken", "jpg", pictures[0].data[:900], LONG),
    ]
    path = tmp_path_factory.mktemp("corpus") / "a.tar"
    write_webdataset(path, pictures)
    return path


def config(folder, **filters):
    """A filters file; an image filter comes last, so that there is always something after text."""
    path = folder / f"{len(list(folder.iterdir()))}.yaml"
    path.write_text(json.dumps({"filters": {"blank_image": {}, **filters}}))
    return path


def outcomes(output):
    return {row["source"]["key"]: (row["outcome"], row["reason"]) for row in rows(output)}


@pytest.fixture
def screened(corpus, tmp_path):
    output = tmp_path / "screened"
    assert screen_here(corpus, output, "--filters", config(tmp_path, **MIDDLING)) == 0
    assert outcomes(output) == {
        "large": ("kept", None),
        "small": ("filtered", "too_small"),
        "short": ("filtered", "too_few_words"),
        "small_short": ("filtered", "too_small"),
        "silent": ("kept", None),
        "pale": ("filtered", "blank"),
        "broken": ("failed", "truncated_image"),
    }
    return output


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_it_says_what_would_change_and_writes_nothing(screened, tmp_path, capsys):
    before = everything(screened)
    assert here("rescreen", screened, "--filters", config(tmp_path, **MIDDLING)) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["image_size", "too_small", "2", "2"] in said
    assert ["no", "image", "changes", "its", "outcome"] in said
    new = config(tmp_path, **MIDDLING | {"text_quality": {"min_words": 20}})
    assert here("rescreen", screened, "--filters", new) == 0
    said = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["text_quality", "too_few_words", "1", "4"] in said
    assert ["kept", "filtered", "1"] in said
    assert everything(screened) == before


def test_stricter_filters_give_the_rows_of_screening_anew(corpus, screened, tmp_path):
    new = config(tmp_path, image_size={"min_side": 145}, text_quality={"min_words": 13})
    assert here("rescreen", screened, "--filters", new, "--write", tmp_path / "new") == 0
    assert screen_here(corpus, tmp_path / "anew", "--filters", new) == 0
    assert rows(tmp_path / "new") == rows(tmp_path / "anew")
    assert "filtered" in {outcome for outcome, _ in outcomes(tmp_path / "new").values()}
    assert here("verify", tmp_path / "new") == 0


def test_text_that_a_new_threshold_drops_is_withheld(screened, tmp_path):
    new = config(tmp_path, **MIDDLING | {"text_quality": {"min_words": 13}})
    assert here("rescreen", screened, "--filters", new, "--write", tmp_path / "new") == 0
    found = {row["source"]["key"]: row for row in rows(tmp_path / "new")}
    assert found["large"]["reason"] == "too_few_words"
    assert found["large"]["text"] is None
    assert found["large"]["metadata"] is None


def test_what_would_now_get_further_is_quarantined_and_then_screened(corpus, screened, tmp_path):
    loose = config(tmp_path, image_size={"min_side": 10}, text_quality={"min_words": 1})
    new = tmp_path / "new"
    assert here("rescreen", screened, "--filters", loose, "--write", new) == 0
    waiting = ("quarantined", "rescreen:needs_screening")
    assert outcomes(new) == outcomes(screened) | dict.fromkeys(
        ("small", "short", "small_short"), waiting
    )
    # Not one that was withheld is shown for that.
    assert all(row["text"] is None for row in rows(new) if row["outcome"] == "quarantined")
    assert here("retry", new, "--progress", "none") == 0
    assert screen_here(corpus, tmp_path / "anew", "--filters", loose) == 0
    assert rows(new) == rows(tmp_path / "anew")
    assert outcomes(new)["small"] == ("kept", None)


def test_a_picture_that_the_last_filter_dropped_is_kept_at_once(screened, tmp_path):
    loose = config(tmp_path, **MIDDLING | {"blank_image": {"min_spread": 0, "min_entropy": 0}})
    assert here("rescreen", screened, "--filters", loose, "--write", tmp_path / "new") == 0
    (row,) = (row for row in rows(tmp_path / "new") if row["source"]["key"] == "pale")
    assert (row["outcome"], row["reason"], row["text"]) == ("kept", None, LONG)
    decision = row["decisions"][-1]
    assert (decision["verdict"], decision["score"]) == ("keep", None)
    assert {one["label"] for one in decision["scores"]} == {"spread", "entropy"}


def test_what_was_never_annotated_is_not_kept_in_a_ledger_of_annotations(corpus, tmp_path):
    output = tmp_path / "annotated"
    assert annotate_here(corpus, output, "--filters", config(tmp_path, **MIDDLING)) == 0
    loose = config(tmp_path, **MIDDLING | {"blank_image": {"min_spread": 0, "min_entropy": 0}})
    assert here("rescreen", output, "--filters", loose, "--write", tmp_path / "new") == 0
    assert outcomes(tmp_path / "new")["pale"] == ("quarantined", "rescreen:needs_screening")
    strict = config(tmp_path, **MIDDLING | {"text_quality": {"min_words": 13}})
    assert here("rescreen", output, "--filters", strict, "--write", tmp_path / "strict") == 0
    (row,) = (row for row in rows(tmp_path / "strict") if row["source"]["key"] == "large")
    assert (row["outcome"], row["annotations"]) == ("filtered", [])


def test_a_filter_without_scores_is_named(screened, tmp_path, capsys):
    new = config(tmp_path, unsafe_text={}, text_quality={"subjects": ["text", "output"]})
    assert here("rescreen", screened, "--filters", new, "--write", tmp_path / "new") == 2
    said = capsys.readouterr().err
    assert "unsafe_text: it was not among the filters of that run" in said
    assert "text_quality: it did not look at output in that run" in said
    assert not (tmp_path / "new").exists()


def test_scores_of_another_version_are_refused_and_nothing_is_written(
    screened, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(TextShape.__init__, "__defaults__", ("text-shape", "2"))
    new = config(tmp_path, **MIDDLING | {"text_quality": {"min_words": 4}})
    assert here("rescreen", screened, "--filters", new, "--write", tmp_path / "new") == 2
    assert (
        "filter text_quality can't be rescreened: its scores are of text-shape 1, not of "
        "text-shape 2"
    ) in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_duplicate_whose_survivor_falls_is_looked_at_again(tmp_path):
    large, small = (encode(photograph("coffee.png", (side, side)), "JPEG") for side in (256, 128))
    # Whichever has the lower id survives: among several small ones and a large one, either may.
    records = [Picture(f"small{n}", "jpg", small, LONG) for n in range(6)]
    write_webdataset(tmp_path / "a.tar", [*records, Picture("large", "jpg", large, LONG)])
    output = tmp_path / "out"
    assert screen_here(tmp_path / "a.tar", output, "--duplicates", "near") == 0
    (survivor,) = (row for row in rows(output) if row["outcome"] == "kept")
    sides = ("--filters", "off", "--min-side", 110)
    assert here("rescreen", output, *sides, "--write", tmp_path / "new") == 0
    found = {row["source"]["key"]: row for row in rows(tmp_path / "new")}
    if survivor["source"]["key"] == "large":
        assert found["large"]["outcome"] == "kept"
    else:
        assert found["large"]["reason"] == "rescreen:needs_screening"
        assert here("retry", tmp_path / "new", "--progress", "none") == 0
        found = {row["source"]["key"]: row for row in rows(tmp_path / "new")}
        assert found["large"]["outcome"] == "kept"
    assert {found[r.name]["reason"] for r in records} == {"too_small"}


def test_what_was_never_searched_for_duplicates_is_not_kept(corpus, tmp_path, capsys):
    output, new = tmp_path / "out", tmp_path / "new"
    filters = ("--filters", config(tmp_path, **MIDDLING), "--duplicates", "exact")
    twin = corpus.with_name("twin.tar")
    twin.write_bytes(corpus.read_bytes())
    assert screen_here([corpus, twin], output, *filters) == 0
    loose = config(tmp_path, **MIDDLING | {"blank_image": {"min_spread": 0, "min_entropy": 0}})
    assert here("rescreen", output, "--filters", loose, "--write", new) == 0
    pale = [row for row in rows(new) if row["source"]["key"] == "pale"]
    assert [row["reason"] for row in pale] == ["rescreen:needs_screening"] * 2
    survivors = {row["id"] for row in rows(new) if row["outcome"] == "kept"}
    assert here("retry", new, "--progress", "none") == 0
    pale = [row for row in rows(new) if row["source"]["key"] == "pale"]
    assert sorted(row["outcome"] for row in pale) == ["duplicate", "kept"]
    assert survivors <= {row["id"] for row in rows(new) if row["outcome"] == "kept"}
    # As after a kill between screening and marking.
    (output / "duplicates.json").unlink()
    assert here("rescreen", output, "--filters", loose) == 2
    assert "not searched for duplicates to the end" in capsys.readouterr().err


def test_writing_that_breaks_off_is_gone_on_with(corpus, tmp_path, monkeypatch):
    other = corpus.with_name("b.tar")
    other.write_bytes(corpus.read_bytes())
    output, new = tmp_path / "out", tmp_path / "new"
    assert screen_here([corpus, other], output, "--filters", config(tmp_path, **MIDDLING)) == 0
    strict = config(tmp_path, **MIDDLING | {"text_quality": {"min_words": 13}})
    line = ("rescreen", output, "--filters", strict, "--write")
    whole = Ledger.commit

    def breaking(self, *args):
        if commits(new):
            raise MemoryError("killed")
        return whole(self, *args)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "commit", breaking)
        with pytest.raises(MemoryError):
            here(*line, new)
    assert len(commits(new)) == 1
    assert here(*line, new) == 0
    assert here(*line, tmp_path / "undisturbed") == 0
    assert rows(new) == rows(tmp_path / "undisturbed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--filters"),
        (("--filters", "strickt"), "strickt"),
        (("--filters", "off", "--wirte", "x"), "did you mean --write?"),
    ],
)
def test_a_mistake_in_the_line_is_named(screened, capsys, words, said):
    capsys.readouterr()
    assert here("rescreen", screened, *words) == 2
    assert said in capsys.readouterr().err


def test_rows_are_never_written_over_those_they_come_from(screened, tmp_path, capsys):
    new = config(tmp_path, **MIDDLING)
    assert here("rescreen", screened, "--filters", new, "--write", screened) == 2
    assert "another configuration" in capsys.readouterr().err
    assert here("rescreen", tmp_path, "--filters", new) == 2
