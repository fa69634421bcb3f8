"""Pre-trains the small model's vision tower on what each patch shows.

PaliGemma starts from a SigLIP that has seen billions of captions. A tower with random weights
would have to learn to see from the answers' tokens, of which there are few for each picture; here
every patch says what it shows, which takes a fraction of the pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from examples.garments.patches import CLASSES, HALVES, NOTHING, Targets, targets
from examples.garments.scenes import SIZE, Studio
from model.config import PaliGemmaConfig
from model.vision import SigLIP

_REPORT_EVERY = 100
_SLOWEST_WAVE = 100.0


@dataclass(frozen=True)
class Pretraining:
    """learning_rate: at its highest, from which it falls as a cosine."""

    steps: int = 40_000
    batch_size: int = 16
    learning_rate: float = 1.5e-3
    warmup_steps: int = 200
    weight_decay: float = 0.02
    seed: int = 0


class PatchReader(nn.Module):
    """The vision tower with a linear reading of its tokens for each target."""

    config: PaliGemmaConfig

    @nn.compact
    def __call__(self, images: jax.Array) -> dict[str, jax.Array]:
        """uint8[B, S, S, 3] -> logits [B, P², classes] by the names of CLASSES."""
        tokens = SigLIP(self.config.vision, self.config.language.width, name="img")(images)
        tokens = nn.RMSNorm(name="norm")(tokens)
        return {name: nn.Dense(size, name=name)(tokens) for name, size in CLASSES.items()}


def draw(studio: Studio, seed: int, scenes: int, patch: int) -> tuple[np.ndarray, Targets]:
    """What to pre-train on: uint8[N, 112, 112, 3], and what its patches show, stacked."""
    pixels, wanted = [], []
    for number in range(scenes):
        scene = studio.scene(seed, number)
        pixels.append(scene.pixels)
        wanted.append(targets(scene, patch))
    return np.stack(pixels), Targets(*map(np.stack, zip(*wanted, strict=True)))


def pretrain(
    pixels: np.ndarray,
    wanted: Targets,
    config: PaliGemmaConfig,
    settings: Pretraining,
    report: Callable[[int, dict[str, float]], None],
) -> dict:
    """The tower's parameters: the subtree `img` of PaliGemma's. report: told step and measures.

    pixels, wanted: as `draw` gives them, gone through in random order.
    """
    random = np.random.default_rng(settings.seed)
    model = PatchReader(config)
    params = jax.jit(model.init)(jax.random.key(settings.seed), pixels[:1])["params"]
    params["img"]["pos_embedding"] = wave_positions(config)
    optimiser = _optimiser(settings)
    state = optimiser.init(params)

    @jax.jit
    def step(params, state, images, wanted):
        gradient, measures = jax.grad(_loss, argnums=1, has_aux=True)(model, params, images, wanted)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, measures

    for number in range(settings.steps):
        rows = random.integers(len(pixels), size=settings.batch_size)
        batch = Targets(*(part[rows] for part in wanted))
        params, state, measures = step(params, state, pixels[rows], batch)
        if number % _REPORT_EVERY == 0:
            report(number, {name: float(value) for name, value in measures.items()})
    return params["img"]


def wave_positions(config: PaliGemmaConfig) -> np.ndarray:
    """float32[1, P², E]: sines and cosines of row and column, of falling frequency.

    Near positions are alike from the start, which random ones have to learn. Chen et al., 2021,
    https://arxiv.org/abs/2104.02057.
    """
    quarter = config.vision.width // 4
    side = config.vision.image_size // config.vision.patch_size
    frequencies = _SLOWEST_WAVE ** (-np.arange(quarter) / quarter)
    angles = np.arange(side)[:, None] * frequencies
    waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    rows, columns = np.repeat(waves, side, axis=0), np.tile(waves, (side, 1))
    return np.concatenate([rows, columns], axis=1)[None].astype(np.float32)


def _optimiser(settings: Pretraining) -> optax.GradientTransformation:
    rate = optax.warmup_cosine_decay_schedule(
        0, settings.learning_rate, settings.warmup_steps, settings.steps
    )
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(rate, b2=0.98, weight_decay=settings.weight_decay),
    )


def _loss(model, params, images, wanted: Targets) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The mean cross-entropies' sum, and the measures that are reported."""
    logits = model.apply({"params": params}, images)
    garment = wanted.kind != NOTHING
    sides = logits["sides"].reshape(*wanted.sides.shape, SIZE + 1)
    characters = logits["characters"].reshape(*wanted.characters.shape, -1)
    assert characters.shape[-2] == HALVES
    kinds = _mean(_cross_entropy(logits["kind"], wanted.kind), garment)
    losses = {
        # Most patches have no garment, which is soon learnt.
        "kind": _mean(_cross_entropy(logits["kind"], wanted.kind)) + kinds,
        "colour": _mean(_cross_entropy(logits["colour"], wanted.colour)),
        "rank": _mean(_cross_entropy(logits["rank"], wanted.rank), garment),
        "sides": _mean(_cross_entropy(sides, wanted.sides), garment[..., None]),
        # One patch in thirty has a character.
        "characters": 5 * _mean(_cross_entropy(characters, wanted.characters)),
        "outline": _mean(optax.sigmoid_binary_cross_entropy(logits["outline"], wanted.outline)),
    }
    off = jnp.abs(sides.argmax(-1) - wanted.sides.astype(jnp.int32))
    there = wanted.characters != NOTHING
    measures = {
        **losses,
        "kinds right": _mean(logits["kind"].argmax(-1) == wanted.kind, garment),
        "colours right": _mean(logits["colour"].argmax(-1) == wanted.colour, garment),
        "ranks right": _mean(logits["rank"].argmax(-1) == wanted.rank, garment),
        "pixels off": _mean(off, garment[..., None]),
        "characters right": _mean(characters.argmax(-1) == wanted.characters, there),
    }
    return sum(losses.values(), start=jnp.zeros(())), measures


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    labels = labels.astype(jnp.int32)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels)


def _mean(values: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Over all elements, or over those of `where`, which is broadcast."""
    if where is None:
        return jnp.mean(values)
    counted = jnp.broadcast_to(where, values.shape)
    return jnp.sum(values * counted) / jnp.maximum(jnp.sum(counted), 1)
