"""Parameter trees as flat dictionaries of slash-separated names, and their shapes."""

from __future__ import annotations

from typing import Any

from flax.traverse_util import flatten_dict, unflatten_dict

from model.checkpoint.errors import Shape
from model.config import PaliGemmaConfig
from model.paligemma import abstract_params


def flatten(params: dict) -> dict[str, Any]:
    """{"llm": {"final_norm": {"scale": a}}} -> {"llm/final_norm/scale": a}."""
    return flatten_dict(params, sep="/")


def unflatten(arrays: dict[str, Any]) -> dict:
    """The inverse of `flatten`."""
    return unflatten_dict(arrays, sep="/")


def parameter_shapes(config: PaliGemmaConfig) -> dict[str, Shape]:
    """Name to shape of every parameter, nothing being computed."""
    return {name: leaf.shape for name, leaf in flatten(abstract_params(config)).items()}
