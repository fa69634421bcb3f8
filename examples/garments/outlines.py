"""Typical outlines: the few shapes of masks that the small model learns to draw.

    outlines = Outlines.load(small.OUTLINES, small.MASK_CODEC)
    codes = outlines.codes[outlines.numbers(scene)]

Sixteen codes of an outline of its own say more of a garment than a small model can see. In the
corpus each garment has the codes of the outline of its kind that covers it best.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples.garments.fashion import KINDS
from examples.garments.scenes import Scene, Studio
from model.mask_codec import MaskDecoder
from model.mask_encoder import MaskEncoder, crop

PER_KIND = 8

_SEED = 99
_SCENES = 3000
# Masks are compared in cells of so many pixels.
_CELL = 4


@dataclass(frozen=True)
class Outlines:
    """shapes: bool[KINDS * 8, 64, 64], as decoded. codes: int32[KINDS * 8, 16]; kind by kind."""

    shapes: np.ndarray
    codes: np.ndarray

    @classmethod
    def load(cls, path: Path, codec: Path) -> Outlines:
        """path: what `save` wrote. codec: in the layout of `vae-oid.npz`, that the codes are of."""
        with np.load(path, allow_pickle=False) as arrays:
            codes = arrays["codes"].astype(np.int32)
        return cls(MaskDecoder.load(codec).decode(codes) > 0, codes)

    def save(self, path: Path) -> None:
        """The codes alone, as an .npz of bytes."""
        np.savez(path, codes=self.codes.astype(np.uint8))

    @classmethod
    def typical(cls, studio: Studio, codec: Path) -> Outlines:
        """The centres of eight clusters of each kind's masks; the same for the same arguments."""
        masks: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS.values()}
        for number in range(_SCENES):
            for garment in studio.scene(_SEED, number).garments:
                masks[garment.kind].append(crop(garment.mask, garment.box))
        centres = np.concatenate([_centres(np.stack(each)) for each in masks.values()])
        codes = MaskEncoder.load(codec).encode(centres)
        return cls(MaskDecoder.load(codec).decode(codes) > 0, codes)

    def numbers(self, scene: Scene) -> list[int]:
        """Which outline of its kind fits each garment best."""
        return [self._number(each.kind, crop(each.mask, each.box)) for each in scene.garments]

    def _number(self, kind: str, mask: np.ndarray) -> int:
        first = list(KINDS.values()).index(kind) * PER_KIND
        shapes, there = self.shapes[first : first + PER_KIND], mask > 0
        common = (shapes & there).sum(axis=(1, 2))
        return first + int(np.argmax(common / (shapes | there).sum(axis=(1, 2))))


def _centres(masks: np.ndarray) -> np.ndarray:
    """float32[N, 64, 64] -> float32[8, 64, 64] of -1 and 1: where most of a cluster's masks are."""
    from sklearn.cluster import KMeans

    side = masks.shape[1] // _CELL
    cells = masks.reshape(-1, side, _CELL, side, _CELL).mean(axis=(2, 4)).reshape(len(masks), -1)
    labels = KMeans(PER_KIND, n_init=1, random_state=0).fit_predict(cells)
    means = np.stack([masks[labels == label].mean(axis=0) for label in range(PER_KIND)])
    return np.where(means > 0, 1, -1).astype(np.float32)
