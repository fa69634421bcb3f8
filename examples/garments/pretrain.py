"""Trains the small model's vision tower on what each patch shows.

PaliGemma starts from a SigLIP that has seen billions of captions. A tower with random weights
would have to learn to see from the answers' tokens, of which there are few for each picture; here
every patch says what it shows, which takes a fraction of the pictures.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from examples.garments.patches import CLASSES, NOTHING, Targets
from examples.garments.scenes import SIZE
from model.config import VisionConfig

_SLOWEST_WAVE = 100.0
_SIDES = 4
_SIDE_CHANNELS = 32
_SIDE_BLUR = 1.0  # pixels
# Variance below which a component of the patches is taken for noise, of levels -1 to 1.
_NOISE = 0.02


class PatchReader(nn.Module):
    """A linear reading of the tower's tokens for each target."""

    @nn.compact
    def __call__(self, tokens: jax.Array) -> dict[str, jax.Array]:
        """Image tokens [B, P², D] -> logits [B, P², classes] by the names of CLASSES.

        And `sides`, [B, P², 4, 113]: by way of waves, so that near positions are near.
        """
        tokens = nn.RMSNorm(name="norm")(tokens)
        found = {name: nn.Dense(size, name=name)(tokens) for name, size in CLASSES.items()}
        sides = nn.Dense(_SIDES * _SIDE_CHANNELS, name="sides")(tokens)
        sides = sides.reshape(*tokens.shape[:2], _SIDES, _SIDE_CHANNELS)
        return found | {"sides": sides @ waves(np.arange(SIZE + 1), _SIDE_CHANNELS).T}


def first_sight(config: VisionConfig, pixels: np.ndarray) -> dict:
    """What a tower begins at: how patches and their places are embedded.

    pixels: uint8[N, S, S, 3], some scenes.
    """
    return {
        "embedding": whitening(config, pixels),
        "pos_embedding": wave_positions(config),
    }


def whitening(config: VisionConfig, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """An embedding of patches whose channels are their main components, of variance 1.

    What patches differ in most is their mean; random kernels would see little else at first.
    """
    P = config.patch_size
    side = config.image_size // P
    cut = pixels.reshape(-1, side, P, side, P, 3).transpose(0, 1, 3, 2, 4, 5)
    patches = cut.reshape(-1, P * P * 3).astype(np.float32) / 127.5 - 1
    mean = patches.mean(axis=0)
    variances, components = np.linalg.eigh(np.cov(patches - mean, rowvar=False))
    main = np.argsort(-variances)[: config.width]
    kernel = components[:, main] / np.sqrt(variances[main] + _NOISE)
    return {
        "kernel": kernel.reshape(P, P, 3, config.width).astype(np.float32),
        "bias": (-mean @ kernel).astype(np.float32),
    }


def wave_positions(config: VisionConfig) -> np.ndarray:
    """float32[1, P², E]: waves of row and column.

    Near positions are alike from the start, which random ones have to learn. Chen et al., 2021,
    https://arxiv.org/abs/2104.02057.
    """
    side = config.image_size // config.patch_size
    each = waves(np.arange(side), config.width // 2)
    rows, columns = np.repeat(each, side, axis=0), np.tile(each, (side, 1))
    return np.concatenate([rows, columns], axis=1)[None]


def waves(places: np.ndarray, channels: int) -> np.ndarray:
    """float32[len(places), channels]: sines and cosines of falling frequency."""
    frequencies = _SLOWEST_WAVE ** (-np.arange(channels // 2) / (channels // 2))
    angles = places[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def dense_loss(
    logits: dict[str, jax.Array], wanted: Targets
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The mean cross-entropies' sum, and the measures that are reported."""
    garment = wanted.kind != NOTHING
    tag = wanted.characters[..., 0] != NOTHING
    characters = logits["characters"].reshape(*wanted.characters.shape, -1)
    losses = {
        # Most patches have no garment, which is soon learnt.
        "kind": _mean(_cross_entropy(logits["kind"], wanted.kind))
        + _mean(_cross_entropy(logits["kind"], wanted.kind), garment),
        "colour": _mean(_cross_entropy(logits["colour"], wanted.colour)),
        "rank": _mean(_cross_entropy(logits["rank"], wanted.rank), garment),
        "shape": 0.5 * _mean(_cross_entropy(logits["shape"], wanted.shape), garment),
        "sides": _mean(_blurred_cross_entropy(logits["sides"], wanted.sides), garment[..., None]),
        "characters": _mean(_cross_entropy(characters, wanted.characters))
        + _mean(_cross_entropy(characters, wanted.characters), tag[..., None]),
        "outline": _mean(optax.sigmoid_binary_cross_entropy(logits["outline"], wanted.outline)),
    }
    off = jnp.abs(logits["sides"].argmax(-1) - wanted.sides.astype(jnp.int32))
    measures = {
        **losses,
        "kinds right": _mean(logits["kind"].argmax(-1) == wanted.kind, garment),
        "colours right": _mean(logits["colour"].argmax(-1) == wanted.colour, garment),
        "ranks right": _mean(logits["rank"].argmax(-1) == wanted.rank, garment),
        "shapes right": _mean(logits["shape"].argmax(-1) == wanted.shape, garment),
        "pixels off": _mean(off, garment[..., None]),
        "characters right": _mean(characters.argmax(-1) == wanted.characters, tag[..., None]),
    }
    return sum(losses.values(), start=jnp.zeros(())), measures


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels.astype(jnp.int32))


def _blurred_cross_entropy(logits: jax.Array, places: jax.Array) -> jax.Array:
    """Labels that leave a share to the places around the right one; less the labels' entropy."""
    blurred = _blurred(logits.shape[-1])
    entropy = -np.sum(blurred * np.log(np.maximum(blurred, 1e-20)), axis=-1)
    labels = jnp.asarray(blurred)[places]
    return optax.softmax_cross_entropy(logits, labels) - jnp.asarray(entropy)[places]


def _blurred(places: int) -> np.ndarray:
    """float32[places, places]: the labels of each place."""
    away = np.arange(places) - np.arange(places)[:, None]
    weights = np.exp(-0.5 * (away / _SIDE_BLUR) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _mean(values: jax.Array, where: jax.Array | None = None) -> jax.Array:
    """Over all elements, or over those of `where`, which is broadcast."""
    if where is None:
        return jnp.mean(values)
    counted = jnp.broadcast_to(where, values.shape)
    return jnp.sum(values * counted) / jnp.maximum(jnp.sum(counted), 1)
