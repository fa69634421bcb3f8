"""The engine as a caller sees it, on the goldens' weights."""

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from model.decoding import EOS
from model.engine import Engine, EngineSpec, ImageTokens, PromptTooLong

GOLDENS = Path(__file__).parents[1] / "data" / "goldens"
SPEC = EngineSpec(
    str(GOLDENS / "bv_paligemma1.npz"), batch_size=4, prompt_lengths=(6, 12), max_new_tokens=12
)


def expected(name):
    folder = GOLDENS / name
    at = folder / "expected.npz" if folder.is_dir() else GOLDENS / f"{name}.expected.npz"
    with np.load(at, allow_pickle=False) as arrays:
        return dict(arrays)


def prompts_of(golden):
    whole = np.ones_like(golden["prefix_tokens"], bool)
    rows = zip(golden["prefix_tokens"], golden.get("prefix_mask", whole), strict=True)
    return [tokens[mask].tolist() for tokens, mask in rows]


@pytest.fixture(scope="module")
def engine():
    return Engine.load(SPEC)


@pytest.fixture(scope="module")
def golden():
    return expected("bv_paligemma1")


@pytest.fixture(scope="module")
def prompts(golden):
    return prompts_of(golden)


@pytest.fixture(scope="module")
def image_tokens(engine, golden):
    return engine.encode_images(golden["images"])


def until_end(tokens, log_probs):
    """A golden's row as the engine gives it: tokens before EOS, log-probability through it."""
    ends = np.flatnonzero(tokens == EOS)
    length = ends[0] if len(ends) else len(tokens)
    return tokens[:length].tolist(), log_probs[: length + 1].sum()


def assert_golden(generation, golden):
    rows = zip(golden["greedy_tokens"], golden["greedy_logp"], strict=True)
    tokens, log_probs = zip(*(until_end(*row) for row in rows), strict=True)
    assert generation.tokens == list(tokens)
    np.testing.assert_allclose(generation.log_probs, log_probs, atol=1e-4)
    assert generation.ended.tolist() == [EOS in row for row in golden["greedy_tokens"]]
    assert generation.finite.all()


def test_answers_are_the_references_with_their_log_probabilities(
    engine, golden, prompts, image_tokens
):
    assert_golden(engine.generate(image_tokens, prompts), golden)


def test_frames_of_a_clip_are_one_row():
    golden = expected("bv_paligemma1_video")
    spec = replace(
        SPEC,
        checkpoint=str(GOLDENS / "bv_paligemma1_video.npz"),
        batch_size=2,
        prompt_lengths=(8,),
        max_new_tokens=8,
        frames=3,
    )
    engine = Engine.load(spec)
    generation = engine.generate(engine.encode_images(golden["images"]), prompts_of(golden))
    assert_golden(generation, golden)


def test_bfloat16_weights_are_kept_in_bfloat16_and_answer_alike():
    golden = expected("bv_paligemma2_bf16")
    spec = replace(
        SPEC,
        checkpoint=str(GOLDENS / "bv_paligemma2_bf16.npz"),
        dtype="bfloat16",
        batch_size=2,
        prompt_lengths=(8,),
        max_new_tokens=8,
    )
    engine = Engine.load(spec)
    generation = engine.generate(engine.encode_images(golden["images"]), prompts_of(golden))
    assert {leaf.dtype.itemsize for leaf in jax.tree.leaves(engine._variables)} == {2}
    assert [len(row) for row in generation.tokens] == [8, 8]
    first = [row[0] for row in generation.tokens]
    assert first == golden["greedy_tokens"][:, 0].tolist()
    np.testing.assert_allclose(generation.log_probs, golden["greedy_logp"].sum(1), atol=0.3)


def test_nothing_is_compiled_after_loading(engine, golden, prompts):
    before = engine.used.recompilations
    for rows in (1, 3, 4):
        tokens = engine.encode_images(golden["images"][:rows])
        engine.generate(tokens, prompts[:rows], max_new_tokens=rows)
        engine.generate(tokens, [[2, 5]] * rows)
    assert engine.used.recompilations == before == 0


def test_the_counter_sees_a_compilation(engine):
    before = engine.used
    engine._run(lambda params, x: jax.jit(lambda x: x * 3 + 1)(x), np.arange(7.0))
    assert (engine.used - before).recompilations == 1
    engine.used = before


def test_a_partial_batch_answers_as_the_full_one_and_its_padding_is_counted(
    engine, golden, prompts, image_tokens
):
    whole = engine.generate(image_tokens, prompts)
    before = engine.used
    part = engine.generate(engine.encode_images(golden["images"][1:3]), prompts[1:3])
    assert part.tokens == whole.tokens[1:3]
    np.testing.assert_allclose(part.log_probs, whole.log_probs[1:3], atol=1e-4)
    used = engine.used - before
    assert (used.rows, used.padded_rows) == (2, 2)


