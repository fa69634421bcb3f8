"""Answers of engines on several devices, as JSON lines; run with four forced host devices."""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from model import apart
from model.checkpoint import load, read_config
from model.decoding import Beam, Greedy
from model.engine import Engine
from model.fit import fitted
from model.programs import EngineSpec

GOLDENS = Path(__file__).parents[1] / "data" / "goldens"
CASES = [  # checkpoint, devices, of which a copy of the model takes, strategy, layers
    ("bv_paligemma1", 4, 1, "greedy"),
    ("bv_paligemma1", 4, 4, "greedy"),
    ("bv_paligemma2", 2, 2, "greedy"),
    ("bv_paligemma2", 4, 2, "greedy"),
    ("bv_paligemma2", 4, 2, "beam"),
    ("bv_paligemma2_bf16", 2, 2, "greedy"),
    ("bv_paligemma1", 4, 1, "greedy", "apart"),
    ("bv_paligemma2", 4, 2, "greedy", "apart"),
    ("bv_paligemma2", 4, 2, "beam", "apart"),
]
STRATEGIES = {"greedy": Greedy(), "beam": Beam(3)}


def answers(checkpoint, devices, tensor_parallel, strategy, layers="stacked"):
    """What an engine on so many devices answers to a golden's pictures and prompts."""
    apart.PLATFORMS = ("cpu",) if layers == "apart" else ()
    path = str(GOLDENS / f"{checkpoint}.npz")
    with np.load(GOLDENS / f"{checkpoint}.expected.npz", allow_pickle=False) as arrays:
        golden = dict(arrays)
    spec = EngineSpec(
        path,
        dtype="bfloat16" if checkpoint.endswith("bf16") else "float32",
        batch_size=len(golden["images"]),
        prompt_lengths=(golden["prefix_tokens"].shape[1],),
        max_new_tokens=golden["greedy_tokens"].shape[1],
        strategy=STRATEGIES[strategy],
        tensor_parallel=tensor_parallel,
    )
    if devices == jax.local_device_count():
        engine = Engine.load(spec)
    else:
        found = fitted(spec, read_config(path), jax.local_devices()[:devices])
        config, params = load(path, spec.dtype, place=found.placement.put)
        engine = Engine(spec, config, params, found)
    rows = zip(golden["prefix_tokens"], golden["prefix_mask"], strict=True)
    image_tokens = engine.encode_images(golden["images"])
    generation = engine.generate(image_tokens, [tokens[mask].tolist() for tokens, mask in rows])
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(engine._variables))
    own = sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(engine._variables))
    return {
        "image_tokens": np.asarray(image_tokens.array, np.float32).tolist(),
        "tokens": generation.tokens,
        "log_probs": generation.log_probs.tolist(),
        "share_of_weights": own / whole,
        "devices": len(image_tokens.array.sharding.device_set),
        "recompilations": engine.used.recompilations,
    }


if __name__ == "__main__":
    for case in CASES:
        json.dump(answers(*case), sys.stdout)
        print(flush=True)
