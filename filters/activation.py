"""What makes scores of a classifier's outputs."""

from __future__ import annotations

import numpy as np

ACTIVATIONS = ("none", "softmax", "sigmoid")


def activated(outputs: np.ndarray, activation: str) -> np.ndarray:
    """Scores of float[B,L]; in float64, where neither function overflows."""
    outputs = np.asarray(outputs, np.float64)
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(outputs, -700, 700)))
    if activation == "softmax":
        powers = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
    return outputs
