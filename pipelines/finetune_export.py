"""Writes what was trained in the formats that others load."""

from __future__ import annotations

import os
from pathlib import Path

from model.annotator import TOKENIZER
from model.checkpoint import save_hugging_face, save_npz
from model.training.trainer import Trainer
from pipelines.finetune_plan import TrainingPlan

NPZ = "model.npz"
HUGGING_FACE = "hugging-face"


def export(plan: TrainingPlan, trainer: Trainer) -> list[Path]:
    """The model as `.npz` and as a Hugging Face folder, each with its tokenizer.

    Returns what `--checkpoint` takes. A `.npz` holds no soft cap of the final logits; where there
    is one, it has to be named again with `--final-logit-cap`.
    """
    params = trainer.params()
    npz, folder = plan.output / NPZ, plan.output / HUGGING_FACE
    partial = npz.with_suffix(".partial")
    save_npz(str(partial), params, plan.export_dtype)
    os.replace(partial, npz)
    save_hugging_face(folder, plan.config, params, plan.export_dtype)
    for place in (plan.output, folder):
        (place / TOKENIZER).write_bytes(plan.tokenizer_bytes)
    return [npz, folder]
