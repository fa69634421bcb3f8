"""`palipipe finetune`: what it learns, goes on from, leaves out and refuses."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import runs
from corpus import encode, photograph
from PIL import Image

from examples.build import Picture, write_webdataset
from model import tiny
from model.checkpoint import load
from model.checkpoint.tree import flatten
from model.paligemma import PaliGemma
from model.tokenizer import LOCATIONS, Tokenizer
from pipelines.main import main

WORDS = ("cat", "dog", "red", "blue", "small", "large", "old", "new")
CONFIG = {
    "vision": {"image_size": 28, "width": 48, "depth": 2, "mlp_dim": 96, "num_heads": 4},
    "language": {
        "width": 48,
        "depth": 2,
        "mlp_dim": 96,
        "num_heads": 4,
        "num_kv_heads": 1,
        "head_dim": 12,
        "vocab_size": 640 + 1152,
    },
}
SIXTEEN = (
    *("--steps", 300, "--batch-size", 16, "--learning-rate", 3e-3, "--seed", 4),
    *("--save-every", 20, "--evaluate-every", 300, "--log-every", 5),
)


def crops() -> list[Image.Image]:
    """Sixteen different pictures, cut from a photograph."""
    whole = photograph("astronaut.png").resize((256, 256))
    boxes = [(x, y, x + 64, y + 64) for x in range(0, 256, 64) for y in range(0, 256, 64)]
    return [whole.crop(box) for box in boxes]


def caption(number: int) -> str:
    return f"a {WORDS[number // 4]} {WORDS[4 + number % 4]}"


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory) -> Path:
    """Sixteen pictures in the list that PaliGemma's users have; beside it the shapes to train."""
    folder = tmp_path_factory.mktemp("sixteen")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    lines = []
    for number, crop in enumerate(crops()):
        crop.save(folder / f"{number}.png")
        line = {"image": f"{number}.png", "prefix": "caption en", "suffix": caption(number)}
        lines.append(json.dumps(line) + "\n")
    (folder / "train.jsonl").write_text("".join(lines))
    return folder


def command(folder: Path, output: Path, *arguments: Any) -> list[Any]:
    return [
        *("finetune", "--input", folder / "train.jsonl", "--output", output),
        *("--from-scratch", folder / "config.json", "--tokenizer", tiny.TOKENIZER),
        *("--progress", "none"),
        *arguments,
    ]


def here(*line: Any) -> int:
    """The command in this process; its exit code."""
    try:
        return main([str(word) for word in line])
    except SystemExit as stopped:
        return int(stopped.code or 0)


