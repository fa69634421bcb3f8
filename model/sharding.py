"""Where weights and rows lie on the chips of one host: data parallel, tensor parallel, or both.

Rows are split over the mesh's axis `data`, weights over its axis `model` as in Megatron: the first
product of a pair by its outputs (heads, hidden channels), the second by its inputs, so that a layer
exchanges no more than the sums behind attention and MLP. The compiler puts these in; the network's
code knows nothing of chips. Shoeybi et al., 2019, https://arxiv.org/abs/1909.08053.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from model.checkpoint.tree import flatten, unflatten
from model.errors import ModelError

DATA, MODEL = "data", "model"

SPLIT_AXIS = (
    # Letters as in the network: L layers, E and D widths, N and K heads, H their channels, F hidden
    # channels, V vocabulary. The axis in brackets is the one that is split.
    (r"img/.*/(query|key|value)/kernel", 2),  # L E [N] H
    (r"img/.*/(query|key|value)/bias", 1),  # L [N] H
    (r"img/.*/out/kernel", 1),  # L [N] H E
    (r"img/.*/Dense_0/kernel", 2),  # L E [F]
    (r"img/.*/Dense_0/bias", 1),  # L [F]
    (r"img/.*/Dense_1/kernel", 1),  # L [F] E
    (r"llm/embedder/(in|out)put_embedding", 0),  # [V] D
    (r"llm/layers/attn/q_einsum/w", 1),  # L [N] D H
    (r"llm/layers/attn/kv_einsum/w", 2),  # L 2 [K] D H
    (r"llm/layers/attn/attn_vec_einsum/w", 1),  # L [N] H D
    (r"llm/layers/mlp/gating_einsum", 3),  # L 2 D [F]
    (r"llm/layers/mlp/linear", 1),  # L [F] D
)
"""Which axis of which parameter is split over `model`; every other parameter is on each chip."""


@dataclass(frozen=True)
class Placement:
    """A mesh of `data` × `model` chips and what goes where on it."""

    mesh: Mesh

    @classmethod
    def over(cls, devices: Sequence[jax.Device], tensor_parallel: int = 1) -> Placement:
        """Copies of the model, each on `tensor_parallel` neighbouring devices.

        Raises ModelError where the devices can't be grouped so.
        """
        if tensor_parallel < 1 or len(devices) % tensor_parallel:
            raise ModelError(
                f"--tensor-parallel {tensor_parallel} with {len(devices)} chips or GPUs; expected "
                "a number that divides theirs"
            )
        grid = np.array(devices, dtype=object).reshape(-1, tensor_parallel)
        return cls(Mesh(grid, (DATA, MODEL)))

    @property
    def copies(self) -> int:
        """Copies of the model, which share a batch's rows evenly."""
        return self.mesh.shape[DATA]

    @property
    def tensor_parallel(self) -> int:
        """Devices that a copy of the model is spread over."""
        return self.mesh.shape[MODEL]

    @property
    def device(self) -> jax.Device:
        """One for all: they are of a kind."""
        return self.mesh.devices.flat[0]

    @property
    def rows(self) -> NamedSharding:
        """Of arrays whose first axis is the batch's."""
        return NamedSharding(self.mesh, PartitionSpec(DATA))

    @property
    def everywhere(self) -> NamedSharding:
        """Of what every device holds."""
        return NamedSharding(self.mesh, PartitionSpec())

    def of_parameter(
        self, name: str, shape: tuple[int, ...], axes: Sequence[int] | None = None
    ) -> NamedSharding:
        """name: as in a checkpoint, `llm/layers/mlp/linear`. axes: which of the parameter's an
        array has that is only a part of it (see model.apart); None for all.

        An axis that `model` doesn't divide stays whole on each device: the keys and values of a
        decoder with a single head for them.
        """
        for pattern, axis in SPLIT_AXIS:
            if re.fullmatch(pattern, name) and shape[axis] % self.tensor_parallel == 0:
                parts = [MODEL if each == axis else None for each in axes or range(len(shape))]
                return NamedSharding(self.mesh, PartitionSpec(*parts))
        return self.everywhere

    def put(self, name: str, array: Any) -> jax.Array:
        """One parameter on its devices, each being sent its own part and nothing else."""
        return jax.device_put(array, self.of_parameter(name, array.shape))

    def put_all(self, params: dict) -> dict:
        """A tree of parameters, those staying that are where they belong."""
        return unflatten({name: self.put(name, leaf) for name, leaf in flatten(params).items()})
