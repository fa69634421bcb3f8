"""bfloat16 as bits: the same answers in the same memory, and no second copy of the weights."""

import jax
import numpy as np
import pytest

from model import cpu_kernels, weights
from model.bits import needs_bits, weights_as_bits
from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig
from model.engine import Engine, EngineSpec
from model.paligemma import init_random

CONFIG = PaliGemmaConfig(
    VisionConfig(image_size=28, width=32, depth=1, mlp_dim=64, num_heads=2),
    GemmaConfig(256, 7, 1024, 4, 1, 64, 64**-0.5, vocab_size=1024, post_norms=True),
)
SPEC = EngineSpec("random", dtype="bfloat16", batch_size=2, prompt_lengths=(8,), max_new_tokens=8)
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3), np.uint8)


@pytest.fixture(scope="module")
def params():
    return jax.tree.map(lambda leaf: leaf.astype("bfloat16"), init_random(CONFIG, 0))


def answers(engine):
    generation = engine.generate(engine.encode_images(PIXELS), [[2, 5, 9], [2, 7]])
    return generation.tokens, generation.log_probs.tolist()


def test_only_bfloat16_on_a_cpu_is_moved_as_bits():
    asked = [("bfloat16", "cpu"), ("float32", "cpu"), ("bfloat16", "tpu"), ("bfloat16", "gpu")]
    assert [needs_bits(*case) for case in asked] == [True, False, False, False]


def test_weights_stay_where_they_are(params):
    before, after = jax.tree.leaves(params), jax.tree.leaves(weights_as_bits(params))
    assert {leaf.dtype.name for leaf in after} == {"uint16", "bfloat16"}
    assert [leaf.unsafe_buffer_pointer() for leaf in before] == [
        leaf.unsafe_buffer_pointer() for leaf in after
    ]


def test_bits_give_the_answers_numbers_give_without_copying_the_model(params, monkeypatch):
    monkeypatch.setattr(cpu_kernels, "missing", lambda: "switched off")
    by_bits = Engine(SPEC, CONFIG, params)
    monkeypatch.setattr(weights, "needs_bits", lambda *_: False)
    by_numbers = Engine(SPEC, CONFIG, params)
    assert answers(by_bits)[0] == answers(by_numbers)[0]
    np.testing.assert_allclose(answers(by_bits)[1], answers(by_numbers)[1], atol=0.05)
    model_size = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    needs = {
        name: engine._generate[8].memory_analysis().temp_size_in_bytes
        for name, engine in (("bits", by_bits), ("numbers", by_numbers))
    }
    assert needs["bits"] < 0.5 * model_size
    assert needs["numbers"] > model_size  # once this fails, XLA has learnt it and bits can go
