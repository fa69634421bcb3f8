"""Writes a Hugging Face folder that transformers, and this project, load.

Tensors have the names of the first release of PaliGemma, which every version of transformers
knows. `layout.py` says where each array's parts go.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from model.checkpoint.errors import CheckpointError, Shape
from model.checkpoint.hugging_face import CONFIG, SINGLE
from model.checkpoint.hugging_face_config import parse_config
from model.checkpoint.layout import Piece, Prefixes, layout
from model.checkpoint.npz import infer_config
from model.checkpoint.safetensors import DTYPES
from model.checkpoint.tree import flatten, parameter_shapes
from model.config import PaliGemmaConfig
from model.gemma import RMS_NORM_EPSILON, ROPE_MAX_WAVELENGTH
from model.vision import LAYER_NORM_EPSILON

PREFIXES = Prefixes(
    vision="vision_tower.vision_model.",
    language="language_model.model.",
    projector="multi_modal_projector.",
    embedding="language_model.model.embed_tokens.weight",
    head="language_model.lm_head.weight",
)

PADDING_ROWS = 64
"""Rows of embedding behind the vocabulary, as in the released folders; the first of them is the
placeholder of image tokens. They repeat the row of the padding token, which nothing is trained to
say, so that a reader that chooses among all rows doesn't choose one of these."""

PADDING_TOKEN = 0


def save_hugging_face(
    folder: str | Path, config: PaliGemmaConfig, params: dict, dtype: str
) -> None:
    """Writes `config.json` and `model.safetensors`; equal parameters give equal bytes.

    params: the network's tree. dtype: of the stored tensors, float32, float16 or bfloat16.
    Raises CheckpointError for a configuration that transformers has no model for.
    """
    check_settings(str(folder), config)
    os.makedirs(folder, exist_ok=True)
    _write(os.path.join(folder, SINGLE), config, flatten(params), np.dtype(dtype))
    content = json.dumps(config_json(config, dtype), indent=2) + "\n"
    Path(folder, CONFIG).write_text(content)


def check_settings(path: str, config: PaliGemmaConfig) -> None:
    """Raises CheckpointError, about `path`, for settings that neither format can express.

    Both formats are read back as another model then: a Gemma 1 with soft caps, for instance.
    """
    arrays = parameter_shapes(config)
    tensors = {p.source: _shape(p, arrays[p.target]) for p in layout(PREFIXES, config)}
    read = parse_config(path, config_json(config, "float32"), PREFIXES, tensors)
    # The cap of the final logits is in no array; whoever loads a `.npz` says it again.
    stored = infer_config(path, arrays).with_final_cap(config.language.final_cap)
    for other in (read, stored):
        for part in ("vision", "language"):
            ours, theirs = asdict(getattr(config, part)), asdict(getattr(other, part))
            for name, value in ours.items():
                if value != theirs[name]:
                    raise CheckpointError(
                        path,
                        f"{part}.{name} is {value}; with the other settings it has to be "
                        f"{theirs[name]}, or no checkpoint can hold the model",
                    )


def config_json(config: PaliGemmaConfig, dtype: str) -> dict[str, Any]:
    """What transformers calls the settings. Raises no error for those that it doesn't have."""
    vision, language = config.vision, config.language
    text: dict[str, Any] = {
        "model_type": "gemma2" if language.post_norms else "gemma",
        "hidden_size": language.width,
        "intermediate_size": language.mlp_dim,
        "num_hidden_layers": language.depth,
        "num_attention_heads": language.num_heads,
        "num_key_value_heads": language.num_kv_heads,
        "head_dim": language.head_dim,
        "vocab_size": language.vocab_size + PADDING_ROWS,
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": RMS_NORM_EPSILON,
        "rope_theta": float(ROPE_MAX_WAVELENGTH),
        "tie_word_embeddings": language.tied,
    }
    if language.post_norms:
        text |= {
            "query_pre_attn_scalar": _as_scalar(language.query_scale),
            "attn_logit_softcapping": language.attention_cap,
            "final_logit_softcapping": language.final_cap,
            # The network attends globally in every layer; so does a window nothing is as long as.
            "sliding_window": 1 << 20,
        }
    return {
        "architectures": ["PaliGemmaForConditionalGeneration"],
        "model_type": "paligemma",
        "torch_dtype": dtype,
        "hidden_size": language.width,
        "projection_dim": language.width,
        "image_token_index": language.vocab_size,
        "pad_token_id": PADDING_TOKEN,
        "eos_token_id": 1,
        "bos_token_id": 2,
        "tie_word_embeddings": language.tied,
        "text_config": text,
        "vision_config": {
            "model_type": "siglip_vision_model",
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "num_image_tokens": vision.tokens,
            "hidden_size": vision.width,
            "intermediate_size": vision.mlp_dim,
            "num_hidden_layers": vision.depth,
            "num_attention_heads": vision.num_heads,
            "projection_dim": language.width,
            "layer_norm_eps": LAYER_NORM_EPSILON,
            "vision_use_head": False,
        },
    }


def _as_scalar(query_scale: float) -> int:
    """256 of 256 ** -0.5."""
    return round(query_scale**-2)


def _is_table(piece: Piece) -> bool:
    return piece.source in (PREFIXES.embedding, PREFIXES.head)


def _shape(piece: Piece, shape: Shape) -> Shape:
    rows, *rest = piece.source_shape(shape)
    return (rows + PADDING_ROWS if _is_table(piece) else rows, *rest)


def _write(path: str, config: PaliGemmaConfig, arrays: dict[str, Any], dtype: np.dtype) -> None:
    """The format of `model.checkpoint.safetensors`, one tensor in memory at a time."""
    pieces = layout(PREFIXES, config)
    name = next(name for name, known in DTYPES.items() if known == dtype)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for piece in pieces:
        shape = _shape(piece, arrays[piece.target].shape)
        start, end = end, end + prod(shape) * dtype.itemsize
        header[piece.source] = {"dtype": name, "shape": shape, "data_offsets": [start, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    partial = f"{path}.partial"
    with open(partial, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in _tensors(pieces, arrays):
            file.write(np.ascontiguousarray(tensor.astype(dtype)).tobytes())
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _tensors(pieces: list[Piece], arrays: dict[str, Any]) -> Iterator[np.ndarray]:
    for piece in pieces:
        # A layer at a time: a whole array may be gigabytes, on a device.
        array = np.asarray(piece.view(arrays[piece.target]))
        yield array
        if _is_table(piece):
            yield np.repeat(array[PADDING_TOKEN : PADDING_TOKEN + 1], PADDING_ROWS, axis=0)
