"""Filters through the front door: nothing unscreened is kept, and no matched text gets out."""

import dataclasses
import hashlib
import io
import json
import tarfile

import pytest
import yaml
from corpus import encode, photograph
from runs import annotate_here, palipipe, rows

from filters.unsafe_text import UnsafeTextScorer
from model.annotator import Annotator
from transforms import prepare

# Planted values: each is unmistakable, so that a search of every byte a run wrote can't miss it.
CARD = "4111 1111 1111 1111"
EMAIL = "zz.planted.marker@example.org"
PHONE = "+34 612 345 678"
SECRETS = (CARD, EMAIL, PHONE, CARD.replace(" ", ""), "planted", "612 345")


@pytest.fixture(scope="module")
def picture():
    return encode(photograph("coffee.png", (120, 90)), "JPEG")


def shard(folder, picture, records):
    """records: (key, text, metadata). Every second picture is broken where the key says so."""
    path = folder / "a.tar"
    with tarfile.open(path, "w") as tar:

        def add(name, data):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

        for key, text, metadata in records:
            add(f"{key}.jpg", picture[:200] if "broken" in key else picture)
            if text is not None:
                add(f"{key}.txt", text.encode())
            if metadata:
                add(f"{key}.json", json.dumps(metadata).encode())
    return path


def everything_written(output, capsys=None):
    """All bytes below a folder, Parquet decoded, and what went to the terminal."""
    texts = [path.read_bytes().decode("utf-8", "replace") for path in output.rglob("*.json")]
    texts += [json.dumps(row, default=str) for row in rows(output)]
    if capsys is not None:
        shown = capsys.readouterr()
        texts += [shown.out, shown.err]
    return "\n".join(texts)


PLANTED = [
    ("a_card", f"my card is {CARD}, valid until may", None),
    ("b_mail", f"write to {EMAIL} for prints of this picture", None),
    ("c_phone", f"call me at {PHONE} about the coffee", None),
    ("d_metadata", "a cup of coffee on a wooden table", {"contact": f"owner {EMAIL}"}),
    ("e_broken", f"my card is {CARD}", None),
    ("f_benign", "a cup of coffee on a wooden table", {"question": "what is in the cup?"}),
]


def test_personal_information_is_dropped_and_gets_nowhere(tmp_path, picture, capsys, caplog):
    path = shard(tmp_path, picture, PLANTED)
    assert annotate_here(path, tmp_path / "out", "--filters", "default") == 0
    outcomes = {
        row["source"]["key"]: (row["outcome"], row["reason"]) for row in rows(tmp_path / "out")
    }
    assert outcomes == {
        **dict.fromkeys(
            ("a_card", "b_mail", "c_phone", "d_metadata"), ("filtered", "personal_information")
        ),
        "e_broken": ("failed", "truncated_image"),
        "f_benign": ("kept", None),
    }
    written = everything_written(tmp_path / "out", capsys) + caplog.text
    for secret in SECRETS:
        assert secret not in written
    assert "a cup of coffee" in written


def test_the_decision_says_what_kind_was_found_and_not_where(tmp_path, picture):
    path = shard(tmp_path, picture, PLANTED[:1])
    annotate_here(path, tmp_path / "out", "--filters", "default")
    (row,) = rows(tmp_path / "out")
    decision = row["decisions"][-1]
    assert decision["filter"] == "personal_information"
    assert decision["labels"] == ["CREDIT_CARD_NUMBER"]
    assert row["text"] is None
    assert row["metadata"] is None


def test_personal_information_can_be_blacked_out_instead(tmp_path, picture, capsys):
    config = tmp_path / "filters.yaml"
    config.write_text("filters: {personal_information: {action: redact, subjects: [text, output]}}")
    path = shard(tmp_path, picture, [each for each in PLANTED if "broken" not in each[0]])
    task = ("--task", "answer en {text}")
    assert annotate_here(path, tmp_path / "out", "--filters", config, *task) == 0
    found = {row["source"]["key"]: row for row in rows(tmp_path / "out")}
    assert {row["outcome"] for row in found.values()} == {"kept"}
    assert found["b_mail"]["text"] == "write to [EMAIL_ADDRESS] for prints of this picture"
    assert json.loads(found["d_metadata"]["metadata"]) == {"contact": "owner [EMAIL_ADDRESS]"}
    assert "[EMAIL_ADDRESS]" in found["b_mail"]["annotations"][0]["prompt"]
    written = everything_written(tmp_path / "out", capsys)
    for secret in SECRETS:
        assert secret not in written


def writing(monkeypatch, text):
    """Make the model write something in particular, as a model that read it off a picture would."""
    whole = Annotator.annotate

    def annotate(self, pixels, prompts, sizes):
        return [
            [dataclasses.replace(each, raw=text, text=text, boxes=()) for each in answer]
            for answer in whole(self, pixels, prompts, sizes)
        ]

    monkeypatch.setattr(Annotator, "annotate", annotate)


def test_what_the_model_reads_off_a_picture_is_screened_too(tmp_path, picture, monkeypatch, capsys):
    writing(monkeypatch, f"card {CARD}")
    path = shard(tmp_path, picture, PLANTED[-1:])
    assert annotate_here(path, tmp_path / "out", "--filters", "default") == 0
    (row,) = rows(tmp_path / "out")
    assert (row["outcome"], row["reason"]) == ("filtered", "personal_information")
    assert row["decisions"][-1]["subject"] == "output"
    assert row["annotations"] == []
    assert CARD not in everything_written(tmp_path / "out", capsys)


