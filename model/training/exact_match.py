"""How many held-out examples a model answers word for word."""

from __future__ import annotations

import jax

from model.config import PaliGemmaConfig
from model.engine import Engine, EngineSpec
from model.tokenizer import Tokenizer
from model.training.batching import LENGTH_STEP
from model.training.examples import Examples

BATCH_SIZE = 16


class ExactMatch:
    """Answers a fixed set of examples with whatever weights it is given; compiled once."""

    def __init__(
        self, config: PaliGemmaConfig, tokenizer: Tokenizer, examples: Examples, dtype: str
    ):
        self._config = config
        self._tokenizer = tokenizer
        self._examples = examples
        self._pairs = [examples.pair(number) for number in range(len(examples))]
        devices = jax.local_device_count()  # which share a batch evenly
        longest = max(pair.prompt_length for pair in self._pairs)
        self._spec = EngineSpec(
            checkpoint="",
            dtype=dtype,
            batch_size=-(-min(BATCH_SIZE, len(examples)) // devices) * devices,
            prompt_lengths=(-(-longest // LENGTH_STEP) * LENGTH_STEP,),
            max_new_tokens=max(pair.answer_length for pair in self._pairs),
        )
        self._engine: Engine | None = None

    def share(self, params: dict) -> float:
        """Of the examples, those whose greedy answer is theirs, between 0 and 1.

        Texts are compared, as several token sequences can spell one; space around them isn't.
        """
        params = jax.tree.map(lambda array: array.astype(self._spec.dtype), params)
        if self._engine is None:
            self._engine = Engine(self._spec, self._config, params)
        else:
            self._engine.replace(params)
        del params
        starts = range(0, len(self._examples), self._spec.rows)
        right = sum(self._matches(self._engine, start) for start in starts)
        # Training needs the memory until the next time.
        self._engine.drop_weights()
        return right / len(self._examples)

    def _matches(self, engine: Engine, start: int) -> int:
        pairs = self._pairs[start : start + self._spec.rows]
        pictures = self._examples.picture[start : start + len(pairs)]
        image_tokens = engine.encode_images(self._examples.pictures[pictures])
        answers = engine.generate(image_tokens, [p.tokens[: p.prompt_length] for p in pairs]).tokens
        decode = self._tokenizer.decode
        return sum(
            decode(answer).strip() == decode(pair.tokens[pair.prompt_length : -1]).strip()
            for pair, answer in zip(pairs, answers, strict=True)
        )
