"""Where each array of the network lies in a Hugging Face checkpoint, and how its axes are turned.

A rule reads "network's axes -> tensor's axes", letters in parentheses being flattened into one:
`n d h -> (n h) d` is a query projection of n heads. Layers are stacked in the network and apart in
the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from model.checkpoint.errors import CheckpointError, Shape
from model.config import PaliGemmaConfig

VISION_LAYER = "{vision}encoder.layers.{layer}."
BLOCK = "img/Transformer/encoderblock/"
HEADS = "e k h -> (k h) e"

VISION_RULES = (
    ("{vision}embeddings.patch_embedding.weight", "img/embedding/kernel", "i j c e -> e c i j"),
    ("{vision}embeddings.patch_embedding.bias", "img/embedding/bias", "e -> e"),
    ("{vision}embeddings.position_embedding.weight", "img/pos_embedding", "o n e -> (o n) e"),
    ("{vision}post_layernorm.weight", "img/Transformer/encoder_norm/scale", "e -> e"),
    ("{vision}post_layernorm.bias", "img/Transformer/encoder_norm/bias", "e -> e"),
    ("{projector}linear.weight", "img/head/kernel", "e d -> d e"),
    ("{projector}linear.bias", "img/head/bias", "d -> d"),
)

VISION_LAYER_RULES = (
    ("layer_norm1.weight", "LayerNorm_0/scale", "e -> e"),
    ("layer_norm1.bias", "LayerNorm_0/bias", "e -> e"),
    ("layer_norm2.weight", "LayerNorm_1/scale", "e -> e"),
    ("layer_norm2.bias", "LayerNorm_1/bias", "e -> e"),
    ("mlp.fc1.weight", "MlpBlock_0/Dense_0/kernel", "e f -> f e"),
    ("mlp.fc1.bias", "MlpBlock_0/Dense_0/bias", "f -> f"),
    ("mlp.fc2.weight", "MlpBlock_0/Dense_1/kernel", "f e -> e f"),
    ("mlp.fc2.bias", "MlpBlock_0/Dense_1/bias", "e -> e"),
    ("self_attn.q_proj.weight", "MultiHeadDotProductAttention_0/query/kernel", HEADS),
    ("self_attn.k_proj.weight", "MultiHeadDotProductAttention_0/key/kernel", HEADS),
    ("self_attn.v_proj.weight", "MultiHeadDotProductAttention_0/value/kernel", HEADS),
    ("self_attn.q_proj.bias", "MultiHeadDotProductAttention_0/query/bias", "k h -> (k h)"),
    ("self_attn.k_proj.bias", "MultiHeadDotProductAttention_0/key/bias", "k h -> (k h)"),
    ("self_attn.v_proj.bias", "MultiHeadDotProductAttention_0/value/bias", "k h -> (k h)"),
    (
        "self_attn.out_proj.weight",
        "MultiHeadDotProductAttention_0/out/kernel",
        "k h e -> e (k h)",
    ),
    ("self_attn.out_proj.bias", "MultiHeadDotProductAttention_0/out/bias", "e -> e"),
)

LANGUAGE_LAYER = "{language}layers.{layer}."

# An index behind the name picks one of the two halves that the network keeps in one array.
LANGUAGE_LAYER_RULES = (
    ("self_attn.q_proj.weight", "attn/q_einsum/w", "n d h -> (n h) d"),
    ("self_attn.k_proj.weight", "attn/kv_einsum/w:0", "k d h -> (k h) d"),
    ("self_attn.v_proj.weight", "attn/kv_einsum/w:1", "k d h -> (k h) d"),
    ("self_attn.o_proj.weight", "attn/attn_vec_einsum/w", "n h d -> d (n h)"),
    ("mlp.gate_proj.weight", "mlp/gating_einsum:0", "d f -> f d"),
    ("mlp.up_proj.weight", "mlp/gating_einsum:1", "d f -> f d"),
    ("mlp.down_proj.weight", "mlp/linear", "f d -> d f"),
    ("input_layernorm.weight", "pre_attention_norm/scale", "d -> d"),
)

GEMMA1_NORM_RULES = (("post_attention_layernorm.weight", "pre_ffw_norm/scale", "d -> d"),)

GEMMA2_NORM_RULES = (
    ("post_attention_layernorm.weight", "post_attention_norm/scale", "d -> d"),
    ("pre_feedforward_layernorm.weight", "pre_ffw_norm/scale", "d -> d"),
    ("post_feedforward_layernorm.weight", "post_ffw_norm/scale", "d -> d"),
)


@dataclass(frozen=True)
class Prefixes:
    """What stands before the names of each part, and the two names of the embedding."""

    vision: str
    language: str
    projector: str
    embedding: str
    head: str

    @classmethod
    def found_in(cls, path: str, names: Mapping[str, object]) -> Prefixes:
        """Reads them off the tensors every PaliGemma has; CheckpointError where one is missing."""

        def prefix(suffix: str) -> str:
            for name in names:
                if name.endswith(suffix):
                    return name.removesuffix(suffix)
            raise CheckpointError(path, f"has no tensor …{suffix}; expected PaliGemma's weights")

        language = prefix("layers.0.input_layernorm.weight")
        embedding = f"{language}embed_tokens.weight"
        head = next((name for name in names if name.endswith("lm_head.weight")), "lm_head.weight")
        return cls(
            vision=prefix("embeddings.patch_embedding.weight"),
            language=language,
            projector=prefix("multi_modal_projector.linear.weight") + "multi_modal_projector.",
            # Tied, either one may be left out.
            embedding=head if embedding not in names and head in names else embedding,
            head=head,
        )


@dataclass(frozen=True)
class Piece:
    """One tensor of the file, and the part of one array of the network that it is."""

    source: str
    target: str
    index: tuple[int, ...]
    rule: str

    def view(self, array: np.ndarray) -> np.ndarray:
        """The part of `array` with its axes in the tensor's order, as a view."""
        ours, theirs = self._axes()
        return array[self.index].transpose([ours.index(axis) for axis in "".join(theirs)])

    def source_shape(self, shape: Shape) -> Shape:
        """The tensor's shape, given that of the network's array."""
        ours, theirs = self._axes()
        size = dict(zip(ours, shape[len(self.index) :], strict=True))
        return tuple(prod(size[axis] for axis in group) for group in theirs)

    def _axes(self) -> tuple[list[str], list[str]]:
        """`n d h -> (n h) d` as ["n", "d", "h"], ["nh", "d"]."""
        ours, theirs = self.rule.split(" -> ")
        groups = [a or b for a, b in re.findall(r"\(([^)]*)\)|(\w)", theirs)]
        return ours.split(), [group.replace(" ", "") for group in groups]


