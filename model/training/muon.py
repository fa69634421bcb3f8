"""Muon: steps of orthogonalised momentum for the layers' matrices, AdamW's for all else, both
looking ahead as Nesterov does.

Trains a network from nothing in about half the steps that AdamW takes. Jordan, 2024,
https://kellerjordan.github.io/posts/muon; on AdamW's scale as Liu et al., 2025,
https://arxiv.org/abs/2502.16982.
"""

from __future__ import annotations

from typing import Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

# By the end of the parameter's name: the axes that are summed over, and those that come out. Axes
# before them count layers, or matrices that lie beside each other.
_MATRICES = {
    "query/kernel": ((1,), (2, 3)),
    "key/kernel": ((1,), (2, 3)),
    "value/kernel": ((1,), (2, 3)),
    "out/kernel": ((1, 2), (3,)),
    "Dense_0/kernel": ((1,), (2,)),
    "Dense_1/kernel": ((1,), (2,)),
    "q_einsum/w": ((2,), (1, 3)),
    "kv_einsum/w": ((3,), (2, 4)),
    "attn_vec_einsum/w": ((1, 2), (3,)),
    "gating_einsum": ((2,), (3,)),
    "mlp/linear": ((1,), (2,)),
}


def muon_with_adam(
    matrices: optax.Schedule, others: optax.Schedule, weight_decay: float
) -> optax.GradientTransformation:
    """matrices, others: learning rates, 0.02 and 0.002 for instance.

    weight_decay: of the matrices, per step and unit of their learning rate.
    """
    return muon(
        matrices,
        weight_decay=weight_decay,
        adam_b2=0.98,
        adam_learning_rate=others,
        muon_weight_dimension_numbers=_dimensions,
    )


def _dimensions(params: Any) -> Any:
    """For each parameter its axes as a matrix, or None."""

    def of(path: Any, _: Any) -> MuonDimensionNumbers | None:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        found = (axes for end, axes in _MATRICES.items() if name.endswith(end))
        axes = next(found, None)
        return axes and MuonDimensionNumbers(*axes)

    return jax.tree_util.tree_map_with_path(of, params)
