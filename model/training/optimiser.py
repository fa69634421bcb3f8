"""AdamW with warm-up, cosine decay and clipping."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import optax


@dataclass(frozen=True)
class OptimiserSpec:
    """learning_rate: at the end of the warm-up. steps, warmup_steps: of the optimiser.

    final_share: of the learning rate, at the last step. clip: largest norm of the whole gradient.
    weight_decay: decoupled, per step and unit of learning rate; not of norms and biases.
    Raises ValueError for what can't be meant.
    """

    learning_rate: float
    steps: int
    warmup_steps: int = 0
    final_share: float = 0.0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    clip: float = 1.0

    def __post_init__(self):
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(f"{self.warmup_steps} steps of warm-up in {self.steps} steps")
        if self.learning_rate <= 0 or self.clip <= 0:
            raise ValueError("learning rate and clipping norm must be above 0")


def schedule(spec: OptimiserSpec) -> optax.Schedule:
    """From step number to learning rate: linear from near 0, then half a cosine."""
    return optax.warmup_cosine_decay_schedule(
        # Not from 0: the first batch would be computed for nothing.
        init_value=spec.learning_rate / (spec.warmup_steps + 1),
        peak_value=spec.learning_rate,
        warmup_steps=spec.warmup_steps,
        decay_steps=spec.steps,
        end_value=spec.learning_rate * spec.final_share,
    )


def optimiser(spec: OptimiserSpec) -> optax.GradientTransformation:
    """Of gradients in a flat dictionary by the parameters' names.

    Loshchilov and Hutter, 2017, https://arxiv.org/abs/1711.05101.
    """
    return optax.chain(
        optax.clip_by_global_norm(spec.clip),
        optax.adamw(
            schedule(spec),
            b1=spec.beta1,
            b2=spec.beta2,
            weight_decay=spec.weight_decay,
            mask=_decays,
        ),
    )


def _decays(params: dict[str, jax.Array]) -> dict[str, bool]:
    return {name: not name.endswith(("/scale", "/bias")) for name in params}