def layout(prefixes: Prefixes, config: PaliGemmaConfig) -> list[Piece]:
    """Every tensor that the network reads."""
    return [*_rules(prefixes, config)]


def _rules(prefixes: Prefixes, config: PaliGemmaConfig) -> Iterator[Piece]:
    parts = {"vision": prefixes.vision, "projector": prefixes.projector}
    for source, target, rule in VISION_RULES:
        yield Piece(source.format(**parts), target, (), rule)
    for layer in range(config.vision.depth):
        at = VISION_LAYER.format(vision=prefixes.vision, layer=layer)
        for source, target, rule in VISION_LAYER_RULES:
            yield Piece(at + source, BLOCK + target, (layer,), rule)
    yield Piece(prefixes.embedding, "llm/embedder/input_embedding", (), "v d -> v d")
    if not config.language.tied:
        yield Piece(prefixes.head, "llm/embedder/output_embedding", (), "v d -> v d")
    norms = GEMMA2_NORM_RULES if config.language.post_norms else GEMMA1_NORM_RULES
    for layer in range(config.language.depth):
        at = LANGUAGE_LAYER.format(language=prefixes.language, layer=layer)
        for source, target, rule in LANGUAGE_LAYER_RULES + norms:
            name, _, half = target.partition(":")
            index = (layer, int(half)) if half else (layer,)
            yield Piece(at + source, f"llm/layers/{name}", index, rule)
    yield Piece(f"{prefixes.language}norm.weight", "llm/final_norm/scale", (), "d -> d")
