"""What is done for GPUs, without one: cuDNN's attention by its double, and programs by XLA's
compiler for an H100, which needs none."""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilers import lines_of
from test_bits import CONFIG, PIXELS

from benchmarks.gpu_compiler import Moved, environment, moved
from model import fused_attention, gpu, programs
from model.layers import attend, project
from model.paligemma import PaliGemma, init_random
from model.sharding import Placement
from model.target import ANY, Target, target, traced_for
from model.weights import Form, Weights

HERE = jax.local_devices()[0]
WHOLE = Target(fused_channels=256, narrow_products=True)


@pytest.fixture
def untried():
    """Nothing is known of the device."""
    gpu.fused_channels.cache_clear()
    jax.clear_caches()
    yield
    gpu.fused_channels.cache_clear()
    jax.clear_caches()


@pytest.fixture
def double(untried, monkeypatch):
    """XLA's implementation of the same function of JAX, in cuDNN's place."""
    monkeypatch.setattr(fused_attention, "IMPLEMENTATION", "xla")


def inputs(queries=9, heads=8, kv_heads=1, channels=32, dtype=jnp.bfloat16):
    rng = np.random.default_rng(0)

    def numbers(*shape):
        return jnp.asarray(rng.standard_normal(shape), dtype)

    q = numbers(2, queries, heads, channels) * jnp.asarray(channels**-0.5, dtype)
    return q, numbers(2, 12, kv_heads, channels), numbers(2, 12, kv_heads, channels)


def off(given, exact):
    given, exact = (np.asarray(array, np.float32) for array in (given, exact))
    return np.linalg.norm(given - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("heads", "kv_heads"), [(8, 1), (8, 4), (16, 16)])
def test_fused_attention_is_asked_for_what_ours_gives(heads, kv_heads, masked, double):
    q, k, v = inputs(heads=heads, kv_heads=kv_heads)
    mask = jnp.asarray(np.random.default_rng(1).random((2, 9, 12)) < 0.5).at[..., 0].set(True)
    mask = mask.at[:, -2:].set(False)  # as padding sees nothing
    seen = mask if masked else None
    with traced_for(WHOLE):
        given = attend(q, k, v, seen)
    assert off(given, attend(q, k, v, seen)) < 0.01


def test_it_is_for_several_queries_in_bfloat16_of_heads_that_are_not_too_wide():
    q = inputs()[0]
    wide, odd, cap = inputs(channels=128)[0], inputs(channels=36)[0], 50.0
    with traced_for(Target(fused_channels=72)):
        assert fused_attention.fits(q, None)
        assert not fused_attention.fits(wide, None)
        assert not fused_attention.fits(odd, None)
        assert not fused_attention.fits(q, cap)
        assert not fused_attention.fits(q[:, :1], None)
        assert not fused_attention.fits(q.astype(jnp.float32), None)
    assert not fused_attention.fits(q, None)


def test_a_gpu_that_agrees_has_it_for_both_towers(double):
    assert gpu.fused_channels(HERE) == 256


def test_where_it_cannot_be_had_the_log_says_why(untried, caplog):
    with caplog.at_level(logging.WARNING):
        assert gpu.fused_channels(HERE) == 0
    assert "attention of 72 channels is left to XLA: cuDNN's can't be used: " in caplog.text


@pytest.mark.parametrize(("capability", "level"), [("8.9", "INFO"), ("9.0", "WARNING")])
def test_only_hoppers_should_have_it_for_wide_heads(capability, level, caplog, monkeypatch):
    device = type("Device", (), {"compute_capability": capability})()
    monkeypatch.setattr(gpu, "missing", lambda *args: "none" if args[-1] == 256 else None)
    with caplog.at_level(logging.INFO):
        assert gpu.fused_channels(device) == 72
    assert [record.levelname for record in caplog.records] == [level]


def test_float32_is_not_rounded_on_the_way():
    with programs.precise(OfGpus(1), "float32"):
        assert jax.config.jax_default_matmul_precision == "highest"
    for placement, dtype in ((OfGpus(1), "bfloat16"), (Placement.over([HERE]), "float32")):
        with programs.precise(placement, dtype):
            assert jax.config.jax_default_matmul_precision is None


