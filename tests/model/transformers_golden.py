"""What transformers computes from folders that `save_hugging_face` writes.

`python tests/model/transformers_golden.py` writes the golden, in two steps because JAX and PyTorch
needn't share an environment: `write FOLDER` with this project's, `record FOLDER` with one that has
PyTorch and transformers (2.13.0 and 5.23.0 were used). The test makes the same weights again and
needs neither.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "data" / "written_for_transformers" / "logits.npz"
PROMPT, ANSWER = 5, 4
NAMES = ("gemma1", "gemma2", "gemma1_untied")


def configs() -> dict:
    """One of each kind that is written differently."""
    from dataclasses import replace

    from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig

    vision = VisionConfig(image_size=28, width=32, depth=2, mlp_dim=48, num_heads=4)
    gemma1 = GemmaConfig(
        width=48,
        depth=2,
        mlp_dim=64,
        num_heads=4,
        num_kv_heads=1,
        head_dim=16,
        query_scale=16**-0.5,
        vocab_size=200,
    )
    gemma2 = replace(
        gemma1,
        num_kv_heads=2,
        query_scale=16**-0.5,
        attention_cap=50.0,
        final_cap=30.0,
        post_norms=True,
    )
    languages = (gemma1, gemma2, replace(gemma1, tied=False))
    return {
        name: PaliGemmaConfig(vision, language)
        for name, language in zip(NAMES, languages, strict=True)
    }


def weights(config) -> dict:
    """float32 parameters, made of whole numbers so that they are the same bits everywhere.

    RandomState, unlike default_rng, promises the same numbers in every version of NumPy.
    """
    from model.checkpoint.tree import parameter_shapes, unflatten

    random = np.random.RandomState(11)
    shapes = parameter_shapes(config)
    return unflatten(
        {
            name: random.randint(-(2**12), 2**12, shapes[name]).astype(np.float32) / 2**14
            for name in sorted(shapes)
        }
    )


def inputs() -> dict[str, np.ndarray]:
    """Two pictures uint8[2, 28, 28, 3] and int32[2, PROMPT + ANSWER] tokens."""
    random = np.random.RandomState(12)
    return {
        "images": random.randint(0, 256, (2, 28, 28, 3)).astype(np.uint8),
        "tokens": random.randint(3, 200, (2, PROMPT + ANSWER)).astype(np.int32),
    }


def digest(folder: Path) -> str:
    """SHA-256 of the weights' file, in hexadecimal."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _write(folder: Path) -> None:
    from model.checkpoint import save_hugging_face

    for name, config in configs().items():
        save_hugging_face(folder / name, config, weights(config), "float32")


def _record(folder: Path) -> None:
    import torch
    import transformers

    asked = inputs()
    recorded: dict[str, np.ndarray] = {}
    for name in NAMES:
        home = folder / name
        config = json.loads((home / "config.json").read_text())
        model, report = transformers.PaliGemmaForConditionalGeneration.from_pretrained(
            home, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
        )
        wrong = {kind: keys for kind, keys in report.items() if keys}
        assert not wrong, f"{name}: {wrong}"
        image_tokens = config["vision_config"]["num_image_tokens"]
        images = torch.tensor(asked["images"]).permute(0, 3, 1, 2).float() / 255 * 2 - 1
        tokens = torch.tensor(asked["tokens"]).long()
        rows = len(tokens)
        placeholder = torch.full((rows, image_tokens), config["image_token_index"])
        ids = torch.cat([placeholder, tokens], dim=1)
        kinds = torch.zeros_like(ids)
        kinds[:, image_tokens + PROMPT :] = 1
        with torch.no_grad():
            logits = model(
                input_ids=ids,
                pixel_values=images,
                attention_mask=torch.ones_like(ids),
                token_type_ids=kinds,
            ).logits
        vocabulary = config["image_token_index"]
        recorded[f"{name}/logits"] = logits[:, image_tokens:, :vocabulary].numpy()
        recorded[f"{name}/sha256"] = np.array(digest(home))
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(GOLDEN, **recorded)


if __name__ == "__main__":
    step, place = sys.argv[1:]
    {"write": _write, "record": _record}[step](Path(place))
