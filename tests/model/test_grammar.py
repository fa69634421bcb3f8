"""Answers that obey a grammar, whatever the model would rather write and however it is decoded."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import tiny
from model.decoding import EOS, Beam, BestOf, Greedy, Nucleus, Task, Temperature, likeliest
from model.engine import Engine, EngineSpec
from model.grammar import (
    REFUSED,
    Grammar,
    anything,
    joined,
    one_of,
    only,
    well_formed_objects,
)
from model.parse import Status, parse
from model.tokenizer import Tokenizer

STRATEGIES = [Greedy(), Temperature(1.5), Nucleus(0.9, 2.0), BestOf(3), Beam(3)]
TOKENIZER = Tokenizer.load(tiny.TOKENIZER)
VOCABULARY = TOKENIZER.vocab_size
FIRST = TOKENIZER.first_location

# Five tokens: two ways to go on, one of which must be closed before the end.
BRACKETS = Grammar(
    np.array([0, 1, 2, 3, 4]),
    np.array([[REFUSED, 2, 0, 1, REFUSED], [REFUSED, REFUSED, 1, REFUSED, 0], [2] * 5]),
)


@cache
def compiled(strategy, grammar, length):
    def run(table, seeds):
        rows = seeds.shape[0]
        task = Task(
            logits=jnp.tile(table[-1], (rows, 1)),
            cache=jnp.zeros((1, rows, 1)),
            extend=lambda tokens, step, cache: (table[tokens], cache),
            live=jnp.ones(rows, bool),
            limit=jnp.int32(length),
            length=length,
            seeds=seeds,
        )
        if grammar is not None:
            rules = jax.tree.map(jnp.asarray, grammar.rules())
            start = jnp.full(rows, grammar.starts[0], jnp.int32)
            task = task._replace(rules=rules, states=start)
        return strategy.decode(task)

    return jax.jit(run)


def decoded(strategy, grammar, table, length=6, rows=3):
    program = compiled(strategy, grammar, length)
    table = jnp.asarray(table, jnp.float32)
    return jax.device_get(program(table, jnp.arange(rows, dtype=jnp.uint32)))


def written(tokens, ended):
    """Tokens through the EOS, or all of them where the limit cut."""
    tokens = tokens.tolist()
    return tokens[: tokens.index(EOS) + 1] if ended else tokens


def tables(vocabulary=5):
    number = st.floats(-4, 4, allow_nan=False, width=32)
    row = st.lists(number, min_size=vocabulary, max_size=vocabulary)
    return st.lists(row, min_size=vocabulary, max_size=vocabulary)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@settings(max_examples=10, deadline=None)
@given(tables())
def test_nothing_is_written_that_the_grammar_refuses(strategy, table):
    answers = decoded(strategy, BRACKETS, table)
    for tokens, ended in zip(answers.tokens, answers.ended, strict=True):
        assert BRACKETS.accepts(written(tokens, ended))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@settings(max_examples=10, deadline=None)
@given(tables())
def test_a_grammar_that_permits_everything_changes_no_bit(strategy, table):
    free, bound = (decoded(strategy, grammar, table) for grammar in (None, anything(5)))
    for one, other in zip(free, bound, strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=repr)
@settings(max_examples=10, deadline=None)
@given(tables())
def test_log_probabilities_stay_those_of_the_model_left_free(strategy, table):
    answers = decoded(strategy, BRACKETS, table)
    log_probs = np.asarray(jax.nn.log_softmax(jnp.asarray(table, jnp.float32)))
    for tokens, score, ended in zip(*answers[:3], strict=True):
        answer = written(tokens, ended)
        steps = zip([-1, *answer[:-1]], answer, strict=True)
        assert score == pytest.approx(sum(log_probs[step] for step in steps), abs=1e-4)


@settings(max_examples=10, deadline=None)
@given(tables())
def test_a_nucleus_of_everything_permitted_samples_as_temperature_does(table):
    whole, plain = (decoded(s, BRACKETS, table) for s in (Nucleus(1.0, 0.8), Temperature(0.8)))
    np.testing.assert_array_equal(whole.tokens, plain.tokens)


def test_beams_that_may_not_end_within_the_limit_give_the_best_of_them():
    endless = Grammar(np.array([0, 0, 1, 2, 0]), np.array([[REFUSED, 0, 0]]))
    table = np.log(np.tile([0.1, 0.5, 0.15, 0.2, 0.05], (5, 1)))
    answers = decoded(Beam(2), endless, table, length=3)
    assert answers.tokens.tolist() == [[3, 3, 3]] * 3
    assert not answers.ended.any()
    np.testing.assert_allclose(answers.log_probs, 3 * np.log(0.2), rtol=1e-5)


@given(st.integers(1, 3), st.integers(1, 400), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_the_likeliest_token_is_the_first_of_the_highest(rows, blocks, seed):
    logits = np.random.default_rng(seed).integers(0, 9, (rows, blocks * 64)).astype(np.float32)
    np.testing.assert_array_equal(likeliest(jnp.asarray(logits)), logits.argmax(axis=1))


def test_a_row_of_nan_is_not_taken_for_another():
    logits = np.zeros((2, 256), np.float32)
    logits[0, 200] = np.nan
    logits[1, 130] = 1
    assert likeliest(jnp.asarray(logits)).tolist() == [200, 130]


OBJECTS = {masks: well_formed_objects(TOKENIZER, VOCABULARY, masks) for masks in (False, True)}


@st.composite
def walks(draw, masks):
    """Answers that the machine of objects permits, as token ids before the end."""
    grammar = OBJECTS[masks]
    members = [
        np.flatnonzero(grammar.classes == kind) for kind in range(grammar.following.shape[1])
    ]
    state, tokens = 0, []
    for _ in range(draw(st.integers(0, 80))):
        kinds = np.flatnonzero(grammar.following[state] != REFUSED)
        kinds = [kind for kind in kinds if EOS not in members[kind]]
        kind = draw(st.sampled_from(kinds))
        tokens.append(int(draw(st.sampled_from(members[kind].tolist()))))
        state = grammar.following[state, kind]
    while not grammar.accepts([*tokens, EOS]):
        tokens.pop()
    return tokens


@pytest.mark.parametrize("masks", [False, True])
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_what_the_machine_of_objects_permits_reads_as_objects(masks, data):
    tokens = data.draw(walks(masks))
    parsed = parse(TOKENIZER.decode(tokens), wants_objects=True)
    locations = sum(FIRST <= token < FIRST + 1024 for token in tokens)
    if not tokens:
        assert parsed.status is Status.EMPTY
    else:
        assert parsed.status in (Status.OK, Status.INVERTED)
        assert len(parsed.objects) + len(parsed.rejected) == locations // 4
        assert len(parsed.segments) == (len(parsed.objects) if masks else 0)


@pytest.mark.parametrize(
    ("answer", "masks"),
    [
        ("", False),
        ("<loc0001><loc0002><loc0300><loc0400> kid's t-shirt", False),
        (
            "<loc0001><loc0002><loc0003><loc0004> cat ; <loc0005><loc0006><loc0007><loc0008> x",
            False,
        ),
        ("<loc0001><loc0002><loc0300><loc0400>", False),
        ("<loc0001><loc0002><loc0300><loc0400>" + "<seg012>" * 16 + " cat", True),
        ("<loc0001><loc0002><loc0300><loc0400> " + "<seg012>" * 16 + " cat", True),
    ],
)
def test_answers_as_models_are_trained_to_write_them_are_permitted(answer, masks):
    assert OBJECTS[masks].accepts([*TOKENIZER.encode(answer), EOS])


@pytest.mark.parametrize(
    ("answer", "masks"),
    [
        ("a cat", False),
        ("<loc0001><loc0002><loc0300> cat", False),
        ("<loc0001><loc0002><loc0300><loc0400><loc0500>", False),
        ("<loc0001><loc0002><loc0300><loc0400> cat ;", False),
        ("<loc0001><loc0002><loc0300><loc0400>" + "<seg012>" * 16, False),
        ("<loc0001><loc0002><loc0300><loc0400>" + "<seg012>" * 15 + " cat", True),
        ("<loc0001><loc0002><loc0300><loc0400> cat", True),
        ("<loc0001><loc0002><loc0300><loc0400> a<b", False),
    ],
)
def test_malformed_answers_are_refused(answer, masks):
    assert not OBJECTS[masks].accepts([*TOKENIZER.encode(answer), EOS])


def test_one_of_some_texts_is_written_whole():
    grammar = one_of(["yes", "yes sir", "no"], TOKENIZER, VOCABULARY)
    for text, right in {"yes": True, "yes sir": True, "no": True, "ye": False, "": False}.items():
        assert grammar.accepts([*TOKENIZER.encode(text), EOS]) is right
    assert not grammar.accepts([*TOKENIZER.encode("no"), *TOKENIZER.encode("no")])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_joined_machines_are_each_what_they_were(data):
    parts = [OBJECTS[True], one_of(["yes", "no"], TOKENIZER, VOCABULARY), only([7], VOCABULARY)]
    both = joined(parts)
    text = data.draw(st.sampled_from(["yes", "no", "<loc0001>", "cat", ""]))
    tokens = [*TOKENIZER.encode(text), *data.draw(st.lists(st.sampled_from([EOS, 7]), max_size=2))]
    for number, part in enumerate(parts):
        assert both.accepts(tokens, number) == part.accepts(tokens)


@pytest.mark.parametrize(
    ("classes", "following", "problem"),
    [
        ([0, 2], [[0, 0]], "classes up to 2 of 2"),
        ([0, 1], [[0, 1]], "leads to state 1 of 1"),
        ([0, 1], [[REFUSED, REFUSED]], "nothing may follow in state 0"),
        ([0, 0], [[REFUSED, 0]], "nothing may follow in state 0"),
    ],
)
def test_a_machine_that_can_get_stuck_is_refused(classes, following, problem):
    with pytest.raises(ValueError, match=problem):
        Grammar(np.array(classes), np.array(following))


def test_equal_grammars_share_an_engine():
    one, other = (one_of(["a"], TOKENIZER, VOCABULARY) for _ in range(2))
    assert EngineSpec("a", grammar=one) == EngineSpec("a", grammar=other)
    assert len({one, other, only([3], VOCABULARY)}) == 2


@pytest.fixture(scope="module")
def spec():
    return EngineSpec(str(tiny.CHECKPOINT), batch_size=3, prompt_lengths=(16,), max_new_tokens=12)


def ask(engine, **options):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    prompt = TOKENIZER.encode_prompt("detect cat")
    return engine.generate(engine.encode_images(pixels), [prompt] * 3, **options)


def test_an_engine_obeys_the_start_it_is_given_and_compiles_nothing_for_it(spec):
    grammar = joined(
        [
            anything(VOCABULARY),
            OBJECTS[False],
            one_of(["red shoe", "blue"], TOKENIZER, VOCABULARY),
        ]
    )
    free, bound = Engine.load(spec), Engine.load(replace(spec, grammar=grammar))
    plain, same = ask(free), ask(bound, start=0)
    assert same.tokens == plain.tokens
    assert same.log_probs.tobytes() == plain.log_probs.tobytes()
    for row in ask(bound, start=1).tokens:
        assert not row or all(FIRST <= token < FIRST + 1024 for token in row[:4])
        assert OBJECTS[False].accepts(row)
    chosen = ask(bound, start=2)
    assert {TOKENIZER.decode(row) for row in chosen.tokens} <= {"red shoe", "blue"}
    assert chosen.ended.all()
    assert chosen.finite.all()
    assert bound.used.recompilations == 0


def test_a_grammar_for_another_vocabulary_or_a_start_that_is_none_is_refused(spec):
    with pytest.raises(ValueError, match="the grammar is for 5 tokens and the model writes 1792"):
        Engine.load(replace(spec, grammar=anything(5)))
    engine = Engine.load(spec)
    with pytest.raises(ValueError, match="start 1; the grammar has 1"):
        ask(engine, start=1)
