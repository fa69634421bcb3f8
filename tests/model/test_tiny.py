"""The tiny checkpoint that comes along: made by its script, and good enough to test with."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data, transform

from model import tiny
from model.checkpoint import load
from model.paligemma import PaliGemma
from model.tiny import build
from model.tokenizer import EOS, PAD, Tokenizer

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def loaded() -> tuple:
    return load(str(tiny.CHECKPOINT))


def test_the_weights_have_the_shapes_of_the_script(loaded):
    config, _ = loaded
    assert config == build.CONFIG


@pytest.mark.slow
def test_the_weights_are_what_the_script_makes(loaded):
    _, params = loaded
    made = build.weights()
    assert jax.tree.structure(params) == jax.tree.structure(made)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), params, made)


def test_the_tokenizer_fits_the_weights(loaded):
    config, _ = loaded
    tokenizer = Tokenizer.load(tiny.TOKENIZER)
    tokenizer.require_rows(config.language.vocab_size)
    assert tokenizer.vocab_size == config.language.vocab_size


def test_its_name_says_that_it_is_random():
    assert "random" in tiny.NAME
    assert tiny.CHECKPOINT.stem == tiny.NAME


def test_answers_depend_on_picture_and_prompt_and_some_of_them_end(loaded):
    config, params = loaded
    shape = (config.vision.image_size, config.vision.image_size)
    pictures = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    small = [transform.resize(each, shape, preserve_range=True) for each in pictures]
    asked = itertools.product(small, ("caption en", "detect cat", "ocr"))
    images, prompts = zip(*asked, strict=True)
    answers = greedy(config, params, np.uint8(images), prompts)
    assert len(set(answers)) == len(prompts)
    assert {EOS in answer for answer in answers} == {True, False}


def greedy(config, params, images, prompts, steps: int = 12) -> list[tuple[int, ...]]:
    """Greedy tokens of each image and prompt, up to and with the first EOS."""
    model, variables = PaliGemma(config), {"params": params}
    tokenizer = Tokenizer.load(tiny.TOKENIZER)
    ids = [tokenizer.encode_prompt(prompt) for prompt in prompts]
    text = np.array([row + [PAD] * (max(map(len, ids)) - len(row)) for row in ids])

    @jax.jit
    def answer(images, text):
        image_tokens = model.apply(variables, images, method="encode")
        logits, cache, valid = model.apply(
            variables, image_tokens, text, text != PAD, steps, method="prefill"
        )

        def step(carry, number):
            logits, cache = carry
            token = jnp.argmax(logits, axis=-1)
            after = model.apply(variables, token, number, valid, cache, method="extend")
            return after, token

        _, tokens = jax.lax.scan(step, (logits, cache), jnp.arange(steps))
        return tokens.T

    rows = [tuple(row) for row in answer(images, text).tolist()]
    return [row[: row.index(EOS) + 1] if EOS in row else row for row in rows]


def test_both_files_are_packaged(tmp_path):
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    command += ["build_py", "--build-lib", str(tmp_path / "lib")]
    subprocess.run(command, check=True, cwd=ROOT)
    for file in (tiny.TOKENIZER, tiny.CHECKPOINT):
        packaged = tmp_path / "lib" / file.relative_to(ROOT)
        assert packaged.read_bytes() == file.read_bytes()
