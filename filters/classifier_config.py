"""How an operator describes a classifier of pictures: its input, its output and its thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from filters.activation import ACTIVATIONS
from filters.doubt import DoubtPolicy
from filters.hints import hint

LAYOUTS = ("NHWC", "NCHW")
CHANNELS = ("RGB", "BGR")


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """How to ask a model, and what to do with its answer.

    path: a file .onnx, or a folder with a saved_model.pb. sha256: of the file or, for a folder, of
        its saved_model.pb and variables (see `model_digest`); None takes what is there.
    size: (height, width) in pixels of the model's input. resize: (height, width) that a picture is
        first scaled to, and from whose centre `size` is cut; None scales to `size` at once.
    scale, mean, std: a channel's input is (level × scale - mean) / std with levels 0 to 255; one
        number for all channels or one for each, in the model's order of channels.
    layout: NHWC or NCHW. channels: RGB or BGR.
    output: name of the output; None takes the first. activation: what makes scores of it.
    threads: for one call of onnxruntime. batch: pictures a call.
    labels: index in the output to the score's name; the other indices aren't looked at.
    drop: score's name to the lowest score that is dropped. doubt: the same for quarantine.
    """

    name: str
    path: Path
    size: tuple[int, int]
    labels: Mapping[int, str]
    drop: Mapping[str, float]
    doubt: Mapping[str, float] = field(default_factory=dict)
    sha256: str | None = None
    resize: tuple[int, int] | None = None
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: str = "NHWC"
    channels: str = "RGB"
    output: str | None = None
    activation: str = "none"
    threads: int = 1
    batch: int = 16

    def __post_init__(self) -> None:
        for option, allowed in (
            ("layout", LAYOUTS),
            ("channels", CHANNELS),
            ("activation", ACTIVATIONS),
        ):
            if getattr(self, option) not in allowed:
                raise ValueError(self._says(option, f"must be one of {', '.join(allowed)}"))
        for option in ("mean", "std"):
            if len(getattr(self, option)) not in (1, 3):
                raise ValueError(self._says(option, "has one number, or one for each channel"))
        if not all(self.std):
            raise ValueError(self._says("std", "must not be 0"))
        if min(self.batch, self.threads) < 1:
            raise ValueError(self._says("batch", f"and threads {self.threads} must be at least 1"))
        for option in ("size", "resize"):
            if getattr(self, option) is not None and len(getattr(self, option)) != 2:
                raise ValueError(self._says(option, "must be a height and a width"))
        if not self.labels or min(self.labels) < 0:
            raise ValueError(self._says("labels", "must map an index from 0 on to a name"))
        if self.resize is not None and any(np.less(self.resize, self.size)):
            raise ValueError(self._says("resize", f"is smaller than size {self.size}"))
        for option in ("drop", "doubt"):
            for label in getattr(self, option).keys() - set(self.labels.values()):
                raise ValueError(self._says(option, f"names {label!r}, which is not among labels"))
        self.policy()

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> ClassifierConfig:
        """Of plain values, as YAML has them; ValueError for an option unknown or missing."""
        known = {one.name: one for one in fields(cls)}
        for option in options.keys() - known.keys():
            raise ValueError(f"classifier: unknown option {option}: {hint(option, known)}")
        values = dict(options)
        for option in ("name", "path", "size", "labels", "drop"):
            if option not in values:
                raise ValueError(f"classifier: the option {option} is missing")
        values["path"] = Path(values["path"])
        values["labels"] = {int(index): str(name) for index, name in values["labels"].items()}
        for option in ("size", "resize", "mean", "std"):
            if values.get(option) is not None:
                values[option] = tuple(np.atleast_1d(values[option]).tolist())
        return cls(**values)

    def policy(self) -> DoubtPolicy:
        return DoubtPolicy(self.drop, self.doubt)

    def _says(self, option: str, problem: str) -> str:
        return f"classifier {self.name}: {option} {getattr(self, option)!r} {problem}"
