"""What a training step computes, and what must not change it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import training_parts as parts

from model.checkpoint.tree import flatten, unflatten
from model.config import VisionConfig
from model.layers import LOW_RANK
from model.paligemma import PaliGemma
from model.training.lora import LoraSpec
from model.training.optimiser import OptimiserSpec, optimiser, schedule
from model.training.selection import SelectionError, trained
from model.training.state import StateError, restore_state, save_state, saved_states
from model.training.trainer import Trainer
from model.vision import Transformer

LEARNED = parts.examples()


def run(steps: int, batch=None, **settings) -> tuple[list[float], Trainer]:
    trainer = parts.trainer(LEARNED, **settings)
    batch = parts.batch(LEARNED) if batch is None else batch
    return [float(trainer.step(batch).loss) for _ in range(steps)], trainer


@pytest.fixture(scope="module")
def plain() -> tuple[list[float], Trainer]:
    return run(4)


@pytest.fixture(scope="module")
def reference() -> list[np.ndarray]:
    """Each example's losses, token by token, from the logits of its whole sequence."""
    apply = jax.jit(PaliGemma(parts.CONFIG).apply)
    variables = {"params": unflatten(parts.weights())}
    return [_reference(apply, variables, number) for number in range(len(LEARNED))]


def _reference(apply, variables: dict, number: int) -> np.ndarray:
    pair = LEARNED.pair(number)
    text = np.zeros((1, 16), np.int32)
    text[0, : len(pair.tokens)] = pair.tokens
    place = np.arange(16)[None]
    kinds = (place >= pair.prompt_length).astype(np.int32)
    image = LEARNED.pictures[LEARNED.picture[number]][None]
    logits = apply(variables, image, text, place < len(pair.tokens), kinds)
    said = np.asarray(jax.nn.log_softmax(logits[0, parts.CONFIG.vision.tokens :]))
    places = range(pair.prompt_length, len(pair.tokens))
    return -np.array([said[at - 1, pair.tokens[at]] for at in places])


def test_the_loss_is_the_mean_cross_entropy_of_answers_and_their_ends(plain, reference):
    assert plain[0][0] == pytest.approx(np.mean(np.concatenate(reference)), rel=1e-5)


def test_weighing_by_example_makes_short_answers_count_as_much_as_long_ones(reference):
    loss = parts.trainer(LEARNED, weighting="example").evaluate([parts.batch(LEARNED)])
    assert loss == pytest.approx(np.mean([each.mean() for each in reference]), rel=1e-5)


def test_evaluation_is_one_mean_over_all_batches_and_no_filler(reference):
    batch = parts.batch(LEARNED)
    last = jax.tree.map(lambda array: array[:, 8:].copy(), batch)
    last.length[:, 5:] = last.prompt_length[:, 5:]
    first = jax.tree.map(lambda array: array[:, :8], batch)
    expected = np.mean(np.concatenate(reference[:13]))
    assert parts.trainer(LEARNED).evaluate([first, last]) == pytest.approx(expected, rel=1e-5)


def test_the_loss_goes_down(plain):
    losses, _ = plain
    assert losses[-1] < losses[0]


def test_rematerialisation_saves_memory():
    """Of a network as shallow as these, which is written out where nothing is computed again."""
    vision = VisionConfig(image_size=112, patch_size=7, width=32, depth=4, mlp_dim=64, num_heads=2)
    x = jnp.ones((4, vision.tokens, vision.width))
    needed = {}
    for remat in (False, True):
        network = Transformer(vision, remat)
        params = network.init(jax.random.key(0), x)
        gradient = jax.grad(lambda params, x=x, network=network: network.apply(params, x).sum())
        compiled = jax.jit(gradient).lower(params).compile()
        needed[remat] = compiled.memory_analysis().temp_size_in_bytes
    assert needed[True] < 0.7 * needed[False]


