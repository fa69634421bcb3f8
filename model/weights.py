"""How an engine holds a model's weights on its devices, and in which numbers it computes.

Accelerators, and float32 anywhere, take weights as they are. A CPU with the kernels takes bfloat16
and int8 packed for them and computes in float32 between the products; a CPU without them takes
bfloat16 as bits (see model.bits).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from model import cpu_kernels
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

    def put(self, name: str, array: np.ndarray) -> jax.Array | Panels:
        """One parameter where it belongs; the array's memory is taken over where that helps."""
        if self.form is Form.PANELS and is_packed(name):
            return pack(name, array, self.dtype, in_place=True)
        return self.placement.put(name, array)

    def variables(self, params: dict) -> dict:
        """The variables that programs take, of parameters as they are or as `put` gave them."""
        if self.form is not Form.PANELS:
            params = self.placement.put_all(params)
            return {"params": weights_as_bits(params) if self.form is Form.BITS else params}
        kept, packed = {}, {}
        for name, leaf in flatten(params).items():
            if isinstance(leaf, Panels):
                packed[name] = leaf
            elif is_packed(name):
                packed[name] = pack(name, np.asarray(leaf, jnp.bfloat16), self.dtype)
            else:
                kept[name] = self.placement.put(name, jnp.asarray(leaf, self.loaded_as))
        return {"params": unflatten(kept), PACKED: unflatten(packed)}

    def shapes(self, config: PaliGemmaConfig) -> dict:
        """The variables of a checkpoint as `jax.ShapeDtypeStruct`s that know their places."""
        kept, packed = {}, {}
        for name, shape in parameter_shapes(config).items():
            if self.form is Form.PANELS and is_packed(name):
                panels = packed_shapes(name, shape, self.dtype)
                packed[name] = Panels(*map(self._everywhere, panels))
            else:
                is_bits = self.form is Form.BITS and name.rpartition("/")[2] in SLICED
                dtype = jnp.uint16 if is_bits else jnp.dtype(self.loaded_as)
                kept[name] = jax.ShapeDtypeStruct(shape, dtype)
        variables = {"params": self.placement.shapes(unflatten(kept))}
        return variables | ({PACKED: unflatten(packed)} if packed else {})

    def _everywhere(self, part: jax.ShapeDtypeStruct | None) -> jax.ShapeDtypeStruct | None:
        return part and jax.ShapeDtypeStruct(
            part.shape, part.dtype, sharding=self.placement.everywhere
        )
