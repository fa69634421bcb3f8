"""Low-rank adapters of the decoder: which arrays have them, how they begin, how they are merged.

Hu et al., 2021, https://arxiv.org/abs/2106.09685. The network adds them to its products
(`model.layers.adapted_project`); merged into the weights they leave no trace.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import jax
import jax.numpy as jnp

from model.config import PaliGemmaConfig
from model.layers import LOW_RANK

LAYERS = "llm/layers/"


@dataclass(frozen=True)
class LoraSpec:
    """rank: channels between the pair. alpha: the pair's product counts alpha / rank times."""

    rank: int
    alpha: float

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


@dataclass(frozen=True)
class _Target:
    """An array of a layer (or one half of it), its axes by letters, and those it contracts."""

    adapter: str
    array: str
    axes: str
    contracted: str
    half: int | None = None

    @property
    def rest(self) -> str:
        return "".join(axis for axis in self.axes if axis not in self.contracted)


_TARGETS = (
    _Target("attn/q_einsum/w", "attn/q_einsum/w", "NDH", "D"),
    _Target("attn/kv_einsum/w", "attn/kv_einsum/w", "CKDH", "D"),
    _Target("attn/attn_vec_einsum/w", "attn/attn_vec_einsum/w", "NHD", "NH"),
    _Target("mlp/gate", "mlp/gating_einsum", "DF", "D", half=0),
    _Target("mlp/up", "mlp/gating_einsum", "DF", "D", half=1),
    _Target("mlp/linear", "mlp/linear", "FD", "F"),
)


def init_adapters(config: PaliGemmaConfig, spec: LoraSpec, seed: int) -> dict[str, jax.Array]:
    """float32 adapters by name, `low_rank/llm/layers/attn/q_einsum/w/a` for instance.

    `b` begins at zero, so that training begins at the model as it was.
    """
    language = config.language
    size = {
        "N": language.num_heads,
        "K": language.num_kv_heads,
        "D": language.width,
        "H": language.head_dim,
        "F": language.mlp_dim,
        "C": 2,
    }

    def init() -> dict[str, jax.Array]:
        adapters = {}
        for number, target in enumerate(_TARGETS):
            inputs = [size[axis] for axis in target.contracted]
            outputs = [size[axis] for axis in target.rest]
            key = jax.random.fold_in(jax.random.key(seed), number)
            a = jax.random.normal(key, (language.depth, *inputs, spec.rank))
            name = f"{LOW_RANK}/{LAYERS}{target.adapter}"
            adapters[f"{name}/a"] = a * prod(inputs) ** -0.5
            adapters[f"{name}/b"] = jnp.zeros((language.depth, spec.rank, *outputs))
        return adapters

    return jax.jit(init)()


def scaled(variables: dict[str, jax.Array], spec: LoraSpec) -> dict[str, jax.Array]:
    """The adapters as the network takes them, which knows no alpha; other arrays as they are."""
    return {
        name: value * spec.scale if _is_adapter(name) and name.endswith("/a") else value
        for name, value in variables.items()
    }


def merged(variables: dict[str, jax.Array], spec: LoraSpec) -> dict[str, jax.Array]:
    """The parameters alone, adapters added to them in float32; each keeps its type."""
    result = {name: value for name, value in variables.items() if not _is_adapter(name)}
    for target in _TARGETS:
        pair = f"{LOW_RANK}/{LAYERS}{target.adapter}"
        equation = f"L{target.contracted}r,Lr{target.rest}->L{target.axes}"
        delta = spec.scale * jnp.einsum(equation, variables[f"{pair}/a"], variables[f"{pair}/b"])
        name = f"params/{LAYERS}{target.array}"
        whole = result[name].astype(jnp.float32)
        at = (slice(None),) if target.half is None else (slice(None), target.half)
        result[name] = whole.at[at].add(delta).astype(result[name].dtype)
    return result


def _is_adapter(name: str) -> bool:
    return name.startswith(f"{LOW_RANK}/")