def test_what_the_model_reads_can_be_blacked_out(tmp_path, picture, monkeypatch):
    writing(monkeypatch, f"card {CARD}")
    config = tmp_path / "filters.yaml"
    config.write_text("filters: {personal_information: {action: redact, subjects: [text, output]}}")
    path = shard(tmp_path, picture, PLANTED[-1:])
    assert annotate_here(path, tmp_path / "out", "--filters", config) == 0
    (row,) = rows(tmp_path / "out")
    assert row["outcome"] == "kept"
    assert row["annotations"][0]["text"] == "card [CREDIT_CARD_NUMBER]"


def test_what_stands_across_location_pieces_is_blacked_out_too(
    tmp_path, picture, monkeypatch, capsys
):
    writing(monkeypatch, "card 4111<loc0001>1111<loc0002>1111<loc0003>1111")
    config = tmp_path / "filters.yaml"
    config.write_text("filters: {personal_information: {action: redact, subjects: [text, output]}}")
    path = shard(tmp_path, picture, PLANTED[-1:])
    assert annotate_here(path, tmp_path / "out", "--filters", config) == 0
    (row,) = rows(tmp_path / "out")
    assert row["annotations"][0]["raw"] == "card [CREDIT_CARD_NUMBER]"
    written = everything_written(tmp_path / "out", capsys)
    assert "4111<" not in written
    assert "4111 1111" not in written


def test_a_national_number_is_blacked_out_in_the_language_it_was_found_in(tmp_path, picture):
    """Nobody says the language: finding it and blacking it out have to agree on one."""
    config = tmp_path / "filters.yaml"
    config.write_text("filters: {personal_information: {action: redact}}")
    text = "para comprar esta fotografía de una taza de café llame al teléfono 612 345 678"
    path = shard(tmp_path, picture, [("a", text, None)])
    assert annotate_here(path, tmp_path / "out", "--filters", config) == 0
    (row,) = rows(tmp_path / "out")
    assert row["outcome"] == "kept"
    assert "[PHONE_NUMBER]" in row["text"]
    assert "612 345" not in everything_written(tmp_path / "out")


def test_what_cannot_be_blacked_out_is_not_kept(tmp_path, picture, monkeypatch):
    monkeypatch.setattr(prepare, "redacted", lambda value, language: value)
    config = tmp_path / "filters.yaml"
    config.write_text("filters: {personal_information: {action: redact}}")
    path = shard(tmp_path, picture, PLANTED[:1])
    assert annotate_here(path, tmp_path / "out", "--filters", config) == 0
    (row,) = rows(tmp_path / "out")
    assert (row["outcome"], row["text"]) == ("filtered", None)
    assert CARD not in everything_written(tmp_path / "out")


def test_a_filter_that_breaks_quarantines_unless_it_is_said_to_fail_open(
    tmp_path, picture, monkeypatch
):
    def broken(self, items):
        raise OSError("a lexicon that can't be read")

    monkeypatch.setattr(UnsafeTextScorer, "score", broken)
    path = shard(tmp_path, picture, PLANTED[-1:])
    assert annotate_here(path, tmp_path / "closed", "--filters", "default") == 0
    (row,) = rows(tmp_path / "closed")
    assert (row["outcome"], row["reason"]) == ("quarantined", "unsafe_text:error:OSError")
    assert row["text"] is None
    opened = ("--filters", "default", "--fail-open", "unsafe_text")
    assert annotate_here(path, tmp_path / "open", *opened) == 0
    (row,) = rows(tmp_path / "open")
    assert row["outcome"] == "kept"
    assert row["decisions"][1]["verdict"] == "error"
    manifest = json.loads((tmp_path / "open" / "palipipe.json").read_text())
    assert manifest["configuration"]["screening"]["filters"]["unsafe_text"]["fail_open"] is True


def test_a_picture_on_the_blocklist_halts_its_shard_and_leaves_no_trace(tmp_path, picture, capsys):
    digest = hashlib.sha256(picture).hexdigest()
    (tmp_path / "known.txt").write_text(f"sha256:{digest} exhibit\n")
    config = tmp_path / "filters.yaml"
    config.write_text(f"filters: {{blocklist: {{path: {tmp_path / 'known.txt'}}}}}")
    path = shard(tmp_path, picture, PLANTED[-1:])
    assert annotate_here(path, tmp_path / "out", "--filters", config) == 1
    assert "blocklist" in capsys.readouterr().err
    assert rows(tmp_path / "out") == []
    assert digest not in everything_written(tmp_path / "out")


def test_the_presets_print_themselves_as_files_that_mean_the_same(tmp_path):
    for name in ("strict", "default", "off"):
        printed = palipipe("filters", name).stdout
        (tmp_path / "file.yaml").write_text(printed)
        again = yaml.safe_load(palipipe("filters", tmp_path / "file.yaml").stdout)
        assert set(again["filters"]) == set(yaml.safe_load(printed)["filters"])


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("filters: {toxcity: {}}", "did you mean toxicity?"),
        ("filters: {image_size: {minside: 3}}", "did you mean min_side?"),
        ("filters: {toxicity: {backend: perspektive}}", "did you mean perspective?"),
        ("filters: {pornographic_images: {drop: 0.1, doubt: 0.5}}", "0.5"),
        ("filters: {decontamination: {path: nowhere}}", "nowhere"),
        ("filters: [", "not valid YAML"),
    ],
)
def test_a_mistake_in_the_file_is_named_before_anything_runs(
    tmp_path, picture, capsys, text, named
):
    (tmp_path / "filters.yaml").write_text(text)
    path = shard(tmp_path, picture, PLANTED[-1:])
    assert annotate_here(path, tmp_path / "out", "--filters", tmp_path / "filters.yaml") == 2
    said = capsys.readouterr().err
    assert named in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