def log(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def overfitted(sixteen: Path, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "overfitted"
    held_out = ("--held-out", sixteen / "train.jsonl", "--exact-match", 16)
    assert here(*command(sixteen, output, *SIXTEEN, *held_out)) == 0
    return output


def test_sixteen_pictures_are_learned_by_heart(overfitted: Path):
    *_, last, evaluated = log(overfitted)
    assert last["loss"] < 0.05
    assert evaluated["held_out_loss"] < 0.05
    assert evaluated["exact_match"] == 1.0


def test_the_log_says_rate_and_speed_and_the_curve_is_a_picture(overfitted: Path):
    lines = [line for line in log(overfitted) if "loss" in line]
    assert [line["step"] for line in lines] == list(range(5, 301, 5))
    assert max(line["learning_rate"] for line in lines) == pytest.approx(3e-3, rel=0.01)
    assert all(line["examples_per_second"] > 0 for line in lines)
    with Image.open(overfitted / "loss.png") as curve:
        assert len(curve.convert("L").getcolors()) > 8


def test_annotate_answers_with_what_was_written_in_either_format(
    overfitted: Path, sixteen: Path, tmp_path: Path
):
    for number, checkpoint in enumerate((overfitted / "model.npz", overfitted / "hugging-face")):
        output = tmp_path / str(number)
        code = runs.annotate_here(
            sixteen / "train.jsonl", output, "--checkpoint", checkpoint, "--max-new-tokens", 20
        )
        assert code == 0
        answers = [row["annotations"][0]["text"] for row in runs.rows(output)]
        assert answers == [caption(number) for number in range(16)]


def test_a_run_killed_and_started_again_ends_with_the_weights_of_one_that_was_not(
    overfitted: Path, sixteen: Path, tmp_path: Path
):
    output = tmp_path / "killed"
    held_out = ("--held-out", sixteen / "train.jsonl", "--exact-match", 16)
    line = command(sixteen, output, *SIXTEEN, *held_out)
    process = runs.start(*line)
    saved = output / "state" / "step-000000040.npz"
    deadline = time.monotonic() + 240
    while not saved.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (output / "model.npz").exists()
    again = runs.palipipe(*line)
    assert "going on from step" in again.stdout
    assert (output / "model.npz").read_bytes() == (overfitted / "model.npz").read_bytes()
    speed = "examples_per_second"
    ours, theirs = ([{**line, speed: 0} for line in log(each)] for each in (output, overfitted))
    assert ours == theirs


def test_a_finished_run_started_again_writes_the_same(overfitted: Path, sixteen: Path, capsys):
    before = (overfitted / "model.npz").read_bytes()
    held_out = ("--held-out", sixteen / "train.jsonl", "--exact-match", 16)
    assert here(*command(sixteen, overfitted, *SIXTEEN, *held_out)) == 0
    assert (overfitted / "model.npz").read_bytes() == before
    assert "going on from step 300" in capsys.readouterr().out


def test_several_things_are_learned_of_each_record_and_adapters_merged(
    overfitted: Path, tmp_path: Path, capsys
):
    """From tars, with prompts of fields; a record without a field gives what it has."""
    pictures = [
        Picture(
            name=f"{number:03}",
            suffix="png",
            data=encode(crop, "PNG"),
            text=caption(number),
            metadata={"question": "what", "answer": "a crop"} if number % 2 else {},
        )
        for number, crop in enumerate(crops())
    ]
    write_webdataset(tmp_path / "crops.tar", pictures)
    output = tmp_path / "out"
    code = here(
        *("finetune", "--input", tmp_path / "*.tar", "--output", output),
        *("--checkpoint", overfitted / "model.npz", "--lora-rank", 2, "--steps", 2),
        *("--batch-size", 8, "--accumulate", 2, "--buckets", 2, "--held-out-share", 0.2),
        *("--prefix", "caption en", "--suffix", "{text}"),
        *("--prefix", "answer en {question}", "--suffix", "{answer}", "--progress", "none"),
    )
    said = capsys.readouterr().out
    assert code == 0
    assert "learned from: 24 examples about 16 pictures" in said
    assert "left out: 8 examples: without question" in said
    before, after = (flatten(load(str(each / "model.npz"))[1]) for each in (overfitted, output))
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert "llm/layers/attn/q_einsum/w" in moved
    assert all(name.startswith("llm/layers/") for name in moved)


def test_blurred_locations_teach_those_nearby(sixteen: Path, tmp_path: Path):
    whole = "<loc0100><loc0500><loc0300><loc0900>"
    lines = [
        {"image": str(sixteen / f"{n}.png"), "prefix": "detect it", "suffix": f"{whole} it"}
        for n in range(4)
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    tokenizer = Tokenizer.load(tiny.TOKENIZER)
    shares = {}
    for name, options in (("sharp", ()), ("blurred", ("--blur-locations", 20))):
        output = tmp_path / name
        schedule = ("--steps", 150, "--batch-size", 4, "--learning-rate", 3e-3)
        assert here(*command(tmp_path, output, *schedule, *options)) == 0
        config, params = load(str(output / "model.npz"))
        prompt = np.array([tokenizer.encode_prompt("detect it")])
        pixels = np.asarray(crops()[0].convert("RGB").resize((28, 28)))[None]
        logits = PaliGemma(config).apply(
            {"params": params}, pixels, prompt, np.ones_like(prompt, bool), np.zeros_like(prompt)
        )[0, -1]
        first = tokenizer.first_location
        shares[name] = np.asarray(jax.nn.softmax(logits[first : first + LOCATIONS]))
    assert shares["sharp"][100] > 0.8
    assert shares["blurred"][100] < 0.1
    assert shares["blurred"][40:161].sum() > 0.8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", 10, "--freeze", "image/*"], "'image/*' names no parameter"),
        (["--steps", 10, "--warmup-steps", 10], "there are only 10 steps"),
        (["--steps", 10, "--epochs", 2], "not allowed with argument"),
        (["--steps", 10, "--lora-alpha", 2], "--lora-alpha needs --lora-rank"),
        (["--steps", 10, "--exact-match", 3], "--exact-match needs --held-out"),
        (["--steps", 10, "--batch-size", 6, "--accumulate", 4], "isn't a multiple of --accumulate"),
        (["--steps", 10, "--prefix", "captoin en"], 'did you mean "caption"'),
        (["--steps", 10, "--suffix", "{nothing}"], "no example can be learned from"),
        (["--steps", 10, "--input", "/nowhere/*.jsonl"], "nothing matches /nowhere/*.jsonl"),
        (["--steps", 10, "--tokenizer", "/nowhere/tokenizer.model"], "can't be read"),
        (["--steps", 10, "--from-scratch", "/nowhere.json"], "/nowhere.json: can't be read"),
        (["--steps", 10, "--laerning-rate", 1], "did you mean --learning-rate"),
        (["--steps", 10, "--learning-rate", 0], "not a number above 0"),
    ],
)
def test_a_mistake_is_told_with_its_remedy(sixteen: Path, tmp_path: Path, capsys, arguments, said):
    output = tmp_path / "out"
    assert here(*command(sixteen, output, *arguments)) == 2
    assert said in capsys.readouterr().err
    # Only a corpus that turns out to hold nothing is found wanting after the folder is claimed.
    assert output.exists() == ("{nothing}" in arguments)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vision": {"width": 50}}, "width 50 is no multiple of num_heads 4"),
        ({"language": {"widht": 50}}, "language has no setting widht"),
        ({"language": {"depth": "2"}}, "language.depth is '2'; expected int"),
        ({"language": {"attention_cap": 50.0}}, "attention_cap is 50.0"),
        ({"language": {"vocab_size": 100}}, "1792 ids, the checkpoint's embedding 100 rows"),
    ],
)
def test_a_configuration_that_cannot_be_is_named(
    sixteen: Path, tmp_path: Path, capsys, change, said
):
    (tmp_path / "train.jsonl").write_bytes((sixteen / "train.jsonl").read_bytes())
    values = {part: {**CONFIG[part], **change.get(part, {})} for part in CONFIG}
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert here(*command(tmp_path, tmp_path / "out", "--steps", 1)) == 2
    assert said in capsys.readouterr().err


def test_a_folder_belongs_to_one_training(overfitted: Path, sixteen: Path, capsys):
    other = command(sixteen, overfitted, *SIXTEEN, "--seed", 5)
    assert here(*other) == 2
    assert "training.seed: 4 there, 5 now" in capsys.readouterr().err


def test_a_training_that_diverges_stops_and_says_so(sixteen: Path, tmp_path: Path, capsys):
    wild = ("--steps", 40, "--learning-rate", 1e30, "--batch-size", 16, "--log-every", 2)
    assert here(*command(sixteen, tmp_path / "out", *wild)) == 1
    assert "training diverged" in capsys.readouterr().err
    assert not (tmp_path / "out" / "model.npz").exists()
