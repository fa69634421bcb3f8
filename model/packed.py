"""Products with weights that are arranged for the CPU kernels (by model.packing).

A packed weight is one variable with all layers, in a collection of its own: a scan hands it whole
to every layer, which picks its own from it without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from model.cpu_kernels import GROUP, LANES, matmul_bfloat16, matmul_int8

PACKED = "packed"
"""The collection of variables that holds packed weights."""


class Panels(NamedTuple):
    """All layers of a weight; see model.cpu_kernels. scales and offsets: None in bfloat16."""

    data: Any
    scales: Any = None
    offsets: Any = None


@dataclass(frozen=True)
class Packed:
    """One layer of a packed weight, standing for an array of this shape."""

    panels: Panels
    shape: tuple[int, ...]
    layer: jax.Array | int

    def product(self, equation: str, x: jax.Array) -> jax.Array:
        """The einsum of x, in float32 or bfloat16, and the weight: float32."""
        inputs, output = equation.split("->")
        ours, theirs = inputs.split(",")
        summed = [axis for axis in theirs if axis in ours and axis not in output]
        kept = [axis for axis in ours if axis not in summed]
        rest = [axis for axis in theirs if axis not in summed]
        sizes = dict(zip(ours, x.shape, strict=True)) | dict(zip(theirs, self.shape, strict=True))
        rows = x.transpose([ours.index(axis) for axis in kept + summed])
        rows = rows.reshape(-1, prod(sizes[axis] for axis in summed))
        product = self._multiply(rows, prod(sizes[axis] for axis in rest), jnp.float32)
        product = product.reshape([sizes[axis] for axis in kept + rest])
        return product.transpose([(kept + rest).index(axis) for axis in output])

    def gated_product(self, x: jax.Array) -> jax.Array:
        """gelu(x · W[0]) · (x · W[1]) of x [..., D] and a weight [2, D, F] that `is_gated`.

        In bfloat16, so that half as much is moved. The next product would round to that itself,
        and in int8 to less.
        """
        outputs = self.shape[-1]
        rows = x.reshape(-1, x.shape[-1])
        product = self._multiply(rows, outputs, jnp.bfloat16, gated=True)
        return product.reshape(*x.shape[:-1], outputs)

    def rows(self, index: jax.Array, dtype: Any) -> jax.Array:
        """Rows of a table [V, D], packed for products that sum over D: index [...] -> [..., D]."""
        panel, lane = index // LANES, index % LANES
        data = self.panels.data[self.layer].reshape(*self.panels.data.shape[1:3], LANES, -1)
        rows = data[panel, :, lane].reshape(*index.shape, -1)
        if self.panels.scales is None:
            numbers = jax.lax.bitcast_convert_type(rows, jnp.bfloat16)
        else:
            scales = self.panels.scales[self.layer][panel, :, lane]
            numbers = rows * jnp.repeat(scales, GROUP, axis=-1)[..., : rows.shape[-1]]
        return numbers[..., : self.shape[1]].astype(dtype)

    def _multiply(
        self, rows: jax.Array, outputs: int, dtype: Any, gated: bool = False
    ) -> jax.Array:
        data, scales, offsets = self.panels
        if scales is not None:
            return matmul_int8(rows, data, scales, offsets, self.layer, outputs, dtype, gated)
        odd = rows.shape[1] % 2
        rows = jnp.pad(rows, ((0, 0), (0, odd))) if odd else rows
        return matmul_bfloat16(rows, data, self.layer, outputs, dtype, gated)


def is_gated(hidden: int) -> bool:
    """Whether both halves of an MLP's first weight are packed by turns, to be multiplied in one.

    hidden: channels of a half, F.
    """
    return hidden % LANES == 0


def on_kernels(module: nn.Module) -> bool:
    """Whether a module's weights are packed, and so the CPU kernels at hand."""
    return bool(module.variables.get(PACKED))


def weight(
    module: nn.Module,
    name: str,
    init: nn.initializers.Initializer,
    shape: tuple[int, ...],
    layer: jax.Array | int | None,
) -> Any:
    """The module's parameter, or what stands for it: a packed weight (see `project`), or the tuple
    of its halves (see model.apart)."""
    if module.has_variable(PACKED, name):
        return Packed(module.get_variable(PACKED, name), shape, 0 if layer is None else layer)
    halves = module.variables.get("params", {}).get(name)
    if isinstance(halves, tuple):
        return halves
    return module.param(name, init, shape)
