"""What the vision encoder and the decoder share: products and attention, in one place.

Every product of the network goes through `project` or `attend_layer`, so that its number types are
decided here.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from model.bits import numbers
from model.cpu_kernels import attention
from model.fused_attention import fits, fused_attend
from model.packed import Packed, weight
from model.target import target

MASKED = -2.3819763e38
"""Logit of a pair that may not attend: as low as bfloat16 goes, and finite.

A padded query may see nothing at all; with an infinity its softmax would be NaN.
"""


FAST_LOGITS = 16 << 20
"""Of attention, in float32: 64 MiB, which stay beside the units of a TPU v5e from the product that
makes them to the one that uses them. Whole, those of one picture of 896 px are 1 GiB."""

MOST_LOGITS = 256 << 20
"""1 GiB at a time, where a batch has so many rows that blocks of queries can't be fast."""

FEWEST_QUERIES = 128
"""Taken at a time: the side of a TPU's multiplier, which fewer would leave idle."""


FEW_LAYERS = 6
"""Written out instead of looped over: more would take longer to compile than they gain."""


def unrolled(depth: int, remat: bool) -> int:
    """Layers that a scan writes out one behind the other, as its `unroll`.

    For the gradient a loop keeps the insides of all layers in one array, and takes each layer's out
    again, which costs small layers more than their products: written out, a step of training the
    small model (4 and 3 layers 128 wide, two CPU cores) takes 0.7 of the time. Not so where insides
    are computed again (remat): out of a loop the compiler would find them there already and keep
    them.
    """
    return depth if depth <= FEW_LAYERS and not remat else 1


def project(equation: str, x: jax.Array, weight: jax.Array | Packed) -> jax.Array:
    """The einsum of activations and a weight, in x's dtype; in float32 of a packed weight.

    weight: numbers, bfloat16's bits (see model.bits) or packed for a CPU (see model.packed).
    Sums are kept in float32 whatever the operands: it is what accelerators do anyway, and on a CPU
    a bfloat16 product asked for this way is three times as fast. Who rounds them: model.target.
    """
    if isinstance(weight, Packed):
        return weight.product(equation, x)
    sums = x.dtype if target().narrow_products else jnp.float32
    product = jnp.einsum(equation, x, numbers(weight, x.dtype), preferred_element_type=sums)
    return product.astype(x.dtype)


LOW_RANK = "low_rank"
"""The collection of variables that holds adapters, where there are any."""


