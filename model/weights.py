"""How an engine holds a model's weights on its devices, and in which numbers it computes.

TPUs, and float32 on a CPU, take weights as they are; GPUs take the decoder's layers apart
(see model.apart). A CPU with the kernels takes bfloat16 and int8 packed for them and computes in
float32 between the products; a CPU without them takes bfloat16 as bits (see model.bits).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from model import apart, cpu_kernels
from model.bits import SLICED, needs_bits, weights_as_bits
from model.checkpoint.tree import flatten, parameter_shapes, unflatten
from model.config import PaliGemmaConfig
from model.errors import ModelError
from model.packed import PACKED, Panels
from model.packing import is_packed, pack, packed_shapes
from model.sharding import Placement

DTYPES = ("float32", "bfloat16", "int8")


class DtypeUnavailable(ModelError):  # noqa: N818 (it reads as what happened)
    """Numbers in which these devices can't hold weights. The message says why, and what can."""


class Form(Enum):
    NUMBERS = "numbers"
    BITS = "bits"
    PANELS = "panels"
    APART = "apart"


@dataclass(frozen=True)
class Weights:
    """What becomes of parameters. dtype: of `DTYPES`, as asked for."""

    dtype: str
    form: Form
    placement: Placement

    @classmethod
    def on(cls, placement: Placement, dtype: str) -> Weights:
        """Raises DtypeUnavailable."""
        on_one_cpu = placement.device.platform == "cpu" and placement.mesh.size == 1
        why_not = cpu_kernels.missing() if on_one_cpu else "it is for a single CPU"
        if dtype == "int8" and why_not:
            raise DtypeUnavailable(f"int8 can't be used here: {why_not}; use bfloat16")
        if dtype != "float32" and not why_not:
            return cls(dtype, Form.PANELS, placement)
        if placement.device.platform in apart.PLATFORMS:
            return cls(dtype, Form.APART, placement)
        as_bits = needs_bits(dtype, placement.device.platform)
        return cls(dtype, Form.BITS if as_bits else Form.NUMBERS, placement)

    @property
    def loaded_as(self) -> str:
        """The dtype in which `put` wants parameters: int8 is made of bfloat16."""
        return "bfloat16" if self.dtype == "int8" else self.dtype

    @property
    def computed_in(self) -> DTypeLike:
        """The dtype of what goes between the products.

        Beside packed weights it is float32: conversions of bfloat16 cost a CPU more than its moves.
        """
        return jnp.float32 if self.form is Form.PANELS else jnp.dtype(self.dtype)

    @property
    def cache_dtype(self) -> DTypeLike | None:
        """Of keys and values, where it isn't that of the computation."""
        return jnp.uint16 if self.form is Form.BITS else None

    def put(self, name: str, array: Any) -> Any:
        """One parameter where it belongs; the array's memory is taken over where that helps."""
        if self.form is Form.PANELS and is_packed(name):
            return pack(name, array, self.dtype, in_place=True)
        if self._is_apart(name):
            place = self._place_apart(name, array.shape)
            return apart.split(name, array, lambda part: jax.device_put(part, place))
        return self.placement.put(name, array)

    def variables(self, params: dict) -> dict:
        """The variables that programs take, of parameters as they are or as `put` gave them."""
        if self.form in (Form.NUMBERS, Form.BITS):
            params = self.placement.put_all(params)
            return {"params": weights_as_bits(params) if self.form is Form.BITS else params}
        kept, others = {}, {}
        for name, leaf in flatten(params).items():
            if isinstance(leaf, tuple):
                others[name] = leaf
            elif self.form is Form.PANELS and is_packed(name):
                others[name] = pack(name, np.asarray(leaf, jnp.bfloat16), self.dtype)
            elif self._is_apart(name):
                others[name] = self.put(name, leaf.astype(self.loaded_as))
            else:
                kept[name] = self.placement.put(name, leaf.astype(self.loaded_as))
        return self._variables(kept, others)

    def shapes(self, config: PaliGemmaConfig) -> dict:
        """The variables of a checkpoint as `jax.ShapeDtypeStruct`s that know their places."""
        kept, others = {}, {}
        for name, shape in parameter_shapes(config).items():
            if self.form is Form.PANELS and is_packed(name):
                panels = packed_shapes(name, shape, self.dtype)
                others[name] = Panels(*map(self._everywhere, panels))
            elif self._is_apart(name):
                part = jax.ShapeDtypeStruct(
                    [shape[axis] for axis in apart.axes_left(name, len(shape))],
                    self.loaded_as,
                    sharding=self._place_apart(name, shape),
                )
                others[name] = apart.repeated(shape[: apart.axes_apart(name)], part)
            else:
                is_bits = self.form is Form.BITS and name.rpartition("/")[2] in SLICED
                dtype = jnp.uint16 if is_bits else jnp.dtype(self.loaded_as)
                place = self.placement.of_parameter(name, shape)
                kept[name] = jax.ShapeDtypeStruct(shape, dtype, sharding=place)
        return self._variables(kept, others)

    def _is_apart(self, name: str) -> bool:
        return self.form is Form.APART and apart.is_apart(name)

    def _place_apart(self, name: str, shape: tuple[int, ...]) -> jax.sharding.Sharding:
        return self.placement.of_parameter(name, shape, apart.axes_left(name, len(shape)))

    def _variables(self, kept: dict, others: dict) -> dict:
        """Of parameters by name. others: those in the form that isn't a checkpoint's."""
        variables = {"params": unflatten(kept)}
        collection = apart.APART if self.form is Form.APART else PACKED
        return variables | ({collection: unflatten(others)} if others else {})

    def _everywhere(self, part: jax.ShapeDtypeStruct | None) -> jax.ShapeDtypeStruct | None:
        return part and jax.ShapeDtypeStruct(
            part.shape, part.dtype, sharding=self.placement.everywhere
        )
