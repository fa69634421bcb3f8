"""A small model and examples of every kind of length, for the tests of training."""

from __future__ import annotations

import numpy as np

from model.checkpoint.tree import parameter_shapes
from model.config import GemmaConfig, PaliGemmaConfig, VisionConfig
from model.training.batching import Batch, Shapes, assemble
from model.training.examples import Examples, Pair
from model.training.optimiser import OptimiserSpec
from model.training.trainer import Trainer, TrainerSpec

CONFIG = PaliGemmaConfig(
    VisionConfig(image_size=28, width=32, depth=2, mlp_dim=48, num_heads=4),
    GemmaConfig(
        width=32,
        depth=2,
        mlp_dim=48,
        num_heads=4,
        num_kv_heads=1,
        head_dim=8,
        query_scale=8**-0.5,
        vocab_size=64,
    ),
)


def weights() -> dict[str, np.ndarray]:
    """float32 parameters by name, with the variances that training begins at."""
    random = np.random.RandomState(5)
    shapes = parameter_shapes(CONFIG)
    return {name: _begin(random, name, shapes[name]) for name in sorted(shapes)}


def _begin(random: np.random.RandomState, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("/bias") or (name.endswith("/scale") and name.startswith("llm/")):
        return np.zeros(shape, np.float32)
    if name.endswith("/scale"):
        return np.ones(shape, np.float32)
    return (random.standard_normal(shape) * CONFIG.language.width**-0.5).astype(np.float32)


def examples(count: int = 16, pictures: int = 6) -> Examples:
    """Random pictures, and random tokens in prompts of 3 to 6 and answers of 1 to 9."""
    random = np.random.default_rng(3)
    pairs = []
    for _ in range(count):
        prompt = [2, *random.integers(4, 64, random.integers(1, 5)), 9]
        answer = [*random.integers(4, 64, random.integers(0, 9)), 1]
        pairs.append(Pair(tuple(map(int, prompt + answer)), len(prompt)))
    shape = (pictures, CONFIG.vision.image_size, CONFIG.vision.image_size, 3)
    pixels = random.integers(0, 256, shape, dtype=np.uint8)
    return Examples.of(pixels, random.integers(0, pictures, count).tolist(), pairs)


def batch(learned: Examples, microbatches: int = 1) -> Batch:
    """All the examples, in order."""
    length = Shapes.of([learned]).lengths[-1]
    return assemble(learned, length, np.arange(len(learned)), microbatches)


def trainer(learned: Examples, steps: int = 10, rate: float = 3e-3, **settings) -> Trainer:
    spec = TrainerSpec(
        OptimiserSpec(rate, steps, warmup_steps=2), Shapes.of([learned]).answer, **settings
    )
    return Trainer(spec, CONFIG, weights())
