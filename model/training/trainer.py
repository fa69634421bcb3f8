"""One compiled training step, one compiled evaluation, over all the devices there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from model.checkpoint.tree import unflatten
from model.config import PaliGemmaConfig
from model.paligemma import PaliGemma
from model.training.batching import Batch
from model.training.lora import LoraSpec, init_adapters, merged, scaled
from model.training.loss import LocationBlur, Weighting, answer_loss
from model.training.optimiser import OptimiserSpec, optimiser, schedule
from model.training.selection import trained
from model.training.state import TrainState

DATA = "data"
PARAMS = "params/"

Arrays = dict[str, jax.Array]
Loss = Callable[[Arrays, Arrays, Batch], tuple[jax.Array, jax.Array]]
"""Of trained and frozen arrays and one microbatch: sums of losses and of their weights."""


@dataclass(frozen=True)
class TrainerSpec:
    """dtype: of the computation; weights and optimiser are float32 where they are trained.

    answer: tokens of the longest answer, EOS included. freeze: patterns, see `trained`.
    lora: trains adapters of the decoder and nothing else. remat: see `PaliGemma`.
    shard_weights: each device holds a part of the weights and the optimiser's state and fetches the
        rest when it is wanted, in place of holding all (Rajbhandari et al., 2019,
        https://arxiv.org/abs/1910.02054, stage 3). seed: of the adapters.
    """

    optimiser: OptimiserSpec
    answer: int
    dtype: str = "float32"
    weighting: Weighting = "token"
    blur: LocationBlur | None = None
    freeze: tuple[str, ...] = ()
    lora: LoraSpec | None = None
    remat: bool = False
    shard_weights: bool = False
    seed: int = 0


class Metrics(NamedTuple):
    """Of one step: loss before it (nats a token), norm of the whole gradient before clipping."""

    loss: jax.Array
    gradient_norm: jax.Array


class Trainer:
    """Holds the weights; `step` moves them. Rows of a microbatch are split over the devices."""

    def __init__(self, spec: TrainerSpec, config: PaliGemmaConfig, params: Mapping[str, Any]):
        """params: flat, by the checkpoint's names; they are taken over.

        Raises SelectionError where `freeze` names nothing or leaves nothing.
        """
        self.spec = spec
        self.config = config
        self.mesh = Mesh(np.array(jax.devices()), (DATA,))
        names = [] if spec.lora else trained(params, spec.freeze)
        moved = {f"{PARAMS}{name}": params[name].astype(np.float32) for name in names}
        if spec.lora:
            moved = init_adapters(config, spec.lora, spec.seed)
        rest = {f"{PARAMS}{name}": params[name] for name in params if name not in set(names)}
        self._frozen: Arrays = jax.device_put(rest, self._places(rest))
        transformation = optimiser(spec.optimiser)
        moved = jax.device_put(moved, self._places(moved))
        places = self._places(jax.eval_shape(transformation.init, moved))
        moments = jax.jit(transformation.init, out_shardings=places)(moved)
        step = jax.device_put(np.int32(0), NamedSharding(self.mesh, PartitionSpec()))
        self.state = TrainState(moved, moments, step)
        model = PaliGemma(config, jnp.dtype(spec.dtype), remat=spec.remat)
        loss = partial(_loss, model, spec)
        self._step = jax.jit(
            partial(_step, loss, transformation),
            donate_argnums=0,
            out_shardings=(self._places(self.state), None),
        )
        self._evaluate = jax.jit(partial(_evaluate, loss))
        self._schedule = schedule(spec.optimiser)

    @property
    def trained_parameters(self) -> int:
        return sum(array.size for array in self.state.weights.values())

    @property
    def devices(self) -> str:
        """`2 x cpu`, for messages."""
        return f"{self.mesh.size} x {self.mesh.devices.flat[0].device_kind}"

    def learning_rate(self, step: int) -> float:
        """That step number `step` (from 0) is made with."""
        return float(self._schedule(step))

    def step(self, batch: Batch) -> Metrics:
        """Moves the weights by one batch; returns before the devices are done."""
        self.state, metrics = self._step(self.state, self._frozen, self._put(batch))
        return metrics

    def evaluate(self, batches: Iterable[Batch]) -> float:
        """Loss over all batches together, in nats a token (or example: see the weighting)."""
        sums = [
            self._evaluate(self.state.weights, self._frozen, self._put(batch)) for batch in batches
        ]
        total, weight = np.asarray(jax.device_get(sums), np.float64).sum(axis=0).tolist()
        return total / weight

    def params(self) -> dict:
        """The whole model as it is now, adapters merged: the network's parameter tree."""
        variables = {**self._frozen, **self.state.weights}
        if self.spec.lora:
            variables = merged(variables, self.spec.lora)
        return unflatten({name.removeprefix(PARAMS): value for name, value in variables.items()})

    def _places(self, arrays: Any) -> Any:
        """Where each array of a tree lies: everywhere, or cut along its longest axis that can be.

        Not along the first, which in most arrays counts the layers that a scan goes through.
        """

        def place(array: Any) -> NamedSharding:
            axes = range(1, array.ndim) if self.spec.shard_weights else ()
            cut = [axis for axis in axes if array.shape[axis] % self.mesh.size == 0]
            longest = max(cut, key=lambda axis: array.shape[axis], default=None)
            names = [DATA if axis == longest else None for axis in range(array.ndim)]
            return NamedSharding(self.mesh, PartitionSpec(*names))

        return jax.tree.map(place, arrays)

    def _put(self, batch: Batch) -> Batch:
        return jax.device_put(batch, NamedSharding(self.mesh, PartitionSpec(None, DATA)))


def _loss(
    model: PaliGemma, spec: TrainerSpec, weights: Arrays, frozen: Arrays, batch: Batch
) -> tuple[jax.Array, jax.Array]:
    """Sums of losses and weights over one microbatch, [B, …]."""
    variables = {**frozen, **weights}
    if spec.lora:
        variables = scaled(variables, spec.lora)
    tree = unflatten(variables)
    return answer_loss(model, tree, batch, spec.answer, spec.weighting, spec.blur)


def _step(
    loss: Loss,
    transformation: optax.GradientTransformation,
    state: TrainState,
    frozen: Arrays,
    batch: Batch,
) -> tuple[TrainState, Metrics]:
    """One optimiser step; the microbatches' gradients add up to that of the whole batch."""

    def add(total: Any, microbatch: Batch) -> tuple[Any, None]:
        (value, weight), gradient = jax.value_and_grad(loss, has_aux=True)(
            state.weights, frozen, microbatch
        )
        return jax.tree.map(jnp.add, total, (value, weight, gradient)), None

    nothing = (jnp.zeros(()), jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.weights))
    if batch.text.shape[0] == 1:
        (value, weight, gradient), _ = add(nothing, jax.tree.map(lambda array: array[0], batch))
    else:
        (value, weight, gradient), _ = jax.lax.scan(add, nothing, batch)
    gradient = jax.tree.map(lambda array: array / weight, gradient)
    updates, optimiser_state = transformation.update(gradient, state.optimiser, state.weights)
    weights = optax.apply_updates(state.weights, updates)
    metrics = Metrics(value / weight, optax.global_norm(gradient))
    return TrainState(weights, optimiser_state, state.step + 1), metrics


def _evaluate(loss: Loss, weights: Arrays, frozen: Arrays, batch: Batch) -> jax.Array:
    """float32[2]: sums of losses and of weights."""
    sums = jax.lax.map(lambda microbatch: jnp.stack(loss(weights, frozen, microbatch)), batch)
    return jnp.sum(sums, axis=0)
