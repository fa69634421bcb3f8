"""Teaches the small model to see and to answer in one go.

Each step shows some pictures to the vision tower once. Its tokens are read patch by patch (see
`pretrain`), and the decoder answers a caption, a detection, a segmentation and two questions about
each of them.
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

from examples.garments.deck import Deck, Step
from examples.garments.lessons import Lessons
from examples.garments.pretrain import PatchReader, dense_loss, first_sight, waves
from examples.garments.scenes import SIZE
from model.boxes import LOCATION_SCALE
from model.config import PaliGemmaConfig
from model.masks import positions_of, prefix_mask
from model.paligemma import PaliGemma, init_random
from model.training.loss import Asked, LocationBlur, answer_weights, token_losses
from model.training.muon import muon_with_adam
from model.training.state import TrainState, restore_state, save_state, saved_states

_BLUR = 0.75  # pixels

_SHORTEST_PROMPT = 3

_WEIGHT_DECAY = 0.01
_LARGEST_GRADIENT = 5.0
_REPORT_EVERY = 100


@dataclass(frozen=True)
class Course:
    """steps: in all; the learning rates fall to nothing over the last `fall` of them, as a share.

    pictures: of a step. asked: of these, how many are asked about; none while the tower learns to
    see. matrices, others: highest learning rates, see `muon_with_adam`.
    """

    steps: int
    pictures: int
    asked: int
    matrices: float
    others: float
    fall: float = 0.95
    warmup: int = 100
    save_every: int = 250
    seed: int = 1

    def optimiser(self) -> optax.GradientTransformation:
        rates = muon_with_adam(self._rate(self.matrices), self._rate(self.others), _WEIGHT_DECAY)
        return optax.chain(optax.clip_by_global_norm(_LARGEST_GRADIENT), rates)

    def _rate(self, highest: float) -> optax.Schedule:
        falling = max(min(int(self.steps * self.fall), self.steps - self.warmup), 1)
        return optax.join_schedules(
            [
                optax.linear_schedule(highest / self.warmup, highest, self.warmup),
                optax.linear_schedule(highest, highest / 100, falling),
            ],
            [self.steps - falling],
        )


def location_blur(first: int) -> LocationBlur:
    """Of the labels of a corpus whose boxes end at whole pixels. first: the id of `<loc0000>`."""
    return LocationBlur(_BLUR * LOCATION_SCALE / SIZE, first, steps=SIZE)


class Pupil(PaliGemma):
    """PaliGemma, several of whose texts may be about one picture."""

    def answers(self, image_tokens: jax.Array, asked: Asked) -> jax.Array:
        """float32[B, M, V]: as `PaliGemma.predict`, with image_tokens [B, N, D] of `encode`."""
        x, valid = self._join(image_tokens, asked.text, asked.valid)
        images = image_tokens.shape[1]
        autoregressive = jnp.pad(asked.autoregressive, ((0, 0), (images, 0)))
        hidden, _ = self.llm(x, positions_of(valid), prefix_mask(valid, autoregressive), None)
        places = (asked.where + images)[..., None]
        return self.llm.logits(jnp.take_along_axis(hidden, places, axis=1))


def first_params(config: PaliGemmaConfig, pixels: np.ndarray, blur: LocationBlur) -> dict:
    """What training begins at: the network's parameters, and the `reader` of patches.

    pixels: uint8[N, S, S, 3], some scenes, for what their patches are like. blur: of the labels;
    the locations that have shares in them begin as waves, so that near ones are alike.
    """
    params = init_random(config, seed=0)
    params["img"] |= first_sight(config.vision, pixels)
    tokens = jnp.zeros((1, config.vision.tokens, config.language.width))
    params["reader"] = PatchReader().init(jax.random.key(1), tokens)["params"]
    width = config.language.width
    places = np.arange(blur.steps + 1)
    table = params["llm"]["embedder"]["input_embedding"]
    # As long as the rows of words, which vary by width ** -0.5; waves vary by the root of a half.
    locations = waves(places, width) * (2 / width) ** 0.5
    params["llm"]["embedder"]["input_embedding"] = table.at[blur.locations(places)].set(locations)
    return params


def learn(
    folder: Path,
    course: Course,
    config: PaliGemmaConfig,
    params: dict,
    lessons: Lessons,
    blur: LocationBlur,
    report: Callable[[int, dict[str, float]], None],
) -> dict:
    """The parameters after the course; goes on from the last state that `folder` holds.

    params: of `first_params`, or of an earlier course. report: is told step and measures.
    """
    optimiser = course.optimiser()
    params = jax.tree.map(jnp.asarray, params)
    state = TrainState(params, optimiser.init(params), jnp.int32(0))
    if saved := saved_states(folder):
        state = restore_state(saved[-1], state)
    pupil = Pupil(config)

    @jax.jit
    def move(state: TrainState, step: Step) -> tuple[TrainState, dict[str, jax.Array]]:
        gradient, measures = jax.grad(partial(loss, pupil, blur), has_aux=True)(state.weights, step)
        updates, moments = optimiser.update(gradient, state.optimiser, state.weights)
        return TrainState(
            optax.apply_updates(state.weights, updates), moments, state.step + 1
        ), measures

    deck = Deck(lessons, course.pictures, course.asked, course.seed)
    since: list[dict[str, jax.Array]] = []
    for number in range(int(state.step), course.steps):
        state, measures = move(state, deck.step(number))
        since.append(measures)
        last = number + 1 == course.steps
        if number % _REPORT_EVERY == 0 or last:
            report(
                number, {name: float(np.mean([each[name] for each in since])) for name in measures}
            )
            since.clear()
        if (number + 1) % course.save_every == 0 or last:
            save_state(folder, state)
    return state.weights


def loss(
    pupil: Pupil, blur: LocationBlur, params: dict, step: Step
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Of patches and answers together, and the measures that are reported."""
    model = {"params": {name: params[name] for name in ("img", "llm")}}
    tokens = pupil.apply(model, step.pixels, method="encode")
    seen = PatchReader().apply({"params": params["reader"]}, tokens)
    total, measures = dense_loss(seen, step.targets)
    sums, weights = [], []
    for texts in step.texts:
        longest = texts.tokens.shape[1] - _SHORTEST_PROMPT
        asked = Asked.of(texts.tokens, texts.prompt_length, texts.length, longest)
        logits = pupil.apply(model, tokens[texts.picture], asked, method="answers")
        each = answer_weights(texts.prompt_length, texts.length, longest, "example")
        # Between every token the same and every answer the same.
        each = jnp.sqrt(each)
        sums.append(jnp.sum(token_losses(logits, asked.wanted, blur) * each))
        weights.append(jnp.sum(each))
    if step.texts:
        answers = sum(sums) / sum(weights)
        total, measures = total + answers, {**measures, "answers": answers}
    return total, measures