def test_where_it_gives_something_else_it_is_not_used(double, monkeypatch):
    def wrong(q, k, v, mask=None):
        return attend(q, k, v, mask) * 1.125

    monkeypatch.setattr(gpu, "fused_attend", wrong)
    assert gpu.missing(HERE, 8, 1, 64) == "cuDNN's is off by 12.5%"


def test_narrow_products_are_rounded_once():
    x, w = (array.astype(jnp.bfloat16) for array in (jnp.ones((3, 64)), jnp.ones((64, 5)) / 3))
    with traced_for(WHOLE):
        narrow = jax.make_jaxpr(lambda x, w: project("BD,DF->BF", x, w))(x, w)
    wide = jax.make_jaxpr(lambda x, w: project("BD,DF->BF", x, w))(x, w)
    assert "preferred_element_type=bfloat16" in str(narrow)
    assert "preferred_element_type=float32" in str(wide)


def test_only_gpus_have_their_own_target():
    placement = Placement.over([HERE])
    assert gpu.target_of(placement, "bfloat16") == ANY == target()
    assert gpu.decoding_options(placement) is None


class OfGpus:
    """A placement of which only this is asked."""

    def __init__(self, tensor_parallel):
        self.tensor_parallel = tensor_parallel
        self.device = type("Device", (), {"platform": "gpu"})()


def test_a_gpus_target_has_what_was_found_of_it(monkeypatch):
    monkeypatch.setattr(gpu, "fused_channels", lambda _: 72)
    assert gpu.target_of(OfGpus(1), "bfloat16") == Target(72, narrow_products=True)
    assert gpu.target_of(OfGpus(1), "float32") == Target(0, narrow_products=True)
    assert gpu.target_of(OfGpus(2), "bfloat16") == Target(0, narrow_products=True)
    assert gpu.decoding_options(OfGpus(1)) == gpu.DECODING_OPTIONS


def test_the_network_says_the_same_as_a_gpu_is_asked_for_it(double, monkeypatch):
    fused = []

    def counted(*args):
        fused.append(args[0].shape)
        return fused_attention.fused_attend(*args)

    monkeypatch.setattr("model.layers.fused_attend", counted)
    params = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), init_random(CONFIG, 0))
    text, valid = (
        jnp.asarray([[2, 5, 9], [2, 7, 0]]),
        jnp.asarray([[True] * 3, [True, True, False]]),
    )
    logits = []
    for form, dtype, each in (
        (Form.NUMBERS, "float32", ANY),
        (Form.APART, "bfloat16", WHOLE),
    ):
        variables = Weights(dtype, form, Placement.over([HERE])).variables(
            jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), params)
        )
        network = PaliGemma(CONFIG, jnp.dtype(dtype))
        with traced_for(each):
            tokens = network.apply(variables, PIXELS, method="encode")
            read = network.apply(variables, tokens, text, valid, 2, method="prefill")
        logits.append(read[0])
    assert {shape[-1] for shape in fused} == {16, 64}  # of both towers
    assert off(logits[1], logits[0]) < 0.03


