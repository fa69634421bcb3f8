"""`config.json` of a Hugging Face PaliGemma as the network's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.checkpoint.errors import CheckpointError, Shape
from model.checkpoint.layout import Prefixes
from model.config import VOCABULARY, GemmaConfig, PaliGemmaConfig, VisionConfig
from model.gemma import RMS_NORM_EPSILON, ROPE_MAX_WAVELENGTH
from model.vision import LAYER_NORM_EPSILON

# What transformers takes where a file says nothing.
IMAGE_SIZE = 224
PATCH_SIZE = 14
GEMMA2_QUERY_SCALAR = 256
GEMMA2_ATTENTION_CAP = 50.0
GEMMA2_FINAL_CAP = 30.0


def parse_config(
    path: str, content: dict, prefixes: Prefixes, shapes: Mapping[str, Shape]
) -> PaliGemmaConfig:
    """The network's configuration.

    path: of `config.json`, for messages. content: what it holds. shapes: of the tensors, from
    which comes what the file may omit (head_dim) or have wrong (its top-level vocab_size).
    Raises CheckpointError for another model's, and for a setting the network doesn't have.
    """
    if content.get("model_type") != "paligemma":
        raise CheckpointError(
            path, f"model_type is {content.get('model_type')!r}; expected 'paligemma'"
        )
    try:
        return PaliGemmaConfig(
            _vision(Section(path, "vision_config", content)),
            _language(Section(path, "text_config", content), content, prefixes, shapes),
        )
    except CheckpointError:
        raise
    except ValueError as error:
        raise CheckpointError(path, str(error)) from error


class Section:
    """One part of the file; a number that is asked for and not there is an error that names it."""

    def __init__(self, path: str, name: str, content: dict):
        self.path = path
        self.name = name
        values = content.get(name)
        if not isinstance(values, dict):
            raise CheckpointError(path, f"has no {name}")
        self.values: dict[str, Any] = values

    def __getitem__(self, key: str) -> int:
        if not isinstance(self.values.get(key), int):
            raise CheckpointError(self.path, f"{self.name} has no whole number {key}")
        return self.values[key]

    def get(self, key: str, default: Any) -> Any:
        return self.values.get(key, default)

    def expect(self, key: str, value: float) -> None:
        """Refuses a constant that the network has fixed at another value."""
        if self.get(key, value) != value:
            raise CheckpointError(
                self.path, f"{self.name} has {key} {self.get(key, None)}; PaliGemma has {value}"
            )


def _vision(section: Section) -> VisionConfig:
    section.expect("layer_norm_eps", LAYER_NORM_EPSILON)
    return VisionConfig(
        image_size=section.get("image_size", IMAGE_SIZE),
        patch_size=section.get("patch_size", PATCH_SIZE),
        width=section["hidden_size"],
        depth=section["num_hidden_layers"],
        mlp_dim=section["intermediate_size"],
        num_heads=section["num_attention_heads"],
    )


def _language(
    section: Section, content: dict, prefixes: Prefixes, shapes: Mapping[str, Shape]
) -> GemmaConfig:
    section.expect("rms_norm_eps", RMS_NORM_EPSILON)
    _expect_plain_rope(section)
    family = section.get("model_type", "gemma")
    if family not in ("gemma", "gemma2"):
        raise CheckpointError(
            section.path, f"text_config is of {family!r}; expected 'gemma' or 'gemma2'"
        )
    gemma2 = family == "gemma2"
    num_heads = section["num_attention_heads"]
    head_dim = section.get("head_dim", None) or _head_dim(section, prefixes, shapes, num_heads)
    scalar = section.get("query_pre_attn_scalar", GEMMA2_QUERY_SCALAR) if gemma2 else head_dim
    return GemmaConfig(
        width=section["hidden_size"],
        depth=section["num_hidden_layers"],
        mlp_dim=section["intermediate_size"],
        num_heads=num_heads,
        num_kv_heads=section["num_key_value_heads"],
        head_dim=head_dim,
        query_scale=scalar**-0.5,
        vocab_size=_vocabulary(section, content, prefixes, shapes),
        attention_cap=section.get("attn_logit_softcapping", GEMMA2_ATTENTION_CAP)
        if gemma2
        else None,
        final_cap=section.get("final_logit_softcapping", GEMMA2_FINAL_CAP) if gemma2 else None,
        post_norms=gemma2,
        tied=_tied(section, content, prefixes, shapes),
    )


def _expect_plain_rope(section: Section) -> None:
    section.expect("rope_theta", ROPE_MAX_WAVELENGTH)
    rope = section.get("rope_parameters", None) or section.get("rope_scaling", None) or {}
    kind = rope.get("rope_type", "default")
    theta = rope.get("rope_theta", ROPE_MAX_WAVELENGTH)
    if (kind, theta) != ("default", ROPE_MAX_WAVELENGTH):
        raise CheckpointError(
            section.path,
            f"text_config has rope_type {kind!r}, rope_theta {theta}; "
            f"PaliGemma has 'default', {ROPE_MAX_WAVELENGTH}",
        )


def _head_dim(
    section: Section, prefixes: Prefixes, shapes: Mapping[str, Shape], num_heads: int
) -> int:
    name = f"{prefixes.language}layers.0.self_attn.q_proj.weight"
    if name not in shapes:
        raise CheckpointError(section.path, f"text_config has no head_dim and no tensor is {name}")
    return shapes[name][0] // num_heads


def _vocabulary(
    section: Section, content: dict, prefixes: Prefixes, shapes: Mapping[str, Shape]
) -> int:
    """Rows of the embedding that are tokens.

    The placeholder for image tokens is the first id behind the vocabulary; rows from there on are
    noise.
    """
    rows = shapes.get(prefixes.embedding, (section["vocab_size"],))[0]
    image_token = content.get("image_token_index", content.get("image_token_id", VOCABULARY))
    return min(rows, image_token)


def _tied(section: Section, content: dict, prefixes: Prefixes, shapes: Mapping[str, Shape]) -> bool:
    """Untied only where the file says so and has both tables to show for it."""
    tied = content.get("tie_word_embeddings", section.get("tie_word_embeddings", True))
    return tied or prefixes.embedding == prefixes.head or prefixes.head not in shapes
