"""Runs PaliGemma: everything compiled when it is loaded, fixed shapes from then on.

engine = Engine.load(EngineSpec("paligemma2-3b-mix-224.b16.npz", dtype="bfloat16"))
image_tokens = engine.encode_images(pixels)
captions = engine.generate(image_tokens, prompts)
boxes = engine.generate(image_tokens, other_prompts)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from model.checkpoint import LOCAL, Storage, load, read_config
from model.compilation import compilations_of_this_thread
from model.config import PaliGemmaConfig
from model.decoding import EOS, PAD, Answers
from model.fit import Fitted, fitted, placed
from model.memory import take_the_gpu
from model.programs import EngineSpec, compile_programs, images_shape
from model.usage import Usage
from model.weights import Weights


class PromptTooLong(ValueError):  # noqa: N818 (it reads as what happened)
    """A prompt longer than the longest compiled; it is never cut, as its end asks the question."""

    def __init__(self, row: int, length: int, longest: int):
        super().__init__(
            f"prompt {row} has {length} tokens and the longest compiled has {longest}; "
            "raise prompt_lengths or shorten it"
        )
        self.row = row
        self.length = length
        self.longest = longest

    def __reduce__(self):
        return PromptTooLong, (self.row, self.length, self.longest)


@dataclass(frozen=True)
class ImageTokens:
    """Encoded pictures on the device: [batch_size, N, D], of which the first `rows` are real."""

    array: jax.Array
    rows: int


@dataclass(frozen=True)
class Generation:
    """Answers of n rows.

    tokens: up to the first EOS, which is left out.
    log_probs: float32[n], summed through the first EOS. ended: bool[n], False where
    max_new_tokens cut the answer. finite: bool[n], False where the network overflowed or was given
    NaN, and the row's answer means nothing.
    """

    tokens: list[list[int]]
    log_probs: np.ndarray
    ended: np.ndarray
    finite: np.ndarray


class Engine:
    """A loaded model. Calls may come from several threads.

    used: what it has done since it was loaded.
    """

    def __init__(
        self,
        spec: EngineSpec,
        config: PaliGemmaConfig,
        params: dict,
        found: Fitted | None = None,
    ):
        """params: as `load` gives them, in the spec's dtype.

        found: what was compiled for this spec and config; None to compile now, every shape.
        """
        config = with_cap(spec, config)
        placement = found.placement if found else placed(spec, config, jax.local_devices(), None)
        self._weights = weights = Weights.on(placement, spec.dtype)
        self._variables = weights.variables(params)
        if found is None:
            programs = compile_programs(spec, config, weights.shapes(config), weights)
            found = Fitted(spec, placement, programs)
        self.spec = found.spec
        self.config = config
        self.used = Usage()
        self._lock = threading.Lock()
        self._rules = found.spec.grammar and jax.device_put(
            found.spec.grammar.rules(), placement.everywhere
        )
        self._image_shape = images_shape(found.spec, config)
        self._encode = found.programs.encode
        self._generate = found.programs.generate

    @classmethod
    def load(cls, spec: EngineSpec, storage: Storage = LOCAL) -> Engine:
        """Compiles every shape, then reads the checkpoint, each device taking its part of it.

        Raises CheckpointError, and DoesNotFit before any weight is read.
        """
        take_the_gpu()
        config = read_config(spec.checkpoint, storage)
        found = fitted(spec, with_cap(spec, config), jax.local_devices())
        weights = Weights.on(found.placement, spec.dtype)
        _, params = load(spec.checkpoint, weights.loaded_as, storage, weights.put)
        return cls(spec, config, params, found)

    def replace(self, params: dict) -> None:
        """Answers with other weights, of the same shapes and types, from the next call on.

        CPUs with kernels and GPUs hold copies of them, in a form of their own; the old ones are
        let go first. No other thread may be asking meanwhile.
        """
        self.drop_weights()
        self._variables = self._weights.variables(params)

    def drop_weights(self) -> None:
        """Frees their memory; nothing can be asked until `replace` brings others."""
        self._variables = {}

    @property
    def image_size(self) -> int:
        """Pixels a side of the squares that `encode_images` takes."""
        return self.config.vision.image_size

    def encode_images(self, pixels: np.ndarray) -> ImageTokens:
        """Pictures to image tokens, once for all the prompts that ask about them.

        pixels: uint8[n, S, S, 3], or [n, F, S, S, 3] where spec.frames is over 1; 1 ≤ n ≤
            batch_size. Raises ValueError for any other shape or dtype.
        """
        expected = self._image_shape[1:]
        if pixels.dtype != np.uint8 or pixels.shape[1:] != expected:
            raise ValueError(
                f"pixels are {pixels.dtype}{list(pixels.shape)}; expected uint8[n, "
                f"{', '.join(map(str, expected))}]"
            )
        self._check_rows(len(pixels))
        batch = np.zeros(self._image_shape, np.uint8)
        batch[: len(pixels)] = pixels
        began = time.perf_counter()
        image_tokens = ImageTokens(self._run(self._encode, batch), len(pixels))
        self._count(seconds=time.perf_counter() - began)
        return image_tokens

    def generate(
        self,
        image_tokens: ImageTokens,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int | None = None,
        seeds: Sequence[int] | None = None,
        start: int = 0,
    ) -> Generation:
        """Answers one prompt for each row of `image_tokens`.

        prompts: token ids, BOS and the final newline included, nothing padded.
        max_new_tokens: a smaller limit than the spec's.
        seeds: one a row where the strategy samples; a row's answer depends on its own alone.
        start: number of the grammar's start, where the spec has a grammar.
        Raises PromptTooLong, and ValueError for a number or an id that doesn't fit.
        """
        self._check_rows(len(prompts))
        if len(prompts) != image_tokens.rows:
            raise ValueError(f"{len(prompts)} prompts for {image_tokens.rows} rows of pictures")
        limit = self.spec.max_new_tokens if max_new_tokens is None else max_new_tokens
        if not 1 <= limit <= self.spec.max_new_tokens:
            raise ValueError(
                f"max_new_tokens {limit}; compiled for 1 to {self.spec.max_new_tokens}"
            )
        text, valid = self._batch_prompts(prompts)
        began = time.perf_counter()
        results = self._run(
            self._generate[text.shape[1]],
            image_tokens.array,
            text,
            valid,
            np.arange(self.spec.rows) < len(prompts),
            np.int32(limit),
            self._batch_seeds(seeds, len(prompts)),
            self._rules,
            np.full(self.spec.rows, self._start(start), np.int32),
        )
        answers = jax.device_get(results)
        generation = to_generation(answers, len(prompts), limit)
        self._count(
            seconds=time.perf_counter() - began,
            rows=len(prompts),
            padded_rows=self.spec.rows - len(prompts),
            row_steps=self.spec.rows * int(answers.steps),
            tokens=sum(map(len, generation.tokens)) + int(generation.ended.sum()),
        )
        return generation

    def _count(self, **amounts: Any) -> None:
        with self._lock:
            self.used += Usage(**amounts)

    def _check_rows(self, rows: int) -> None:
        if not 1 <= rows <= self.spec.rows:
            raise ValueError(f"{rows} rows; compiled for 1 to {self.spec.rows}")

    def _batch_prompts(self, prompts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """int32[batch_size, T] padded on the right, and which are tokens: bool[batch_size, T]."""
        lengths = [len(prompt) for prompt in prompts]
        longest = max(self._generate)
        for row, length in enumerate(lengths):
            if length > longest:
                raise PromptTooLong(row, length, longest)
        bucket = min(length for length in self._generate if length >= max(lengths))
        text = np.full((self.spec.rows, bucket), PAD, np.int32)
        for row, prompt in enumerate(prompts):
            text[row, : len(prompt)] = prompt
        vocabulary = self.config.language.vocab_size
        if text.min() < 0 or text.max() >= vocabulary:
            raise ValueError(
                f"a prompt holds token {max(text.max(), -text.min())} and the model knows "
                f"{vocabulary}; is this its tokenizer?"
            )
        filled = np.zeros(self.spec.rows, int)
        filled[: len(lengths)] = lengths
        return text, np.arange(bucket) < filled[:, None]

    def _batch_seeds(self, seeds: Sequence[int] | None, rows: int) -> np.ndarray:
        if seeds is not None and len(seeds) != rows:
            raise ValueError(f"{len(seeds)} seeds for {rows} rows")
        batch = np.zeros(self.spec.rows, np.uint32)
        batch[:rows] = range(rows) if seeds is None else seeds
        return batch

    def _start(self, number: int) -> int:
        """The state that is the grammar's start of this number."""
        starts = self.spec.grammar.starts if self.spec.grammar else (0,)
        if not 0 <= number < len(starts):
            raise ValueError(f"start {number}; the grammar has {len(starts)}")
        return starts[number]

    def _run(self, program: Callable[..., Any], *args: Any) -> Any:
        before = compilations_of_this_thread()
        result = program(self._variables, *args)
        compiled = compilations_of_this_thread() - before
        if compiled:
            self._count(recompilations=compiled)
        return result


def with_cap(spec: EngineSpec, config: PaliGemmaConfig) -> PaliGemmaConfig:
    """The checkpoint's configuration with the spec's soft cap on the logits."""
    return config if spec.final_cap is None else config.with_final_cap(spec.final_cap or None)


def to_generation(answers: Answers, rows: int, limit: int) -> Generation:
    """The first `rows` of answers that are on the host, cut at their ends or at `limit` tokens."""
    tokens, log_probs, ended = (np.asarray(array)[:rows] for array in answers[:3])
    lengths = np.where(ended, np.argmax(tokens == EOS, axis=1), limit)
    return Generation(
        [row[:length].tolist() for row, length in zip(tokens, lengths, strict=True)],
        log_probs,
        ended,
        np.isfinite(log_probs),
    )
