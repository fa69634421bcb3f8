"""SigLIP: from pixels to the tokens the decoder reads.

Module and parameter names are those of the research release, so that its checkpoints load by
identity; layers are stacked on a leading axis and run by a scan.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from model.config import VisionConfig
from model.layers import Affine, attend_layer, unrolled
from model.packed import PACKED, on_kernels

LAYER_NORM_EPSILON = 1e-6


def normalise(images: jax.Array, dtype: DTypeLike) -> jax.Array:
    """uint8 levels 0 to 255, as they are sent to the device, to -1 … 1."""
    return (images.astype(jnp.float32) / 255 * 2 - 1).astype(dtype)


class SelfAttention(nn.Module):
    """Every patch sees every patch: [B, N, E] -> [B, N, E]."""

    config: VisionConfig

    @nn.compact
    def __call__(self, x: jax.Array, layer: jax.Array) -> jax.Array:
        c = self.config
        shape = (c.width, c.num_heads, c.head_dim)
        q, k, v = (
            Affine("BNE,EKH->BNKH", shape, bias_axes=2, name=name)(x, layer)
            for name in ("query", "key", "value")
        )
        q = q * c.head_dim**-0.5
        out = attend_layer(q, k[None], v[None], 0, None, None, on_kernels(self))
        return Affine("BNKH,KHE->BNE", (c.num_heads, c.head_dim, c.width), name="out")(out, layer)


class Mlp(nn.Module):
    """[B, N, E] -> [B, N, E] through a tanh-approximated GELU."""

    config: VisionConfig

    @nn.compact
    def __call__(self, x: jax.Array, layer: jax.Array) -> jax.Array:
        c = self.config
        x = Affine("BNE,EF->BNF", (c.width, c.mlp_dim), name="Dense_0")(x, layer)
        x = nn.gelu(x, approximate=True)
        return Affine("BNF,FE->BNE", (c.mlp_dim, c.width), name="Dense_1")(x, layer)


class Block(nn.Module):
    """One pre-norm layer, in the form a scan wants: carry, the layer's number, and no output."""

    config: VisionConfig

    @nn.compact
    def __call__(self, x: jax.Array, layer: jax.Array) -> tuple[jax.Array, None]:
        x = x + SelfAttention(self.config, name="MultiHeadDotProductAttention_0")(
            layer_norm("LayerNorm_0", x.dtype)(x), layer
        )
        x = x + Mlp(self.config, name="MlpBlock_0")(layer_norm("LayerNorm_1", x.dtype)(x), layer)
        return x, None


class Transformer(nn.Module):
    """All layers and the final norm: [B, N, E] -> [B, N, E]."""

    config: VisionConfig
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        blocks = nn.scan(
            nn.remat(Block, prevent_cse=False) if self.remat else Block,
            variable_axes={"params": 0},
            variable_broadcast=PACKED,
            split_rngs={"params": True},
            length=self.config.depth,
            unroll=unrolled(self.config.depth, self.remat),
        )
        x, _ = blocks(self.config, name="encoderblock")(x, jnp.arange(self.config.depth))
        return layer_norm("encoder_norm", x.dtype)(x)


class SigLIP(nn.Module):
    """uint8[B, S, S, 3] -> image tokens [B, N, D], N = (S / patch)²; no class token, no pooling.

    width: D, of the decoder that reads the tokens.
    remat: a layer's insides are computed again for its gradient, instead of being kept.
    """

    config: VisionConfig
    width: int
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        c = self.config
        side, P = c.image_size // c.patch_size, c.patch_size
        if images.shape[1:] != (c.image_size, c.image_size, 3):
            raise ValueError(
                f"images of shape {images.shape}; the model sees "
                f"[B, {c.image_size}, {c.image_size}, 3]"
            )
        # A convolution whose stride is its kernel is one product for each patch.
        patches = normalise(images, self.dtype).reshape(-1, side, P, side, P, 3)
        x = Affine("BhiwjC,ijCE->BhwE", (P, P, 3, c.width), name="embedding")(patches)
        x = x.reshape(-1, c.tokens, c.width)
        positions = self.param(
            "pos_embedding",
            nn.initializers.normal(c.width**-0.5),
            (1, c.tokens, c.width),
        )
        x = Transformer(c, self.remat, name="Transformer")(x + positions.astype(x.dtype))
        return Affine("BNE,ED->BND", (c.width, self.width), name="head")(x)


def layer_norm(name: str, dtype: DTypeLike) -> nn.LayerNorm:
    """LayerNorm with scale and bias, its statistics in float32."""
    return nn.LayerNorm(epsilon=LAYER_NORM_EPSILON, dtype=dtype, name=name)
