"""A checkpoint's size by its name, where it can't be read: the released ones all say it."""

from __future__ import annotations

import posixpath
import re
from math import prod

from model.annotator import ModelFacts

_NAME = re.compile(r"(paligemma2?)[-_](3b|10b|28b)\b.*?[-_](224|448|896)\b")


def facts_by_name(checkpoint: str) -> ModelFacts | None:
    """What a released model's name tells of it, its digests being left empty."""
    from model.checkpoint.tree import parameter_shapes
    from model.config import CONFIGS

    name = posixpath.basename(checkpoint.rstrip("/"))
    found = _NAME.search(name.lower())
    config = found and CONFIGS.get("-".join(found.groups()))
    if not config:
        return None
    return ModelFacts(
        name=name,
        parameters=sum(map(prod, parameter_shapes(config).values())),
        image_size=config.vision.image_size,
        weights_sha256="",
        tokenizer_sha256="",
        mask_decoder_sha256=None,
        random_weights=False,
    )
