"""Layers apart, as GPUs hold them: the same answers, on a CPU that is told to hold them so."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from test_bits import CONFIG, PIXELS, SPEC
from test_engine import GOLDENS, expected, prompts_of

from model import apart
from model.decoding import Beam, Greedy
from model.engine import Engine
from model.paligemma import init_random
from model.programs import EngineSpec
from model.sharding import Placement
from model.weights import Form, Weights


@pytest.fixture
def on_cpus(monkeypatch):
    monkeypatch.setattr(apart, "PLATFORMS", ("cpu",))


def weights(dtype="float32"):
    return Weights.on(Placement.over(jax.local_devices()[:1]), dtype)


@pytest.mark.parametrize("strategy", [Greedy(), Beam(3)], ids=["greedy", "beam"])
@pytest.mark.parametrize("name", ["hf_paligemma1", "bv_paligemma2"])
def test_goldens_get_the_same_answers(name, strategy, monkeypatch):
    folder = GOLDENS / name
    golden = expected(name)
    prompts = prompts_of(golden)
    spec = EngineSpec(
        str(folder if folder.is_dir() else GOLDENS / f"{name}.npz"),
        batch_size=len(prompts),
        prompt_lengths=(max(map(len, prompts)),),
        max_new_tokens=8,
        strategy=strategy,
    )
    answers = []
    for platforms in ((), ("cpu",)):
        monkeypatch.setattr(apart, "PLATFORMS", platforms)
        engine = Engine.load(spec)
        answers.append(engine.generate(engine.encode_images(golden["images"]), prompts))
        assert engine.used.recompilations == 0
    assert answers[0].tokens == answers[1].tokens
    np.testing.assert_allclose(answers[0].log_probs, answers[1].log_probs, atol=1e-5)


def test_each_layer_is_an_array_and_the_mlps_halves_too(on_cpus):
    variables = weights().variables(init_random(CONFIG, 0))
    layers = variables[apart.APART]["llm"]["layers"]
    language = CONFIG.language
    assert "layers" not in variables["params"]["llm"]
    assert len(layers["mlp"]["linear"]) == language.depth
    for gate, up in layers["mlp"]["gating_einsum"]:
        assert gate.shape == up.shape == (language.width, language.mlp_dim)
    # What a product sums over comes first, so that none has to be turned about for each token.
    for query in layers["attn"]["q_einsum"]["w"]:
        assert query.shape == (language.width, language.num_heads, language.head_dim)


def test_a_layer_has_the_axes_that_the_network_knows(on_cpus):
    params = init_random(CONFIG, 0)
    layers = weights().variables(params)[apart.APART]["llm"]["layers"]
    for number in range(CONFIG.language.depth):
        stacked = jax.tree.map(lambda leaf, n=number: leaf[n], params["llm"]["layers"])
        one = apart.layer_of(layers, number)
        gate_and_up = one["mlp"]["gating_einsum"]
        one["mlp"]["gating_einsum"] = np.stack(gate_and_up)
        jax.tree.map(np.testing.assert_array_equal, one, stacked)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shapes_are_those_of_the_variables(dtype, on_cpus, monkeypatch):
    monkeypatch.setattr("model.cpu_kernels.missing", lambda: "switched off")
    held = weights(dtype)
    assert held.form is Form.APART
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), init_random(CONFIG, 0))
    made = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), held.variables(params))
    said = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), held.shapes(CONFIG))
    assert made == said


def test_other_weights_take_the_place_of_the_first(on_cpus):
    first, second = (init_random(CONFIG, seed) for seed in (0, 1))
    spec = replace(SPEC, dtype="float32")
    engine = Engine(spec, CONFIG, first)
    engine.replace(second)
    fresh = Engine(spec, CONFIG, second)
    given, wanted = (
        each.generate(each.encode_images(PIXELS), [[2, 5, 9], [2, 7]]) for each in (engine, fresh)
    )
    assert given.tokens == wanted.tokens
    assert given.log_probs.tolist() == wanted.log_probs.tolist()
    assert engine.used.recompilations == 0
