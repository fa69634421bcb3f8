"""How much memory loading a checkpoint takes, over what its weights are: the goal is 1.2 at most.

    python benchmarks/loading_memory.py --megabytes 400

Writes a random checkpoint of PaliGemma 3B's proportions in each format (the largest array is two
fifths of it), loads each in a process of its own and prints the process's peak resident memory
less what it had before loading.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from model.checkpoint import load, save_npz
from model.checkpoint.hugging_face import CONFIG
from model.checkpoint.layout import Prefixes, layout
from model.checkpoint.tree import parameter_shapes, unflatten
from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig

GOAL = 1.2
PREFIXES = Prefixes(
    vision="vision_tower.vision_model.",
    language="language_model.model.",
    projector="multi_modal_projector.",
    embedding="language_model.model.embed_tokens.weight",
    head="language_model.lm_head.weight",
)
CASES = [  # format, stored, loaded
    ("npz", "float32", "float32"),
    ("npz", "float32", "bfloat16"),
    ("npz", "bfloat16", "float32"),
    ("npz", "bfloat16", "bfloat16"),
    ("safetensors", "float32", "bfloat16"),
    ("safetensors", "bfloat16", "bfloat16"),
]


def config_of(megabytes: int) -> PaliGemmaConfig:
    """PaliGemma 3B's proportions at about `megabytes` in float32."""
    # 2.9 billion parameters at width 2048 with everything in proportion to it but the depth.
    width = int(2048 * (megabytes * 1e6 / 4 / 2.9e9) ** 0.5) // 16 * 16
    heads = 8
    language = GemmaConfig(
        width=width,
        depth=18,
        mlp_dim=8 * width,
        num_heads=heads,
        num_kv_heads=1,
        head_dim=width // heads,
        query_scale=(width // heads) ** -0.5,
        vocab_size=126 * width,
    )
    vision = VisionConfig(width=width * 9 // 16 // 16 * 16, mlp_dim=2 * width)
    return PaliGemmaConfig(vision, language)


def random(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    numbers = np.random.default_rng(0).standard_normal(shape, np.float32)
    return numbers.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


def write_npz(path: Path, config: PaliGemmaConfig, dtype: str) -> None:
    shapes = parameter_shapes(config)
    save_npz(str(path), unflatten({name: random(shape, dtype) for name, shape in shapes.items()}))


def write_safetensors(folder: Path, config: PaliGemmaConfig, dtype: str) -> None:
    folder.mkdir()
    shapes = parameter_shapes(config)
    tensors = {
        piece.source: random(piece.source_shape(shapes[piece.target]), dtype)
        for piece in layout(PREFIXES, config)
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / CONFIG).write_text(json.dumps(hugging_face_config(config)))


def hugging_face_config(config: PaliGemmaConfig) -> dict:
    def common(part: VisionConfig | GemmaConfig) -> dict:
        return {
            "hidden_size": part.width,
            "num_hidden_layers": part.depth,
            "intermediate_size": part.mlp_dim,
            "num_attention_heads": part.num_heads,
        }

    language = config.language
    return {
        "model_type": "paligemma",
        "image_token_index": language.vocab_size,
        "vision_config": common(config.vision),
        "text_config": common(language)
        | {
            "model_type": "gemma",
            "num_key_value_heads": language.num_kv_heads,
            "vocab_size": language.vocab_size,
        },
    }


def measure_here(path: str, dtype: str) -> dict:
    """Loads in this process: bytes of weights, bytes it took at most, seconds."""
    import jax

    jax.device_put(np.zeros(1)).block_until_ready()  # the backend's own memory isn't the loader's
    before = status_bytes("VmRSS")
    start = time.perf_counter()
    _, params = load(path, dtype)
    seconds = time.perf_counter() - start
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    return {"weights": weights, "taken": status_bytes("VmHWM") - before, "seconds": seconds}


def status_bytes(name: str) -> int:
    """A line of this process's status; getrusage may give a peak inherited from the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return int(fields[name].split()[0]) * 1024


def measure(path: Path, dtype: str) -> dict:
    """`measure_here` in a fresh process."""
    command = [sys.executable, __file__, "--load", str(path), "--dtype", dtype]
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=400, help="float32 weights (400)")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--dtype", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        print(json.dumps(measure_here(options.load, options.dtype)))
        return
    config = config_of(options.megabytes)
    print(f"{'format':12} {'stored':9} {'loaded':9} {'weights':>9} {'taken':>9} ratio  seconds")
    worst = 0.0
    for kind, stored, loaded in CASES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / ("weights.npz" if kind == "npz" else "weights")
            (write_npz if kind == "npz" else write_safetensors)(path, config, stored)
            found = measure(path, loaded)
        ratio = found["taken"] / found["weights"]
        worst = max(worst, ratio)
        print(
            f"{kind:12} {stored:9} {loaded:9} {found['weights'] / 1e6:6.0f} MB "
            f"{found['taken'] / 1e6:6.0f} MB {ratio:5.2f} {found['seconds']:8.1f}"
        )
    print(f"worst {worst:.2f}, goal at most {GOAL}")
    sys.exit(worst > GOAL)


if __name__ == "__main__":
    main()
