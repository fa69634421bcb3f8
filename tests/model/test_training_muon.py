"""Muon's steps: the same length in every direction of a matrix, Adam's for all else."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig
from model.paligemma import init_random
from model.training.muon import muon_with_adam

CONFIG = PaliGemmaConfig(
    VisionConfig(image_size=28, patch_size=14, width=16, depth=2, mlp_dim=24, num_heads=2),
    GemmaConfig(
        width=16,
        depth=2,
        mlp_dim=24,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        query_scale=8**-0.5,
        vocab_size=1200,
    ),
)
MATRIX_RATE, OTHER_RATE = 0.1, 0.01


@pytest.fixture(scope="module")
def updates() -> dict:
    """Those of a first step, along a random gradient."""
    params = init_random(CONFIG, seed=0)
    rates = (optax.constant_schedule(rate) for rate in (MATRIX_RATE, OTHER_RATE))
    optimiser = muon_with_adam(*rates, weight_decay=0.0)
    leaves, structure = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    gradient = structure.unflatten(
        [jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    )
    return jax.jit(partial(optimiser.update))(gradient, optimiser.init(params), params)[0]


def test_every_layers_matrix_moves_by_a_rotation(updates):
    block = updates["img"]["Transformer"]["encoderblock"]
    layers = updates["llm"]["layers"]
    attention = block["MultiHeadDotProductAttention_0"]
    for layer in range(2):
        for matrix in (
            attention["query"]["kernel"][layer].reshape(16, 16),
            attention["out"]["kernel"][layer].reshape(16, 16),
            block["MlpBlock_0"]["Dense_0"]["kernel"][layer],
            layers["attn"]["q_einsum"]["w"][layer].transpose(1, 0, 2).reshape(16, 16),
            layers["attn"]["kv_einsum"]["w"][layer, 1, 0],
            layers["attn"]["attn_vec_einsum"]["w"][layer].reshape(16, 16),
            layers["mlp"]["gating_einsum"][layer, 0],
            layers["mlp"]["linear"][layer],
        ):
            rows, columns = matrix.shape
            lengths = np.linalg.svd(matrix, compute_uv=False)
            scale = MATRIX_RATE * max(1, columns / rows) ** 0.5
            # Five rounds of Newton and Schulz leave singular values around 1.
            assert lengths.min() > 0.3 * scale
            assert lengths.max() < 1.4 * scale


def test_embeddings_norms_and_biases_move_as_adam_moves_them(updates):
    others = (
        updates["img"]["embedding"]["kernel"],
        updates["img"]["pos_embedding"],
        updates["img"]["Transformer"]["encoder_norm"]["scale"],
        updates["llm"]["embedder"]["input_embedding"],
    )
    for update in others:
        # Adam's first step is the gradient's sign; with Nesterov's momentum it looks ahead by
        # b1 / (1 + b1) of it, b1 being 0.9.
        np.testing.assert_allclose(jnp.abs(update), OTHER_RATE * (1 + 0.9 / 1.9), rtol=1e-2)
