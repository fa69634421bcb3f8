"""Products with packed weights, and attention, on x86 CPUs with AVX-512, as functions of JAX.

The library is built when palipipe is installed, where there is a C++ compiler. Without it, or on
other processors, XLA's own products are used (see model.weights).
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

LANES = 16
"""Outputs of a panel."""

GROUP = 512
"""Inputs that share a scale in int8."""

CALLS = {
    "palipipe_matmul_bfloat16": "PalipipeMatmulBfloat16",
    "palipipe_matmul_int8": "PalipipeMatmulInt8",
    "palipipe_attention": "PalipipeAttention",
}


@cache
def missing() -> str | None:
    """Why the kernels can't be used on this machine; None where they can."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"this processor is no x86-64 but {platform.machine()}"
    path = _path()
    if path is None:
        return "palipipe was installed without a C++ compiler"
    library = ctypes.CDLL(str(path))
    if not library.PalipipeSupported():
        return "this processor lacks AVX-512 with BF16 and VNNI"
    for target, symbol in CALLS.items():
        capsule = jax.ffi.pycapsule(getattr(library, symbol))
        jax.ffi.register_ffi_target(target, capsule, platform="cpu")
    return None


def matmul_bfloat16(
    x: jax.Array,
    panels: jax.Array,
    layer: jax.Array | int,
    outputs: int,
    dtype: Any = jnp.float32,
    gated: bool = False,
) -> jax.Array:
    """x [M, K] times one layer's weights [K, N], sums in float32: [M, outputs].

    x: float32, of which each number is rounded to bfloat16, or bfloat16; K is even.
    dtype: of what comes out, float32 or bfloat16.
    panels: uint16[L, P, K / 2, 32], bfloat16's bits as `pack_bfloat16` arranges them.
    gated: N is 2 * outputs in panels by turns, of which each two give gelu(first) * second.
    """
    shape = jax.ShapeDtypeStruct((len(x), outputs), dtype)
    call = jax.ffi.ffi_call("palipipe_matmul_bfloat16", shape)
    return call(x, panels, jnp.int32(layer), gated=gated)


def matmul_int8(
    x: jax.Array,
    panels: jax.Array,
    scales: jax.Array,
    offsets: jax.Array,
    layer: jax.Array | int,
    outputs: int,
    dtype: Any = jnp.float32,
    gated: bool = False,
) -> jax.Array:
    """As `matmul_bfloat16`, of int8 weights; sums are exact within a group of inputs.

    x: float32 or bfloat16, rounded to 255 levels of each row's largest in each group.
    panels: int8[L, P, ceil(K / 4), 64]. scales: float32, offsets: int32[L, P, groups, 16], all as
        `pack_int8` makes them.
    """
    shape = jax.ShapeDtypeStruct((len(x), outputs), dtype)
    call = jax.ffi.ffi_call("palipipe_matmul_int8", shape)
    return call(x, panels, scales, offsets, jnp.int32(layer), gated=gated)


def attention(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    layer: jax.Array | int,
    mask: jax.Array | None,
    cap: float | None,
) -> jax.Array:
    """`model.layers.attend` in float32, with one layer of k and v [L, B, S, K, H]."""
    call = jax.ffi.ffi_call("palipipe_attention", jax.ShapeDtypeStruct(q.shape, q.dtype))
    seen = jnp.zeros((0,), bool) if mask is None else mask
    return call(q, k, v, jnp.int32(layer), seen, cap=np.float32(cap or 0))


def pack_bfloat16(matrix: np.ndarray, panels: np.ndarray) -> None:
    """matrix: uint16[K, N], bfloat16's bits, of any strides. panels: uint16[P, ceil(K / 2), 32]."""
    _library().PalipipePackBfloat16(*_matrix(matrix), _pointer(panels))


def pack_int8(
    matrix: np.ndarray, panels: np.ndarray, scales: np.ndarray, offsets: np.ndarray
) -> None:
    """matrix: uint16[K, N], bfloat16's bits, of any strides. The others: see `matmul_int8`."""
    _library().PalipipePackInt8(*_matrix(matrix), *map(_pointer, (panels, scales, offsets)))


def _matrix(matrix: np.ndarray) -> tuple:
    by_input, by_output = (stride // matrix.itemsize for stride in matrix.strides)
    sizes = (by_input, by_output, *matrix.shape)
    return (ctypes.c_void_p(matrix.ctypes.data), *map(ctypes.c_int64, sizes))


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    if not array.flags.c_contiguous or not array.flags.writeable:
        raise ValueError("what is packed into must be contiguous and writeable")
    return ctypes.c_void_p(array.ctypes.data)


def _path() -> Path | None:
    folder = Path(__file__).parent
    paths = (folder / f"kernels{suffix}" for suffix in EXTENSION_SUFFIXES)
    return next((path for path in paths if path.exists()), None)


@cache
def _library() -> ctypes.CDLL:
    path = _path()
    if path is None:
        raise RuntimeError(missing())
    return ctypes.CDLL(str(path))
