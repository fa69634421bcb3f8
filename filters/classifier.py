"""An operator's own classifier of pictures, an ONNX file or a TensorFlow SavedModel."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from filters import onnx
from filters.activation import activated
from filters.classifier_config import ClassifierConfig
from filters.contract import BackendDown, Filter, Item, Scores, Subject

# Of a SavedModel: what its makers call it when they leave it to TensorFlow.
SIGNATURE = "serving_default"


@dataclass(frozen=True)
class Classifier:
    """The scores of an operator's model. Needs pixels."""

    config: ClassifierConfig

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def version(self) -> str:
        return f"sha256:{model_digest(self.config.path)}"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        able = [item.pixels for item in items if item.pixels is not None]
        found = iter(self._scores(able))
        return [
            Scores(missing="no_pixels") if item.pixels is None else next(found) for item in items
        ]

    def _scores(self, pictures: Sequence[np.ndarray]) -> list[Scores]:
        config, found = self.config, []
        self._check_digest()
        for start in range(0, len(pictures), config.batch):
            batch = [model_input(p, config) for p in pictures[start : start + config.batch]]
            answers = activated(_run(config, np.stack(batch)), config.activation)
            if answers.ndim != 2 or answers.shape[1] <= max(config.labels):
                raise ValueError(f"{config.path}: an output {answers.shape} hasn't all the labels")
            found += [
                Scores({name: float(row[index]) for index, name in config.labels.items()})
                for row in answers
            ]
        return found

    def _check_digest(self) -> None:
        """Not a single score of a model that isn't the one asked for."""
        digest = model_digest(self.config.path)
        if self.config.sha256 not in (None, digest):
            raise BackendDown(
                f"{self.config.path}: its SHA-256 is {digest}, and the config asks for "
                f"{self.config.sha256}: put the right model there, or change sha256"
            )


def classifier_filter(config: ClassifierConfig, fail_open: bool = False) -> Filter:
    """Drops and quarantines by the operator's model; the reason is the score's name."""
    return Filter(config.name, Subject.IMAGE, Classifier(config), config.policy(), fail_open)


def model_input(pixels: np.ndarray, config: ClassifierConfig) -> np.ndarray:
    """float32[H,W,3] or float32[3,H,W] of uint8[h,w,3], as the model wants it."""
    image = Image.fromarray(pixels)
    height, width = config.resize or config.size
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    top, left = (height - config.size[0]) // 2, (width - config.size[1]) // 2
    image = image.crop((left, top, left + config.size[1], top + config.size[0]))
    levels = np.asarray(image, np.float32)
    if config.channels == "BGR":
        levels = levels[:, :, ::-1]
    mean, std = np.array(config.mean, np.float32), np.array(config.std, np.float32)
    levels = (levels * np.float32(config.scale) - mean) / std
    return levels.transpose(2, 0, 1) if config.layout == "NCHW" else levels


@lru_cache(maxsize=64)
def model_digest(path: Path) -> str:
    """SHA-256 of a file; of a SavedModel, of the names and digests of the files that make it up.

    BackendDown where there is no model.
    """
    if path.is_file():
        return onnx.file_digest(path)
    if not (path / "saved_model.pb").is_file():
        raise BackendDown(f"{path}: neither a file .onnx nor a folder with a saved_model.pb")
    content = hashlib.sha256()
    for pattern in ("saved_model.pb", "variables/*", "assets/*"):
        for part in sorted(path.glob(pattern)):
            content.update(f"{part.relative_to(path)}\0{onnx.file_digest(part)}\n".encode())
    return content.hexdigest()


def _run(config: ClassifierConfig, batch: np.ndarray) -> np.ndarray:
    if config.path.suffix == ".onnx":
        return onnx.run(config.path, config.threads, batch, config.output)
    answer = _signature(config.path)(batch)
    if config.output is not None and config.output not in answer:
        names = ", ".join(sorted(answer))
        raise ValueError(f"{config.path}: no output {config.output!r}; it has {names}")
    return answer[config.output or min(answer)].numpy()


@lru_cache(maxsize=8)
def _signature(path: Path) -> Any:
    """A function of one batch float32[B,...] that gives a dict of tensors."""
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    if SIGNATURE not in model.signatures:
        raise ValueError(f"{path}: no signature {SIGNATURE}; save the model with one")
    signature = model.signatures[SIGNATURE]
    (argument,) = signature.structured_input_signature[1]
    # A signature alone doesn't keep its variables alive.
    return lambda batch, model=model: signature(**{argument: tf.constant(batch)})
