"""The small PaliGemma that comes along: it speaks of garments in scenes, and needs no download.

Same network, same file formats as the released models. It captions, answers, detects, segments and
reads in scenes as `examples.garments` draws them; README.md beside this file says how well, what
its files are made from and how to make them again.
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent

NAME = "palipipe-small-garments"
"""What rows and reports call the model."""

TOKENIZER = FOLDER / "tokenizer.model"
CHECKPOINT = FOLDER / f"{NAME}.npz"
MASK_CODEC = FOLDER / "mask-codec.npz"
"""Encoder and decoder in the layout of `vae-oid.npz`."""

OUTLINES = FOLDER / "outlines.npz"
"""Codes of the typical outlines of garments, see `examples.garments.outlines`."""

MASK_DECODER = MASK_CODEC
