"""The CPU kernels: the products and the attention that NumPy and XLA give, at any shape."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model import cpu_kernels
from model.checkpoint.tree import parameter_shapes
from model.config import CONFIGS
from model.layers import attend, attend_layer
from model.packed import Packed
from model.packing import SUMMED_AXES, is_packed, pack, packed_shapes

pytestmark = pytest.mark.skipif(
    cpu_kernels.missing() is not None, reason=f"no CPU kernels: {cpu_kernels.missing()}"
)

HEAD = "img/head/kernel"  # [inputs, outputs], one layer
LINEAR = "llm/layers/mlp/linear"  # [layers, inputs, outputs]
GATING = "llm/layers/mlp/gating_einsum"  # [layers, 2, inputs, outputs]
TABLE = "llm/embedder/input_embedding"  # [vocabulary, width]


def random(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32).astype(dtype)


def bfloat16(*shape, seed=1):
    return random(*shape, dtype=ml_dtypes.bfloat16, seed=seed)


def rounded(x):
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


def relative_error(given, exact):
    return np.linalg.norm(given - exact) / np.linalg.norm(exact)


def product(name, weights, x, dtype, layer=0):
    panels = pack(name, weights, dtype)
    shape = weights.shape if name == HEAD else weights.shape[1:]
    return np.asarray(Packed(panels, shape, layer).product("TD,DF->TF", jnp.asarray(x)))


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 45),
    inputs=st.integers(1, 90) | st.sampled_from([588, 1023, 1026, 2050]),
    outputs=st.integers(1, 100),
)
def test_bfloat16_products_are_exact_but_for_the_rounding_of_x(rows, inputs, outputs):
    x, weights = random(rows, inputs), bfloat16(inputs, outputs)
    exact = rounded(x) @ weights.astype(np.float32)
    given = product(HEAD, weights, x, "bfloat16")
    np.testing.assert_allclose(given, exact, atol=2e-5 * inputs**0.5, rtol=1e-4)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 45),
    inputs=st.integers(16, 90) | st.sampled_from([588, 1023, 1026, 2050]),
    outputs=st.integers(1, 100),
)
def test_int8_products_are_off_by_no_more_than_their_levels(rows, inputs, outputs):
    x, weights = random(rows, inputs), bfloat16(inputs, outputs)
    error = product(HEAD, weights, x, "int8") - x @ weights.astype(np.float32)
    # A sum of so many products of normal numbers is as large as the root of their number.
    assert np.linalg.norm(error) < 0.05 * (rows * inputs * outputs) ** 0.5


def test_int8_is_exact_where_everything_is_a_level():
    rng = np.random.default_rng(0)
    x = rng.integers(-127, 128, (17, 600)).astype(np.float32)
    weights = rng.integers(-127, 128, (600, 40)).astype(ml_dtypes.bfloat16)
    x[:, ::50] = weights[::50] = 127  # the largest of every group, so that a level is 1
    exact = x @ weights.astype(np.float32)
    np.testing.assert_allclose(product(HEAD, weights, x, "int8"), exact, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_each_layer_of_a_stack_is_found(dtype):
    x, weights = random(3, 64), bfloat16(5, 64, 48)
    for layer in range(5):
        given = product(LINEAR, weights, x, dtype, layer)
        assert relative_error(given, x @ weights[layer].astype(np.float32)) < 0.02


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_a_row_is_the_same_whatever_rows_it_comes_with(dtype):
    x, weights = random(1056, 2050), bfloat16(2050, 70)
    whole = product(HEAD, weights, x, dtype)
    for start, rows in ((0, 1), (5, 13), (27, 300)):
        part = product(HEAD, weights, x[start : start + rows], dtype)
        np.testing.assert_array_equal(part, whole[start : start + rows])


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_none_spoils_its_row_alone(dtype, bad):
    x, weights = random(4, 600), bfloat16(600, 20)
    x[2, 590] = bad  # in the second group of scales
    given = product(HEAD, weights, x, dtype)
    assert not np.isfinite(given[2]).any()
    assert np.isfinite(given[[0, 1, 3]]).all()


@pytest.mark.parametrize("rows", [1, 8, 9, 20])
@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 0.01), ("int8", 0.03)])
def test_a_gated_product_is_both_halves(dtype, error, rows):
    x, weights = random(rows, 64), bfloat16(3, 2, 64, 48)
    panels = pack(GATING, weights, dtype)
    given = Packed(panels, weights.shape[1:], 1).gated_product(jnp.asarray(x))
    gate, up = (x @ half.astype(np.float32) for half in weights[1])
    exact = np.asarray(jax.nn.gelu(gate, approximate=True)) * up
    assert relative_error(np.asarray(given), exact) < error


@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 0), ("int8", 0.01)])
def test_rows_of_a_packed_table_are_those_of_the_table(dtype, error):
    table = bfloat16(100, 520)
    packed = Packed(pack(TABLE, table, dtype), table.shape, 0)
    index = np.array([[0, 99], [17, 3]])
    given = np.asarray(packed.rows(jnp.asarray(index), jnp.float32))
    assert given.shape == (2, 2, 520)
    assert relative_error(given, table[index].astype(np.float32)) <= error


def test_packing_in_place_takes_no_memory_of_its_own():
    weights = bfloat16(4, 64, 48)
    apart = pack(LINEAR, weights, "bfloat16")
    owned = np.empty(weights.nbytes + 64, np.uint8)
    owned = owned[-owned.ctypes.data % 64 :][: weights.nbytes]
    owned = owned.view(ml_dtypes.bfloat16).reshape(weights.shape)
    owned[...] = weights
    within = pack(LINEAR, owned, "bfloat16", in_place=True)
    np.testing.assert_array_equal(np.asarray(within.data), np.asarray(apart.data))
    assert within.data.unsafe_buffer_pointer() == owned.ctypes.data


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_shapes_are_known_before_anything_is_packed(dtype):
    weights = bfloat16(2, 2, 30, 48)
    shapes = packed_shapes(GATING, weights.shape, dtype)
    assert jax.tree.map(lambda part: (part.shape, part.dtype), shapes) == jax.tree.map(
        lambda part: (part.shape, part.dtype), pack(GATING, weights, dtype)
    )


def test_every_large_parameter_is_packed():
    for config in (CONFIGS["paligemma-3b-224"], CONFIGS["paligemma2-3b-224"]):
        shapes = parameter_shapes(config)
        left = [name for name in shapes if not is_packed(name)]
        kept = [name for name in left if np.prod(shapes[name]) > 300_000]
        assert kept == []
    assert len(SUMMED_AXES) == 11


@settings(deadline=None, max_examples=30)
@given(
    batch=st.integers(1, 2),
    queries=st.just(1) | st.integers(2, 40),
    keys=st.integers(1, 50),
    kv_heads=st.sampled_from([1, 2]),
    group=st.sampled_from([1, 4, 15]),
    channels=st.sampled_from([1, 8, 17, 72]),
    masked=st.booleans(),
    cap=st.sampled_from([None, 50.0, 1.0]),
)
def test_attention_is_that_of_xla(batch, queries, keys, kv_heads, group, channels, masked, cap):
    q = jnp.asarray(random(batch, queries, kv_heads * group, channels))
    k, v = (jnp.asarray(random(batch, keys, kv_heads, channels, seed=n)) for n in (1, 2))
    mask = np.random.default_rng(3).random((batch, queries, keys)) < 0.7
    mask[0, 0] = False  # a padded query sees nothing, and its weights are even
    mask = jnp.asarray(mask) if masked else None
    np.testing.assert_allclose(
        attend_layer(q, k[None], v[None], 0, mask, cap, on_kernels=True),
        attend(q, k, v, mask, cap),
        atol=2e-5,
        rtol=1e-4,
    )


@pytest.mark.parametrize("queries", [1, 5])
def test_attention_finds_its_layer(queries):
    q = jnp.asarray(random(2, queries, 4, 24))
    k, v = (jnp.asarray(random(3, 2, 30, 2, 24, seed=n)) for n in (1, 2))
    for layer in range(3):
        np.testing.assert_allclose(
            attend_layer(q, k, v, layer, None, None, on_kernels=True),
            attend(q, k[layer], v[layer]),
            atol=2e-5,
            rtol=1e-4,
        )
    for layer in (-1, 3):
        # Small calls run where they are made and raise at once, others later.
        with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match="don't match"):
            cpu_kernels.attention(q, k, v, layer, None, None).block_until_ready()


def test_wrong_shapes_are_refused():
    panels = pack(HEAD, bfloat16(64, 48), "bfloat16").data
    with pytest.raises(jax.errors.JaxRuntimeError, match="don't match"):
        cpu_kernels.matmul_bfloat16(jnp.ones((2, 32)), panels, 0, 48).block_until_ready()
    with pytest.raises(jax.errors.JaxRuntimeError, match="don't match"):
        cpu_kernels.matmul_bfloat16(jnp.ones((2, 64)), panels, 1, 48).block_until_ready()
