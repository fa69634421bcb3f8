"""A tiny checkpoint with random weights, for seeing the system work without a download.

Same network, same file formats as the released models; what it writes means nothing, and its
name says so wherever it appears. `python -m model.tiny.build` makes its two files again.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent

NAME = "palipipe-tiny-random"
"""What rows and reports call the model."""

TOKENIZER = FOLDER / "tokenizer.model"
CHECKPOINT = FOLDER / f"{NAME}.npz"
