"""The one command that makes the small model, in a few steps on a few pictures."""

from __future__ import annotations

import numpy as np
import pytest
from garments_data import write_dataset

from benchmarks.small_model import annotate, annotator
from examples.garments import build
from examples.garments.corpus import corpus
from examples.garments.fashion import load
from examples.garments.network import CONFIG
from examples.garments.pretrain import Pretraining, draw, pretrain, wave_positions
from examples.garments.scenes import Studio
from model import small
from model.mask_encoder import MaskEncoder


def test_near_positions_start_out_alike():
    positions = wave_positions(CONFIG)[0]
    side = CONFIG.vision.image_size // CONFIG.vision.patch_size
    assert positions.shape == (CONFIG.vision.tokens, CONFIG.vision.width)
    alike = positions @ positions[0]
    assert alike[1] > alike[2] > alike[4]
    assert alike[side] > alike[2 * side] > alike[4 * side]


@pytest.mark.slow
def test_pretraining_learns_what_patches_show(tmp_path):
    studio = Studio(load(write_dataset(tmp_path), "train"))
    reports: list[dict[str, float]] = []
    settings = Pretraining(steps=101, batch_size=8, learning_rate=2e-3, warmup_steps=10)
    drawn = draw(studio, 1, 8, CONFIG.vision.patch_size)
    params = pretrain(*drawn, CONFIG, settings, lambda step, report: reports.append(report))
    first, last = reports
    assert last["colour"] < first["colour"] / 3
    assert last["pixels off"] < first["pixels off"] / 2
    assert params["pos_embedding"].shape == wave_positions(CONFIG).shape


@pytest.mark.slow
def test_a_build_makes_a_model_that_answers_and_goes_on_where_it_was(tmp_path, capsys):
    dataset = write_dataset(tmp_path)
    output = tmp_path / "output"
    output.mkdir()
    arguments = [str(tmp_path / "work"), "--dataset", str(dataset), "--output", str(output)]
    arguments += ["--codec-steps", "20", "--pretrain-scenes", "8", "--pretrain-steps", "210"]
    arguments += ["--scenes", "20", "--decoder-steps", "3", "--batch-size", "8"]
    build.main([*arguments, "--steps", "3"])
    made = {path.name: path.read_bytes() for path in output.iterdir()}
    carried = (small.CHECKPOINT, small.TOKENIZER, small.MASK_CODEC)
    assert made.keys() == {path.name for path in carried}

    checkpoint, tokenizer, codec = (output / path.name for path in carried)
    model = annotator(str(checkpoint), str(tokenizer), str(codec))
    examples = list(corpus(Studio(load(dataset, "test")), MaskEncoder.load(codec), 1, 2))
    for answer in annotate(model, examples):
        assert np.isfinite([each.log_probability for each in answer.values()]).all()

    capsys.readouterr()
    build.main([*arguments, "--steps", "3"])
    assert "making" not in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in output.iterdir()} == made


@pytest.mark.slow
def test_a_model_is_trained_further_with_its_own_tokenizer_and_codec(tmp_path):
    dataset = write_dataset(tmp_path)
    output = tmp_path / "output"
    output.mkdir()
    arguments = [str(tmp_path / "work"), "--dataset", str(dataset), "--output", str(output)]
    arguments += ["--scenes", "20", "--batch-size", "8", "--steps", "2"]
    build.main([*arguments, "--continue-from", str(small.CHECKPOINT)])
    for path in (small.TOKENIZER, small.MASK_CODEC):
        assert (output / path.name).read_bytes() == path.read_bytes()
    assert (output / small.CHECKPOINT.name).read_bytes() != small.CHECKPOINT.read_bytes()