def test_what_kernels_read_and_write_is_counted():
    hlo = """
%cut (p: bf16[18,10], i: s32[]) -> bf16[1,10] {
  %p = bf16[18,10]{1,0} parameter(0)
  %i = s32[] parameter(1)
  ROOT %s = bf16[1,10]{1,0} dynamic-slice(%p, %i, %i), dynamic_slice_sizes={1,10}
}
%put (c: f32[100], v: f32[2], i: s32[]) -> f32[100] {
  %c = f32[100]{0} parameter(0)
  %v = f32[2]{0} parameter(1)
  %i = s32[] parameter(2)
  ROOT %u = f32[100]{0} dynamic-update-slice(%c, %v, %i)
}
%layer (t: (s32[])) -> (s32[]) {
  %w = bf16[18,10]{1,0} get-tuple-element(%t), index=1
  %i = s32[] get-tuple-element(%t), index=0
  %one = bf16[1,10]{1,0} fusion(%w, %i), kind=kLoop, calls=%cut
}
%token (t: (s32[])) -> (s32[]) {
  %x = f32[4]{0} get-tuple-element(%t), index=0
  %y = (f32[6]{0}, s8[999]{0}) custom-call(%x), custom_call_target="product"
}
ENTRY %main (c: f32[100], v: f32[2], i: s32[]) -> f32[100] {
  %c = f32[100]{0} parameter(0)
  %v = f32[2]{0} parameter(1)
  %i = s32[] parameter(2)
  %u = f32[100]{0} fusion(%c, %v, %i), kind=kLoop, calls=%put
  %l = (s32[]) while(%t), condition=%c0, body=%layer, backend_config={"known_trip_count":{"n":"3"}}
  %d = (s32[]) while(%t), condition=%c1, body=%token
}
"""
    put, cut, token = 8 + 4 + 8, 20 + 4 + 20, 16 + 24
    assert moved(hlo) == Moved(once=put + 3 * cut, a_round=token)


COMPILED = """
import json
from unittest import mock
from benchmarks.gpu_compiler import devices, moved, traced_for_gpus
from model import apart
from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig
from model.fit import Trial
from model.memory import bytes_on_each
from model.programs import EngineSpec
from model.sharding import Placement
from model.target import Target

config = PaliGemmaConfig(
    VisionConfig(image_size=56, width=128, depth=2, mlp_dim=256, num_heads=2),
    GemmaConfig(512, 7, 2048, 4, 2, 128, 128**-0.5, vocab_size=1024),
)
spec = EngineSpec("small", "bfloat16", batch_size=8, prompt_lengths=(8,), max_new_tokens=4)
gpus = devices(2)
for number, copies, platforms, channels in (
    (1, 1, ("gpu",), 256), (1, 1, (), 0), (2, 1, ("gpu",), 0), (2, 2, ("gpu",), 256)
):
    placement = Placement.over(gpus[:number], number // copies)
    trial = Trial(spec, config, placement, None)
    target = Target(fused_channels=channels, narrow_products=True)
    with mock.patch.object(apart, "PLATFORMS", platforms), traced_for_gpus(target):
        programs, need = trial.of(8)
    hlo = programs.generate[8].as_text()
    print(json.dumps({
        "weights": trial.weights,
        "decoder": bytes_on_each(trial._shapes.get(apart.APART, {})),
        "need": need,
        "all_gathers": sum(
            text.count(f" all-gather{kind}(") for text in (hlo, programs.encode.as_text())
            for kind in ("", "-start")
        ),
        "a_round": moved(hlo).a_round,
        "by_cudnn": hlo.count("__cudnn$fmha"),
        "all_reduces": hlo.count(" all-reduce(") + hlo.count(" all-reduce-start("),
    }))
"""


@pytest.fixture(scope="module")
def compiled():
    return lines_of(COMPILED, environment())


def test_programs_compile_for_an_h100_and_need_what_is_said(compiled):
    assert compiled[0]["weights"] < compiled[0]["need"] < 3 * compiled[0]["weights"]
    assert compiled[0]["by_cudnn"] >= 6  # of seven layers, the last needs one query alone
    assert compiled[0]["all_reduces"] == compiled[1]["by_cudnn"] == 0


def test_a_token_moves_each_weight_once(compiled):
    ours, stacked, *_ = compiled
    assert ours["a_round"] < 1.5 * ours["decoder"]
    assert stacked["a_round"] > 2.5 * ours["decoder"]  # once this fails, XLA has learnt it


def test_two_gpus_share_the_layers_that_are_apart(compiled):
    one, _, two, _ = compiled
    assert two["decoder"] < 0.6 * one["decoder"]
    assert two["all_reduces"] >= 4


def test_two_gpus_share_the_rows_with_cudnns_attention_on_each(compiled):
    one, *_, two = compiled
    assert two["decoder"] == one["decoder"]
    assert two["by_cudnn"] == one["by_cudnn"]
    assert two["all_gathers"] == 0
