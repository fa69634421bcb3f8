"""Writes what was trained in the formats that others load."""

from __future__ import annotations

import os
from pathlib import Path

from model.annotator import TOKENIZER
from model.checkpoint import save_npz
from model.training.trainer import Trainer
from pipelines.finetune_plan import TrainingPlan

NPZ = "model.npz"


def export(plan: TrainingPlan, trainer: Trainer) -> list[Path]:
    """The checkpoint as `.npz` with its tokenizer beside it; returns what to load."""
    params = trainer.params()
    path = plan.output / NPZ
    partial = path.with_suffix(".partial")
    save_npz(str(partial), params, plan.export_dtype)
    os.replace(partial, path)
    (plan.output / TOKENIZER).write_bytes(plan.tokenizer_bytes)
    return [path]
