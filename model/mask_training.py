"""Trains a mask codec of the layout of `vae-oid.npz` on masks of one's own.

    arrays = train(masks, MaskTraining(steps=3000))
    save("mask-codec.npz", arrays)

First as an autoencoder without codes; then the codebook is set to the centres of what the encoder
gives, and both learn on with the nearest code in between (van den Oord et al., 2017, "Neural
Discrete Representation Learning", https://arxiv.org/abs/1711.00937). Codes that fall out of use
are put back among the encoder's vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from model.mask_codec import EMBEDDING, SHAPES, decode_vectors
from model.mask_encoder import DOWNSAMPLING, LAST, RESIDUAL, encode_vectors, nearest_codes

_ENCODER_WIDTHS = (1, 16, 32, 64, 128)
_CENTRE_ROUNDS = 10


@dataclass(frozen=True)
class MaskTraining:
    """steps: in all, of which `free_steps` are without codes. revive_every: steps.

    commitment: weight of the encoder's distance to its codes, as in the paper.
    """

    steps: int = 3000
    free_steps: int = 500
    batch_size: int = 32
    learning_rate: float = 1e-3
    commitment: float = 0.25
    revive_every: int = 100
    seed: int = 0


def train(
    masks: np.ndarray,
    settings: MaskTraining,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> dict[str, np.ndarray]:
    """Encoder, codebook and decoder as float32 arrays by the names of `vae-oid.npz`.

    masks: float32[N, 64, 64] of -1 to 1, see `mask_encoder.crop`. report: is told the step and the
    loss every `revive_every` steps.
    """
    random = np.random.default_rng(settings.seed)
    weights = _initial_weights(random)
    schedule = optax.cosine_decay_schedule(settings.learning_rate, settings.steps, alpha=0.02)
    optimiser = optax.adam(schedule)
    state = optimiser.init(weights)
    step_free, step_coded = (
        jax.jit(partial(_step, optimiser, settings.commitment, coded)) for coded in (False, True)
    )
    for step in range(settings.steps):
        batch = masks[random.integers(len(masks), size=settings.batch_size)]
        coded_steps = step - settings.free_steps
        if coded_steps >= 0 and coded_steps % settings.revive_every == 0:
            sample = masks[random.integers(len(masks), size=8 * settings.batch_size)]
            weights = _with_codes_in_use(weights, sample, random, coded_steps == 0)
        run = step_coded if coded_steps >= 0 else step_free
        weights, state, loss = run(weights, state, batch)
        if step % settings.revive_every == 0:
            report(step, float(loss))
    return {name: np.asarray(value) for name, value in weights.items()}


def save(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes the codec as an `.npz` in float16, which its range and threshold allow."""
    halves = {name: array.astype(np.float16) for name, array in sorted(arrays.items())}
    np.savez_compressed(path, allow_pickle=False, **halves)


def loss_of(
    weights: dict[str, jax.Array], masks: jax.Array, commitment: float, coded: bool
) -> jax.Array:
    """Mean squared error of the decoded masks, and with codes the two distances to them."""
    vectors = encode_vectors(weights, masks)
    if not coded:
        return jnp.mean((decode_vectors(weights, vectors) - masks) ** 2)
    chosen = weights[EMBEDDING][nearest_codes(weights[EMBEDDING], vectors)]
    stop = jax.lax.stop_gradient
    # The decoder's gradient passes the choice as if it weren't there.
    passed = vectors + stop(chosen - vectors)
    error = jnp.mean((decode_vectors(weights, passed) - masks) ** 2)
    to_codes = jnp.mean((stop(vectors) - chosen) ** 2)
    to_vectors = jnp.mean((vectors - stop(chosen)) ** 2)
    return error + to_codes + commitment * to_vectors


def _step(optimiser, commitment, coded, weights, state, masks):
    loss, gradient = jax.value_and_grad(loss_of)(weights, masks, commitment, coded)
    updates, state = optimiser.update(gradient, state, weights)
    return optax.apply_updates(weights, updates), state, loss


def _initial_weights(random: np.random.Generator) -> dict[str, jax.Array]:
    """He's initialisation: variance 2 over a kernel's inputs; biases 0."""
    weights = {}
    for name, shape in (_encoder_shapes() | SHAPES).items():
        # The codebook is set from the encoder's vectors before it is used.
        fan_in = max(int(np.prod(shape[1:])), 1)
        values = random.normal(0, (2 / fan_in) ** 0.5, shape) if len(shape) > 1 else np.zeros(shape)
        weights[name] = jnp.asarray(values, jnp.float32)
    return weights


def _encoder_shapes() -> dict[str, tuple[int, ...]]:
    width = _ENCODER_WIDTHS[-1]
    kernels: dict[str, tuple[int, ...]] = {
        name: (wider, narrower, 4, 4)
        for name, narrower, wider in zip(
            DOWNSAMPLING, _ENCODER_WIDTHS, _ENCODER_WIDTHS[1:], strict=False
        )
    }
    for block in RESIDUAL:
        kernels[f"{block}.net.0"] = kernels[f"{block}.net.2"] = (width, width, 3, 3)
        kernels[f"{block}.net.4"] = (width, width, 1, 1)
    kernels[LAST] = (SHAPES[EMBEDDING][1], width, 1, 1)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, kernel in kernels.items():
        shapes |= {f"{name}.weight": kernel, f"{name}.bias": kernel[:1]}
    return shapes


def _with_codes_in_use(
    weights: dict[str, jax.Array], masks: np.ndarray, random: np.random.Generator, start: bool
) -> dict[str, jax.Array]:
    """The codebook with its unused codes moved onto vectors; all of them at the start."""
    vectors = np.asarray(jax.jit(encode_vectors)(weights, masks)).reshape(-1, 512)
    codes, size = np.array(weights[EMBEDDING]), len(weights[EMBEDDING])
    if start:
        codes = vectors[random.choice(len(vectors), size, replace=False)]
        for _ in range(_CENTRE_ROUNDS):
            codes = _centres(vectors, codes)
    else:
        unused = np.bincount(_nearest(vectors, codes), minlength=size) == 0
        codes[unused] = vectors[random.choice(len(vectors), unused.sum(), replace=False)]
    return weights | {EMBEDDING: jnp.asarray(codes)}


def _nearest(vectors: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.argmin((codes**2).sum(1) - 2 * vectors @ codes.T, axis=1)


def _centres(vectors: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """One round of Lloyd's algorithm; a code that nothing is nearest to stays."""
    nearest = _nearest(vectors, codes)
    moved = codes.copy()
    for code in np.unique(nearest):
        moved[code] = vectors[nearest == code].mean(axis=0)
    return moved
