"""Arranges weights for the CPU kernels, in bfloat16 or int8: from parameters to `Panels`."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from math import prod

import jax
import jax.numpy as jnp
import numpy as np

from model.checkpoint.buffers import aligned_empty
from model.cpu_kernels import GROUP, LANES, pack_bfloat16, pack_int8
from model.packed import Panels, is_gated

SUMMED_AXES = (
    # Letters as in the network (see model.sharding); in brackets what a product sums over.
    (r"img/embedding/kernel", (0, 1, 2)),  # [P P C] E
    (r"img/.*/(query|key|value)/kernel", (1,)),  # L [E] N H
    (r"img/.*/out/kernel", (1, 2)),  # L [N H] E
    (r"img/.*/Dense_[01]/kernel", (1,)),  # L [E] F, L [F] E
    (r"img/head/kernel", (0,)),  # [E] D
    (r"llm/embedder/(in|out)put_embedding", (1,)),  # V [D]
    (r"llm/layers/attn/q_einsum/w", (2,)),  # L N [D] H
    (r"llm/layers/attn/kv_einsum/w", (3,)),  # L 2 K [D] H
    (r"llm/layers/attn/attn_vec_einsum/w", (1, 2)),  # L [N H] D
    (r"llm/layers/mlp/gating_einsum", (2,)),  # L 2 [D] F
    (r"llm/layers/mlp/linear", (1,)),  # L [F] D
)
"""Which parameters are packed, and the axes that a product sums over."""

GATING = "/gating_einsum"
"""The end of the name whose two halves are packed by turns, where they can be."""


def is_packed(name: str) -> bool:
    """Whether the parameter of this name (`llm/layers/mlp/linear`) is one of those."""
    return any(re.fullmatch(pattern, name) for pattern, _ in SUMMED_AXES)


def packed_shapes(name: str, shape: tuple[int, ...], dtype: str) -> Panels:
    """What `pack` makes of a parameter, as `jax.ShapeDtypeStruct`s."""
    layers, inputs, outputs = _sizes(name, shape)
    panels = -(-outputs // LANES)
    if dtype == "bfloat16":
        data = jax.ShapeDtypeStruct((layers, panels, -(-inputs // 2), 2 * LANES), jnp.uint16)
        return Panels(data)
    groups = (layers, panels, -(-inputs // GROUP), LANES)
    return Panels(
        jax.ShapeDtypeStruct((layers, panels, -(-inputs // 4), 4 * LANES), jnp.int8),
        jax.ShapeDtypeStruct(groups, jnp.float32),
        jax.ShapeDtypeStruct(groups, jnp.int32),
    )


def pack(name: str, array: np.ndarray, dtype: str, *, in_place: bool = False) -> Panels:
    """A parameter in bfloat16, packed as `dtype`: bfloat16 or int8.

    in_place: the array's memory may be used for the result, so that loading a model never takes
        twice a parameter's; the array is then worth nothing.
    """
    shapes = packed_shapes(name, array.shape, dtype)
    bits = array.view(np.uint16)
    if in_place and dtype == "bfloat16" and bits.size == prod(shapes.data.shape):
        target = Panels(bits.reshape(shapes.data.shape))
    else:
        target = Panels(*(part and aligned_empty(part.shape, part.dtype) for part in shapes))

    def pack_layer(layer: int) -> None:
        matrix = _matrix(name, bits, layer)
        parts = [part[layer] for part in target if part is not None]
        if dtype == "bfloat16":
            own = np.may_share_memory(matrix, parts[0])
            pack_bfloat16(matrix.copy() if own else matrix, *parts)
        else:
            pack_int8(matrix, *parts)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(pack_layer, range(len(target.data))))
    return Panels(*(part if part is None else jax.device_put(part) for part in target))


def _matrix(name: str, array: np.ndarray, layer: int) -> np.ndarray:
    """One layer of a parameter as [K, N]."""
    if name.endswith(GATING) and is_gated(array.shape[-1]):
        _, halves, inputs, hidden = array.shape
        turns = array[layer].reshape(halves, inputs, hidden // LANES, LANES)
        return turns.transpose(1, 2, 0, 3).reshape(inputs, halves * hidden)
    summed, rest = _axes(name, array.ndim)
    if not _is_stacked(name):
        arranged = array.transpose(summed + rest)
    else:
        arranged = array[layer].transpose([axis - 1 for axis in summed + rest])
    return arranged.reshape(prod(array.shape[axis] for axis in summed), -1)


def _sizes(name: str, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Layers, inputs and outputs."""
    summed, rest = _axes(name, len(shape))
    inputs, outputs = (prod(shape[axis] for axis in axes) for axes in (summed, rest))
    return shape[0] if _is_stacked(name) else 1, inputs, outputs


def _axes(name: str, number: int) -> tuple[list[int], list[int]]:
    """The axes that a product sums over and those of its outputs, the layers' in neither."""
    summed = next(axes for pattern, axes in SUMMED_AXES if re.fullmatch(pattern, name))
    first = 1 if _is_stacked(name) else 0
    return list(summed), [axis for axis in range(first, number) if axis not in summed]


def _is_stacked(name: str) -> bool:
    return "/layers/" in name or "/encoderblock/" in name
