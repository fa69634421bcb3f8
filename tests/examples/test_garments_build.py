"""The one command that makes the small model, in a few steps on a few pictures."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from garments_data import write_dataset

from benchmarks.small_model import annotate, annotator
from examples.garments import build
from examples.garments.corpus import corpus
from examples.garments.deck import LONG, Deck
from examples.garments.fashion import load
from examples.garments.lessons import Lessons
from examples.garments.network import CONFIG, tokenizer
from examples.garments.outlines import PER_KIND, Outlines
from examples.garments.pretrain import wave_positions, whitening
from examples.garments.scenes import SIZE, Studio
from examples.garments.teach import Course, first_params, learn, location_blur
from model import small
from model.tokenizer import EOS, LOCATIONS, PAD, Tokenizer

SCENES = 24


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("fashion-mnist"))


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    return Tokenizer.from_bytes(tokenizer())


@pytest.fixture(scope="module")
def lessons(dataset, pieces) -> Lessons:
    outlines = Outlines.load(small.OUTLINES, small.MASK_CODEC)
    studio = Studio(load(dataset, "train"))
    return Lessons.draw(studio, outlines, pieces, 1, SCENES, CONFIG.vision.patch_size)


def same(one, other) -> None:
    for first, second in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(first, second)


def test_near_positions_start_out_alike():
    positions = wave_positions(CONFIG.vision)[0]
    side = CONFIG.vision.image_size // CONFIG.vision.patch_size
    assert positions.shape == (CONFIG.vision.tokens, CONFIG.vision.width)
    alike = positions @ positions[0]
    assert alike[1] > alike[2] > alike[4]
    assert alike[side] > alike[2 * side] > alike[4 * side]


def test_channels_of_whitened_patches_vary_alike_and_apart(lessons):
    found = whitening(CONFIG.vision, lessons.pixels)
    side, P = 8, CONFIG.vision.patch_size
    cut = lessons.pixels.reshape(-1, side, P, side, P, 3) / 127.5 - 1
    seen = np.einsum("bhiwjc,ijce->bhwe", cut, found["kernel"]) + found["bias"]
    channels = seen.reshape(-1, CONFIG.vision.width)
    np.testing.assert_allclose(channels.mean(axis=0), 0, atol=1e-3)
    covariance = np.cov(channels, rowvar=False)
    assert 0.8 < covariance[0, 0] < 1
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)


def test_lessons_are_saved_whole(lessons, tmp_path):
    lessons.save(tmp_path / "lessons.npz")
    again = Lessons.load(tmp_path / "lessons.npz")
    for one, other in zip(
        jax.tree.leaves(vars(lessons)), jax.tree.leaves(vars(again)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_boxes_end_at_locations_of_whole_pixels(lessons, pieces):
    first = pieces.first_location
    of_pixels = location_blur(first).locations(np.arange(SIZE + 1)).tolist()
    locations = lessons.tokens[(lessons.tokens >= first) & (lessons.tokens < first + LOCATIONS)]
    assert len(locations) > 100
    assert set(locations.tolist()) <= set(of_pixels)


def test_every_step_asks_about_its_own_pictures(lessons, pieces):
    step = Deck(lessons, 6, 4, seed=3).step(5)
    assert step.pixels.shape == (6, 112, 112, 3)
    asked = set()
    for texts in step.texts:
        assert texts.picture.max() < 4
        for tokens, prompt, length, picture in zip(*texts, strict=True):
            if prompt == length:
                continue
            assert tokens[length - 1] == EOS
            assert (tokens[length:] == PAD).all()
            question = pieces.decode(tokens[1 : prompt - 1])
            asked.add(question.split()[0])
            shown = (lessons.pixels == step.pixels[picture]).all(axis=(1, 2, 3))
            about = np.flatnonzero(shown[lessons.picture])
            starts = lessons.start[about]
            texts_of = [lessons.tokens[start : start + length].tolist() for start in starts]
            assert tokens[:length].tolist() in texts_of
    assert asked >= {"caption", "answer", "detect", "segment"}
    assert step.texts[-1].tokens.shape[1] == LONG
    again = Deck(lessons, 6, 4, seed=3).step(5)
    same(step, again)


def test_typical_outlines_are_of_every_kind_and_the_best_is_chosen(dataset):
    outlines = Outlines.load(small.OUTLINES, small.MASK_CODEC)
    assert outlines.codes.shape == (7 * PER_KIND, 16)
    scene = Studio(load(dataset, "test")).scene(1, 0)
    numbers = outlines.numbers(scene)
    kinds = ["trousers", "pullover", "dress", "sandal", "sneaker", "bag", "boot"]
    assert [kinds[number // PER_KIND] for number in numbers] == [g.kind for g in scene.garments]


@pytest.mark.slow
def test_a_course_learns_and_goes_on_to_the_same_weights(lessons, pieces, tmp_path):
    blur = location_blur(pieces.first_location)
    start = first_params(CONFIG, lessons.pixels, blur)
    reports: list[dict[str, float]] = []

    def run(steps: int) -> dict:
        course = Course(steps, 6, 2, 0.02, 2e-3, fall=0, warmup=5, save_every=20)
        note = lambda step, measures: reports.append(measures)  # noqa: E731
        return learn(tmp_path / "whole", course, CONFIG, start, lessons, blur, note)

    whole = run(31)
    assert reports[-1]["answers"] < reports[0]["answers"] / 2
    assert reports[-1]["colour"] < reports[0]["colour"] * 0.7
    sorted((tmp_path / "whole").iterdir())[-1].unlink()
    again = run(31)
    same(whole, again)


@pytest.mark.slow
def test_a_build_makes_a_model_that_answers_and_goes_on_where_it_was(dataset, tmp_path, capsys):
    output = tmp_path / "output"
    output.mkdir()
    arguments = [str(tmp_path / "work"), "--dataset", str(dataset), "--output", str(output)]
    arguments += ["--codec-steps", "20", "--scenes", "20", "--sight-steps", "3", "--steps", "3"]
    arguments += ["--fresh-scenes", "20", "--fresh-steps", "3"]
    build.main(arguments)
    made = {path.name: path.read_bytes() for path in output.iterdir()}
    carried = (small.CHECKPOINT, small.TOKENIZER, small.MASK_CODEC, small.OUTLINES)
    assert made.keys() == {path.name for path in carried}

    checkpoint, pieces, codec, outlines = (output / path.name for path in carried)
    model = annotator(str(checkpoint), str(pieces), str(codec))
    studio = Studio(load(dataset, "test"))
    for answer in annotate(model, list(corpus(studio, Outlines.load(outlines, codec), 1, 2))):
        assert np.isfinite([each.log_probability for each in answer.values()]).all()

    capsys.readouterr()
    build.main(arguments)
    assert "making" not in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in output.iterdir()} == made