def adapted_project(
    module: nn.Module, name: str, equation: str, x: jax.Array, weight: jax.Array | Packed
) -> jax.Array:
    """`project`, and the low-rank correction of `weight` that the variables hold under `name`.

    The correction is a pair: `a`, from what the weight contracts to r channels, and `b`, from
    these to the rest of the weight's axes; y = x · W + (x · a) · b.
    Hu et al., 2021, https://arxiv.org/abs/2106.09685.
    """
    y = project(equation, x, weight)
    if not module.has_variable(LOW_RANK, name):
        return y
    inputs, output = equation.split("->")
    ours, theirs = inputs.split(",")
    summed = "".join(axis for axis in theirs if axis in ours and axis not in output)
    kept = "".join(axis for axis in ours if axis not in summed)
    rest = "".join(axis for axis in theirs if axis not in summed)
    pair: dict[str, jax.Array] = module.get_variable(LOW_RANK, name)
    narrow = project(f"{ours},{summed}r->{kept}r", x, pair["a"])
    return y + project(f"{kept}r,r{rest}->{output}", narrow, pair["b"])


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    mask: jax.Array | None = None,
    cap: float | None = None,
) -> jax.Array:
    """Softmax attention with several query heads to a key head.

    q: [B, T, N, H], already scaled. k, v: [B, S, K, H]; query head n reads n // (N / K).
    mask: bool[B, T, S], True where a query may see a key; None where it may see all.
    cap: soft cap on the logits, cap * tanh(logits / cap), applied before the mask.
    Returns [B, T, N, H] in q's dtype; logits and softmax are float32. Where they would be many,
    queries are taken some at a time. For GPUs cuDNN may do it: see model.fused_attention.
    """
    if fits(q, cap):
        return fused_attend(q, k, v, mask)
    B, T, N, H = q.shape
    of_a_query = B * N * k.shape[1]
    logits = FAST_LOGITS if FEWEST_QUERIES * of_a_query <= FAST_LOGITS else MOST_LOGITS
    at_once = max(FEWEST_QUERIES, logits // of_a_query)
    if at_once >= T:
        return _attend_at_once(q, k, v, mask, cap)
    blocks = -(-T // at_once)
    size = -(-T // blocks)

    def split(x: jax.Array) -> jax.Array:
        """[B, T, …] -> [blocks, B, size, …], with queries that nobody asked at the end."""
        x = jnp.pad(x, ((0, 0), (0, blocks * size - T), *[(0, 0)] * (x.ndim - 2)))
        return jnp.moveaxis(x.reshape(B, blocks, size, *x.shape[2:]), 1, 0)

    if mask is None:
        out = jax.lax.map(lambda q: _attend_at_once(q, k, v, None, cap), split(q))
    else:
        pairs = split(q), split(mask)
        out = jax.lax.map(lambda pair: _attend_at_once(pair[0], k, v, pair[1], cap), pairs)
    return jnp.moveaxis(out, 0, 1).reshape(B, blocks * size, N, H)[:, :T]


def attend_layer(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    layer: jax.Array | int,
    mask: jax.Array | None,
    cap: float | None,
    on_kernels: bool,
) -> jax.Array:
    """`attend`, to one layer of k and v [L, B, S, K, H], which are numbers or bfloat16's bits.

    on_kernels: whether the CPU kernels do it, in float32, which need no copy of the layer.
    """
    if on_kernels:
        return attention(q, k, v, layer, mask, cap)
    k, v = (jax.lax.dynamic_index_in_dim(stack, layer, keepdims=False) for stack in (k, v))
    return attend(q, numbers(k, q.dtype), numbers(v, q.dtype), mask, cap)


def _attend_at_once(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None, cap: float | None
) -> jax.Array:
    B, T, N, H = q.shape
    K = k.shape[2]
    grouped = q.reshape(B, T, K, N // K, H)
    logits = jnp.einsum("BTKGH,BSKH->BKGTS", grouped, k, preferred_element_type=jnp.float32)
    if cap is not None:
        logits = soft_cap(logits, cap)
    if mask is not None:
        logits = jnp.where(mask[:, None, None], logits, MASKED)
    weights = jax.nn.softmax(logits, axis=-1)
    return project("BKGTS,BSKH->BTKGH", weights.astype(q.dtype), v).reshape(B, T, N, H)


def soft_cap(logits: jax.Array, cap: float) -> jax.Array:
    """Squeezes logits into (-cap, cap), close to the identity around 0."""
    return cap * jnp.tanh(logits / cap)


def fan_in(*in_axes: int) -> nn.initializers.Initializer:
    """Normal initialisation that keeps variance, for a kernel whose inputs run over `in_axes`."""

    def init(key, shape, dtype=jnp.float32):
        inputs = 1
        for axis in in_axes:
            inputs *= shape[axis]
        return jax.random.normal(key, shape, dtype) * inputs**-0.5

    return init


class Affine(nn.Module):
    """x · kernel + bias by an einsum; the bias has the kernel's last `bias_axes` axes.

    layer: its number, where it is one of a stack.
    """

    equation: str
    kernel_shape: tuple[int, ...]
    bias_axes: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, layer: jax.Array | None = None) -> jax.Array:
        inputs = range(len(self.kernel_shape) - self.bias_axes)
        kernel = weight(self, "kernel", fan_in(*inputs), self.kernel_shape, layer)
        bias = self.param("bias", nn.initializers.zeros, self.kernel_shape[-self.bias_axes :])
        return project(self.equation, x, kernel) + bias.astype(x.dtype)