def test_a_row_does_not_depend_on_the_others(engine, golden, prompts, image_tokens):
    whole = engine.generate(image_tokens, prompts)
    order = [2, 0, 3, 1]
    shuffled = engine.generate(
        engine.encode_images(golden["images"][order]), [prompts[i] for i in order]
    )
    assert shuffled.tokens == [whole.tokens[i] for i in order]
    np.testing.assert_allclose(shuffled.log_probs, whole.log_probs[order], atol=1e-4)


def test_a_longer_bucket_changes_no_answer(engine, golden, image_tokens):
    short = [[2, 17, 33, 3]] * 4
    long_one = [*short[:3], [2, *range(5, 15), 3]]
    alone, beside = (engine.generate(image_tokens, prompts) for prompts in (short, long_one))
    assert alone.tokens[:3] == beside.tokens[:3]
    np.testing.assert_allclose(alone.log_probs[:3], beside.log_probs[:3], atol=1e-4)


def test_the_same_batch_gives_the_same_bits(engine, golden, prompts):
    runs = [
        engine.generate(engine.encode_images(golden["images"]), prompts).log_probs for _ in range(3)
    ]
    assert runs[0].tobytes() == runs[1].tobytes() == runs[2].tobytes()


def test_a_smaller_limit_gives_the_beginning_of_the_answer(engine, prompts, image_tokens):
    whole = engine.generate(image_tokens, prompts)
    short = engine.generate(image_tokens, prompts, max_new_tokens=5)
    assert short.tokens == [row[:5] for row in whole.tokens]
    assert [len(row) for row in short.tokens] == [5, 5, 0, 5]


def test_a_row_that_is_not_finite_is_flagged_and_harms_no_other(engine, prompts, image_tokens):
    whole = engine.generate(image_tokens, prompts)
    spoilt = np.array(image_tokens.array)
    spoilt[1, 3] = np.nan
    generation = engine.generate(ImageTokens(jax.device_put(spoilt), 4), prompts)
    assert generation.finite.tolist() == [True, False, True, True]
    for row in (0, 2, 3):
        assert generation.tokens[row] == whole.tokens[row]


def test_a_prompt_too_long_is_refused_by_its_row(engine, image_tokens):
    with pytest.raises(PromptTooLong, match=r"prompt 2 has 13 tokens.* has 12") as refusal:
        engine.generate(image_tokens, [[2], [2], [2] * 13, [2]])
    assert (refusal.value.row, refusal.value.length, refusal.value.longest) == (2, 13, 12)


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([[2]] * 3, {}, "3 prompts for 4 rows"),
        ([[2]] * 5, {}, "5 rows; compiled for 1 to 4"),
        ([[2], [2], [2], [384]], {}, "token 384 and the model knows 384"),
        ([[2]] * 4, {"max_new_tokens": 13}, "max_new_tokens 13; compiled for 1 to 12"),
        ([[2]] * 4, {"seeds": [1]}, "1 seeds for 4 rows"),
    ],
)
def test_what_does_not_fit_is_refused(engine, image_tokens, prompts, options, message):
    with pytest.raises(ValueError, match=message):
        engine.generate(image_tokens, prompts, **options)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 56, 56, 3), np.float32),
        np.zeros((4, 56, 57, 3), np.uint8),
        np.zeros((0, 56, 56, 3), np.uint8),
        np.zeros((5, 56, 56, 3), np.uint8),
    ],
)
def test_pixels_of_another_shape_are_refused(engine, pixels):
    with pytest.raises(ValueError, match=r"pixels are|compiled for"):
        engine.encode_images(pixels)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("dtype", "float64"),
        ("batch_size", 0),
        ("prompt_lengths", ()),
        ("max_new_tokens", 0),
        ("frames", 0),
        ("final_cap", -1.0),
    ],
)
def test_a_spec_that_cannot_be_compiled_is_refused_by_its_option(option, value):
    with pytest.raises(ValueError, match=option):
        replace(SPEC, **{option: value})


def test_a_final_cap_changes_log_probabilities_and_no_answer(golden, prompts, image_tokens):
    plain = Engine.load(replace(SPEC, prompt_lengths=(12,)))
    capped = Engine.load(replace(SPEC, prompt_lengths=(12,), final_cap=2.0))
    ours, theirs = (e.generate(image_tokens, prompts) for e in (plain, capped))
    assert ours.tokens[0][0] == theirs.tokens[0][0]
    assert np.all(np.abs(ours.log_probs - theirs.log_probs) > 0.1)


def test_an_engine_can_be_shared_weakly():
    engine = Engine.load(replace(SPEC, prompt_lengths=(6,), max_new_tokens=1))
    reference = weakref.ref(engine)
    del engine
    gc.collect()
    assert reference() is None