def test_neither_parts_nor_rematerialisation_change_the_step(plain):
    losses, trainer = run(4, parts.batch(LEARNED, microbatches=4), remat=True)
    np.testing.assert_allclose(losses, plain[0], rtol=1e-5)
    ours, theirs = flatten(trainer.params()), flatten(plain[1].params())
    for name, array in ours.items():
        # A bias of the keys shifts all logits of a query alike, so its gradient is rounding and
        # nothing else, which Adam scales up.
        if not name.endswith("key/bias"):
            np.testing.assert_allclose(array, theirs[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_in_bfloat16_state_stays_float32_and_frozen_parameters_as_they_were(plain):
    losses, trainer = run(2, dtype="bfloat16", freeze=("img/*", "llm/embedder/*"))
    assert losses[0] == pytest.approx(plain[0][0], rel=0.03)
    floats = [leaf for leaf in jax.tree.leaves(trainer.state) if leaf.dtype.kind == "f"]
    assert {leaf.dtype for leaf in floats} == {np.dtype("float32")}
    after = flatten(trainer.params())
    for name, array in parts.weights().items():
        same = bool(jnp.array_equal(array, after[name]))
        assert same == name.startswith(("img/", "llm/embedder/")), name


def test_a_pattern_that_names_nothing_is_refused_with_the_parts_there_are():
    names = list(parts.weights())
    with pytest.raises(SelectionError, match=r"'image/\*'.*img/Transformer/\*"):
        trained(names, ["image/*"])
    with pytest.raises(SelectionError, match="leaves nothing"):
        trained(names, ["*"])


def test_adapters_begin_at_the_model_and_merge_into_what_they_compute(plain):
    losses, trainer = run(3, lora=LoraSpec(rank=4, alpha=8.0))
    assert losses[0] == pytest.approx(plain[0][0], rel=1e-6)
    assert losses[-1] < losses[0]
    assert all(name.startswith(LOW_RANK) for name in trainer.state.weights)
    assert all(np.abs(value).max() > 0 for value in trainer.state.weights.values())
    before, after = parts.weights(), flatten(trainer.params())
    assert {name for name in before if not jnp.array_equal(before[name], after[name])} == {
        "llm/layers/attn/attn_vec_einsum/w",
        "llm/layers/attn/kv_einsum/w",
        "llm/layers/attn/q_einsum/w",
        "llm/layers/mlp/gating_einsum",
        "llm/layers/mlp/linear",
    }
    with_adapters = trainer.evaluate([parts.batch(LEARNED)])
    merged = Trainer(replace(trainer.spec, lora=None), parts.CONFIG, after)
    assert merged.evaluate([parts.batch(LEARNED)]) == pytest.approx(with_adapters, rel=1e-5)
    assert with_adapters != pytest.approx(losses[0], rel=1e-3)


def test_the_learning_rate_rises_and_falls_as_half_a_cosine():
    spec = OptimiserSpec(learning_rate=0.1, steps=110, warmup_steps=10)
    rate = [float(schedule(spec)(step)) for step in range(111)]
    assert rate[0] > 0
    assert rate[10] == pytest.approx(0.1)
    assert rate == sorted(rate[:11]) + sorted(rate[11:], reverse=True)
    assert rate[60] == pytest.approx(0.05, rel=1e-3)
    assert rate[110] == pytest.approx(0, abs=1e-7)


def test_long_gradients_are_clipped_and_norms_do_not_decay():
    spec = OptimiserSpec(learning_rate=0.1, steps=10, clip=1.0, weight_decay=0.5)
    weights = {"a/scale": jnp.ones(3), "a/kernel": jnp.ones(3)}
    transformation = optimiser(spec)
    state = transformation.init(weights)
    still, _ = transformation.update(jax.tree.map(jnp.zeros_like, weights), state, weights)
    assert not still["a/scale"].any()
    np.testing.assert_allclose(still["a/kernel"], -0.1 * 0.5, rtol=1e-6)
    large = jax.tree.map(lambda array: array * 1e6, weights)
    _, state = transformation.update(large, state, weights)
    (moments,) = [each for each in state[1] if isinstance(each, optax.ScaleByAdamState)]
    assert optax.global_norm(moments.mu) == pytest.approx(0.1, rel=1e-4)


def test_a_saved_state_comes_back_bit_for_bit_and_only_the_last_two_stay(tmp_path: Path, plain):
    _, trainer = plain
    for step in (1, 2, 30):
        save_state(tmp_path, trainer.state._replace(step=jnp.int32(step)))
    assert [path.name for path in saved_states(tmp_path)] == [
        "step-000000002.npz",
        "step-000000030.npz",
    ]
    fresh = parts.trainer(LEARNED)
    restored = restore_state(saved_states(tmp_path)[-1], fresh.state)
    wanted = trainer.state._replace(step=jnp.int32(30))
    jax.tree.map(np.testing.assert_array_equal, restored, wanted)


def test_a_damaged_state_and_one_of_another_training_are_named(tmp_path: Path, plain):
    path = save_state(tmp_path, plain[1].state)
    other = parts.trainer(LEARNED, freeze=("img/*",))
    with pytest.raises(StateError, match="another training"):
        restore_state(path, other.state)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(StateError, match="can't be read"):
        restore_state(path, plain[1].state)


TWO_DEVICES = """
import training_parts as parts
import jax
assert jax.device_count() == 2
learned = parts.examples()
batch = parts.batch(learned, microbatches=2)
name = "params/llm/layers/mlp/linear"
for shard_weights in (False, True):
    trainer = parts.trainer(learned, shard_weights=shard_weights)
    print(*[float(trainer.step(batch).loss) for _ in range(3)])
    whole = trainer.state.weights[name]
    held = [shard.data.size for shard in whole.addressable_shards]
    assert held == [whole.size // (2 if shard_weights else 1)] * 2, held
    assert trainer._step._cache_size() == 1
"""


def test_two_devices_take_the_step_of_one_with_weights_whole_or_cut(plain):
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(root), str(Path(__file__).parent)]),
    }
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        losses = [float(word) for word in line.split()]
        np.testing.assert_allclose(losses, plain[0][:3], rtol=1e-5)
