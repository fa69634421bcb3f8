"""A configuration as JSON, for models that begin from nothing.

    {"vision": {"image_size": 224, "width": 64, "depth": 2, "mlp_dim": 128, "num_heads": 4},
     "language": {"width": 64, "depth": 2, "mlp_dim": 128, "num_heads": 4, "num_kv_heads": 1,
                  "head_dim": 16, "vocab_size": 2048}}

Names are those of `model.config`; what has a default there may be left out, and so may
`query_scale`, which is head_dim ** -0.5 in all Gemmas but one.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, TypeVar

from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig
from model.errors import ModelError


class ConfigError(ModelError):
    """A file that is no configuration of a PaliGemma; the message names what is off."""


Part = TypeVar("Part", VisionConfig, GemmaConfig)


def read_config_json(path: str | Path) -> PaliGemmaConfig:
    """Raises ConfigError."""
    try:
        content = json.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is no JSON ({error})") from error
    if not isinstance(content, dict) or set(content) != {"vision", "language"}:
        raise ConfigError(f'{path}: expected {{"vision": {{…}}, "language": {{…}}}}')
    language = content["language"]
    if isinstance(language, dict) and isinstance(language.get("head_dim"), int):
        language = {"query_scale": language["head_dim"] ** -0.5} | language
    return PaliGemmaConfig(
        _part(path, "vision", VisionConfig, content["vision"]),
        _part(path, "language", GemmaConfig, language),
    )


def _part(path: str | Path, name: str, kind: type[Part], values: Any) -> Part:
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {name} is no object of settings")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in values.items():
        if key not in fields:
            raise ConfigError(f"{path}: {name} has no setting {key}; it has {', '.join(fields)}")
        wanted = fields[key].type
        if not _is(value, str(wanted)):
            raise ConfigError(f"{path}: {name}.{key} is {value!r}; expected {wanted}")
    missing = [
        key
        for key, field in fields.items()
        if key not in values and field.default is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"{path}: {name} lacks {', '.join(missing)}")
    try:
        return kind(**values)
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"{path}: {name}: {error}") from error


def _is(value: Any, wanted: str) -> bool:
    """Whether a JSON value is of a field's declared type."""
    if value is None:
        return wanted.endswith("| None")
    if isinstance(value, bool):
        return wanted == "bool"
    if wanted == "int":
        return isinstance(value, int) and value > 0
    return wanted.startswith("float") and isinstance(value, int | float)
