"""Work in turns and in blocks gives what it gives at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import layers
from model.layers import attend
from model.turns import TOKENS_AT_ONCE, in_turns, turns_of

RANDOM = np.random.default_rng(0)


@given(st.integers(1, 300), st.sampled_from([256, 1024, 4096]))
def test_turns_are_equal_and_small_enough_or_of_one_row(rows, tokens):
    turns = turns_of(rows, tokens)
    assert rows % turns == 0
    assert turns == rows or rows // turns * tokens <= TOKENS_AT_ONCE


def test_a_batch_of_released_size_has_few_turns():
    assert [turns_of(64, tokens) for tokens in (256, 1024, 4096)] == [4, 16, 64]


@pytest.mark.parametrize("turns", [1, 2, 3, 6])
def test_rows_keep_their_places(turns):
    x = jnp.arange(12.0).reshape(6, 2)
    result = in_turns(lambda rows: jnp.stack([rows, rows + 1], axis=-1), x, turns)
    np.testing.assert_array_equal(result, np.stack([x, x + 1], axis=-1))


@pytest.mark.parametrize("cap", [None, 50.0])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("fast", "most"), [(1 << 11, 1), (1, 1 << 11)])
def test_attention_by_blocks_of_queries_is_attention(monkeypatch, cap, masked, fast, most):
    B, T, N, K, H = 2, 37, 4, 2, 8
    q, k, v = (
        jnp.asarray(RANDOM.normal(size=(B, T, heads, H)), jnp.float32) for heads in (N, K, K)
    )
    mask = jnp.asarray(RANDOM.random((B, T, T)) < 0.7) if masked else None
    whole = attend(q, k, v, mask, cap)
    monkeypatch.setattr(layers, "FAST_LOGITS", fast)
    monkeypatch.setattr(layers, "MOST_LOGITS", most)
    monkeypatch.setattr(layers, "FEWEST_QUERIES", 5)
    jaxpr = str(jax.make_jaxpr(lambda *a: attend(*a, mask, cap))(q, k, v))
    assert "scan" in jaxpr
    np.testing.assert_allclose(attend(q, k, v, mask, cap), whole, atol=1e-5)
