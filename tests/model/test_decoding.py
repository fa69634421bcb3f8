"""Strategies against the reference's beams, against each other, and on logits known by heart."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.decoding import (
    EOS,
    Beam,
    BestOf,
    Greedy,
    Nucleus,
    Task,
    Temperature,
    nucleus,
)
from model.engine import Engine, EngineSpec

GOLDENS = Path(__file__).parents[1] / "data" / "goldens"


@cache
def compiled(strategy, rows, length):
    def run(table, live, limit, seeds):
        task = Task(
            logits=jnp.tile(table[-1], (rows, 1)),
            cache=jnp.zeros((1, rows, 1)),
            extend=lambda tokens, step, cache: (table[tokens], cache),
            live=live,
            limit=limit,
            length=length,
            seeds=seeds,
        )
        return strategy.decode(task)

    return jax.jit(run)


def machine(strategy, table, *, length=4, limit=None, seeds=(0, 1)):
    """Decodes a chain whose next token depends on the last alone: logits float32[V, V].

    The first token comes from the last row of the table.
    """
    live = np.ones(len(seeds), bool)
    program = compiled(strategy, len(seeds), length)
    limit = np.int32(length if limit is None else limit)
    return jax.device_get(
        program(jnp.asarray(table, jnp.float32), live, limit, np.asarray(seeds, np.uint32))
    )


def chains(vocabulary=5):
    number = st.floats(-4, 4, allow_nan=False, width=32)
    row = st.lists(number, min_size=vocabulary, max_size=vocabulary)
    return st.lists(row, min_size=vocabulary, max_size=vocabulary)


def likeliest_end(table, length):
    """Best (log-probability, answer) of all that end within `length` tokens, by trying all."""
    log_probs = np.asarray(jax.nn.log_softmax(jnp.asarray(table, jnp.float32)))
    best, open_answers = (-np.inf, ()), [(0.0, ())]
    for _ in range(length):
        ends, longer = [], []
        for score, answer in open_answers:
            row = log_probs[answer[-1] if answer else -1]
            ends.append((score + row[EOS], (*answer, EOS)))
            longer += [
                (score + row[token], (*answer, token)) for token in range(len(row)) if token != EOS
            ]
        best, open_answers = max(best, *ends), longer
    return best


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("bv_paligemma1", 1),
        ("bv_paligemma2", 1),
        ("bv_paligemma2_bf16", 1),
        ("bv_paligemma1_video", 3),
    ],
)
def test_three_beams_find_what_the_research_release_finds(name, frames):
    with np.load(GOLDENS / f"{name}.expected.npz", allow_pickle=False) as arrays:
        golden = dict(arrays)
    rows, prompt_length = golden["prefix_tokens"].shape
    spec = EngineSpec(
        str(GOLDENS / f"{name}.npz"),
        batch_size=rows,
        prompt_lengths=(prompt_length,),
        max_new_tokens=golden["beam3_tokens"].shape[1],
        frames=frames,
        strategy=Beam(3),
    )
    engine = Engine.load(spec)
    masks = zip(golden["prefix_tokens"], golden["prefix_mask"], strict=True)
    generation = engine.generate(
        engine.encode_images(golden["images"]), [row[mask].tolist() for row, mask in masks]
    )
    wanted = [row[: row.tolist().index(EOS)].tolist() for row in golden["beam3_tokens"]]
    assert generation.tokens == wanted
    assert generation.ended.all()


@settings(max_examples=15, deadline=None)
@given(chains())
def test_beams_for_every_beginning_find_the_likeliest_answer_of_all(table):
    score, _ = likeliest_end(table, 2)
    assert machine(Beam(4), table, length=2).log_probs[0] == pytest.approx(score, abs=1e-4)


@settings(max_examples=15, deadline=None)
@given(chains())
def test_one_beam_finds_nothing_less_likely_than_a_greedy_answer_that_ends(table):
    greedy, beam = machine(Greedy(), table), machine(Beam(1), table)
    assert beam.ended.all()
    if greedy.ended[0]:
        assert beam.log_probs[0] >= greedy.log_probs[0] - 1e-5


@pytest.mark.parametrize(
    "strategy",
    [Greedy(), Temperature(0.7), Nucleus(0.8), BestOf(3, Nucleus(0.9, 1.5)), Beam(3)],
    ids=repr,
)
@settings(max_examples=10, deadline=None)
@given(chains())
def test_log_probabilities_are_the_models_own_of_the_answer_given(strategy, table):
    log_probs = np.asarray(jax.nn.log_softmax(jnp.asarray(table, jnp.float32)))
    answers = machine(strategy, table)
    for tokens, score, ended in zip(*answers[:3], strict=True):
        length = tokens.tolist().index(EOS) + 1 if ended else len(tokens)
        before = [-1, *tokens[: length - 1]]
        steps = zip(before, tokens[:length], strict=True)
        assert score == pytest.approx(sum(log_probs[step] for step in steps), abs=1e-4)
        assert not tokens[length:].any()


@settings(max_examples=10, deadline=None)
@given(chains())
def test_a_nucleus_of_everything_samples_as_temperature_does(table):
    seeds = range(16)
    whole, plain = (machine(s, table, seeds=seeds) for s in (Nucleus(1.0, 0.8), Temperature(0.8)))
    np.testing.assert_array_equal(whole.tokens, plain.tokens)


def test_the_smallest_nucleus_and_the_lowest_temperature_are_greedy():
    table = np.random.default_rng(0).permuted(np.arange(36.0).reshape(6, 6), axis=1)
    greedy = machine(Greedy(), table, length=6)
    for strategy in (Nucleus(1e-6), Temperature(1e-3), BestOf(2, Temperature(1e-3))):
        np.testing.assert_array_equal(machine(strategy, table, length=6).tokens, greedy.tokens)


def test_a_nucleus_keeps_the_fewest_likeliest_that_reach_its_probability():
    logits = jnp.log(jnp.asarray([[0.1, 0.5, 0.05, 0.35]]))
    kept = {p: np.isfinite(nucleus(logits, p)[0]).tolist() for p in (0.4, 0.6, 0.9, 1.0)}
    assert kept[0.4] == [False, True, False, False]
    assert kept[0.6] == [False, True, False, True]
    assert kept[0.9] == [True, True, False, True]
    assert kept[1.0] == [True] * 4


def test_samples_come_as_often_as_the_model_says():
    probabilities = np.array([0.05, 0.05, 0.4, 0.2, 0.3])
    table = np.tile(np.log(probabilities), (5, 1))
    first = machine(Temperature(1.0), table, length=1, seeds=range(4000)).tokens[:, 0]
    np.testing.assert_allclose(np.bincount(first, minlength=5) / 4000, probabilities, atol=0.03)


def test_a_sample_depends_on_its_rows_seed_alone():
    table = np.zeros((9, 9))
    answers = machine(BestOf(2), table, length=6, seeds=[3, 1, 4, 1])
    again = machine(BestOf(2), table, length=6, seeds=[1, 9, 3])
    np.testing.assert_array_equal(answers.tokens[1], answers.tokens[3])
    np.testing.assert_array_equal(answers.tokens[[1, 0]], again.tokens[[0, 2]])
    assert not np.array_equal(answers.tokens[0], answers.tokens[1])


def test_the_best_of_more_samples_is_no_less_likely():
    table = np.random.default_rng(1).normal(size=(8, 8)) * 2
    seeds = range(20)
    one, best = (machine(BestOf(n), table, seeds=seeds).log_probs for n in (1, 8))
    assert (best >= one - 1e-6).all()
    assert (best > one).any()
    single = machine(Temperature(), table, seeds=seeds)
    np.testing.assert_allclose(one, single.log_probs)


def test_the_limit_cuts_and_says_so():
    table = np.eye(5)[[2, 2, 2, 2, 2]] * 9  # token 2 for ever
    answers = machine(Greedy(), table, length=4, limit=3)
    assert answers.tokens.tolist() == [[2, 2, 2, 0]] * 2
    assert not answers.ended.any()


@pytest.mark.parametrize(("strategy", "steps"), [(Greedy(), 2), (BestOf(2), 2), (Beam(2), 2)])
def test_decoding_stops_when_every_real_row_has_ended(strategy, steps):
    """Row 0 says 2, 3, EOS; row 1, which only fills the batch, would go on to the limit."""
    table = jnp.full((5, 5), -30.0).at[jnp.array([4, 2, 3]), jnp.array([2, 3, EOS])].set(30.0)
    calls = []

    def extend(tokens, step, cache):
        jax.debug.callback(calls.append, step)
        return jnp.where(jnp.arange(len(tokens))[:, None] < copies, table[tokens], 0.0), cache

    copies = getattr(strategy, "n", getattr(strategy, "width", 1))
    logits = jnp.stack([table[4], jnp.zeros(5)])
    live, seeds = jnp.array([True, False]), jnp.arange(2, dtype=jnp.uint32)
    task = Task(logits, jnp.zeros((1, 2, 1)), extend, live, jnp.int32(9), 9, seeds)
    answers = jax.jit(lambda: strategy.decode(task))()
    assert answers.tokens[0, :4].tolist() == [2, 3, EOS, 0]
    jax.effects_barrier()
    assert len(calls) == steps


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Temperature(0), "temperature 0"),
        (lambda: Nucleus(0), "p 0"),
        (lambda: Nucleus(1.1), "p 1.1"),
        (lambda: BestOf(0), "n 0"),
        (lambda: Beam(0), "width 0"),
    ],
)
def test_impossible_strategies_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_equal_strategies_are_equal_so_that_specs_share_an_engine():
    assert EngineSpec("a", strategy=Beam(2)) == EngineSpec("a", strategy=Beam(2))
    assert hash(EngineSpec("a")) == hash(replace(EngineSpec("a")))
