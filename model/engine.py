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
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model.bits import needs_bits, weights_as_bits
from model.checkpoint import LOCAL, Storage, load
from model.compilation import compilations_of_this_thread
from model.config import PaliGemmaConfig
from model.decoding import EOS, PAD, Answers, Greedy, Strategy, Task
from model.paligemma import PaliGemma
from model.usage import Usage

DTYPES = ("float32", "bfloat16")


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
class EngineSpec:
    """What is loaded and the shapes that are compiled; equal specs can share an engine.

    checkpoint: `.npz` or Hugging Face folder. dtype: of weights and computation.
    batch_size: rows of every call; fewer are filled up.
    prompt_lengths: tokens; a batch runs in the shortest length that holds its longest prompt.
    max_new_tokens: the longest answer. frames: pictures a row, their tokens in order.
    final_cap: soft cap on the logits; None for the checkpoint's own, 0 for none.
    strategy: how tokens are chosen.
    Raises ValueError for what can't be compiled.
    """

    checkpoint: str
    dtype: str = "float32"
    batch_size: int = 8
    prompt_lengths: tuple[int, ...] = (16, 64)
    max_new_tokens: int = 32
    frames: int = 1
    final_cap: float | None = None
    strategy: Strategy = field(default_factory=Greedy)

    def __post_init__(self):
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r}; expected one of {', '.join(DTYPES)}")
        for name in ("batch_size", "max_new_tokens", "frames"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}; expected at least 1")
        if not self.prompt_lengths or min(self.prompt_lengths) < 1:
            raise ValueError(f"prompt_lengths {self.prompt_lengths}; expected lengths of 1 or more")
        if self.final_cap is not None and self.final_cap < 0:
            raise ValueError(f"final_cap {self.final_cap}; expected 0 (none) or more")


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

    def __init__(self, spec: EngineSpec, config: PaliGemmaConfig, params: dict):
        """Compiles every shape. params: as `load` gives them, in the spec's dtype."""
        if spec.final_cap is not None:
            config = config.with_final_cap(spec.final_cap or None)
        self.spec = spec
        self.config = config
        self.used = Usage()
        self._lock = threading.Lock()
        self._as_bits = needs_bits(spec.dtype, jax.default_backend())
        self._params = params = self._stored(params)
        self._image_shape = self._shape_of_images()
        cache_dtype = jnp.uint16 if self._as_bits else None
        model = PaliGemma(config, jnp.dtype(spec.dtype), cache_dtype=cache_dtype)
        self._encode = compile_encode(model, params, self._image_shape)
        self._generate = {
            length: compile_generate(model, params, spec, length)
            for length in sorted(set(spec.prompt_lengths))
        }

    @classmethod
    def load(cls, spec: EngineSpec, storage: Storage = LOCAL) -> Engine:
        """Reads the checkpoint and compiles; raises CheckpointError."""
        config, params = load(spec.checkpoint, spec.dtype, storage)
        return cls(spec, config, params)

    def replace(self, params: dict) -> None:
        """Answers with other weights, of the same shapes and types, from the next call on."""
        self._params = self._stored(params)

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
    ) -> Generation:
        """Answers one prompt for each row of `image_tokens`.

        prompts: token ids, BOS and the final newline included, nothing padded.
        max_new_tokens: a smaller limit than the spec's.
        seeds: one a row where the strategy samples; a row's answer depends on its own alone.
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
            np.arange(self.spec.batch_size) < len(prompts),
            np.int32(limit),
            self._batch_seeds(seeds, len(prompts)),
        )
        answers = jax.device_get(results)
        generation = to_generation(answers, len(prompts), limit)
        self._count(
            seconds=time.perf_counter() - began,
            rows=len(prompts),
            padded_rows=self.spec.batch_size - len(prompts),
            row_steps=self.spec.batch_size * int(answers.steps),
            tokens=sum(map(len, generation.tokens)) + int(generation.ended.sum()),
        )
        return generation

    def _count(self, **amounts: float) -> None:
        with self._lock:
            self.used += Usage(**amounts)

    def _stored(self, params: dict) -> dict:
        """The parameters as the compiled programs take them."""
        return weights_as_bits(params) if self._as_bits else params

    def _shape_of_images(self) -> tuple[int, ...]:
        size = self.config.vision.image_size
        frames = () if self.spec.frames == 1 else (self.spec.frames,)
        return (self.spec.batch_size, *frames, size, size, 3)

    def _check_rows(self, rows: int) -> None:
        if not 1 <= rows <= self.spec.batch_size:
            raise ValueError(f"{rows} rows; compiled for 1 to {self.spec.batch_size}")

    def _batch_prompts(self, prompts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """int32[batch_size, T] padded on the right, and which are tokens: bool[batch_size, T]."""
        lengths = [len(prompt) for prompt in prompts]
        longest = max(self._generate)
        for row, length in enumerate(lengths):
            if length > longest:
                raise PromptTooLong(row, length, longest)
        bucket = min(length for length in self._generate if length >= max(lengths))
        text = np.full((self.spec.batch_size, bucket), PAD, np.int32)
        for row, prompt in enumerate(prompts):
            text[row, : len(prompt)] = prompt
        vocabulary = self.config.language.vocab_size
        if text.min() < 0 or text.max() >= vocabulary:
            raise ValueError(
                f"a prompt holds token {max(text.max(), -text.min())} and the model knows "
                f"{vocabulary}; is this its tokenizer?"
            )
        filled = np.zeros(self.spec.batch_size, int)
        filled[: len(lengths)] = lengths
        return text, np.arange(bucket) < filled[:, None]

    def _batch_seeds(self, seeds: Sequence[int] | None, rows: int) -> np.ndarray:
        if seeds is not None and len(seeds) != rows:
            raise ValueError(f"{len(seeds)} seeds for {rows} rows")
        batch = np.zeros(self.spec.batch_size, np.uint32)
        batch[:rows] = range(rows) if seeds is None else seeds
        return batch

    def _run(self, program: Callable[..., Any], *args: Any) -> Any:
        before = compilations_of_this_thread()
        result = program(self._params, *args)
        compiled = compilations_of_this_thread() - before
        if compiled:
            self._count(recompilations=compiled)
        return result


def compile_encode(
    model: PaliGemma, params: dict, image_shape: tuple[int, ...]
) -> jax.stages.Compiled:
    """(params, uint8 images) -> image tokens [B, N, D]."""

    def encode(params, images):
        return model.apply({"params": params}, images, method="encode")

    images = jax.ShapeDtypeStruct(image_shape, jnp.uint8)
    return jax.jit(encode).lower(shapes_of(params), images).compile()


def compile_generate(
    model: PaliGemma, params: dict, spec: EngineSpec, prompt_length: int
) -> jax.stages.Compiled:
    """(params, image tokens, text, valid, live, limit, seeds) -> Answers: prefill and loop."""
    new_tokens = spec.max_new_tokens

    def generate(params, image_tokens, text, text_valid, live, limit, seeds):
        run: Callable[..., Any] = partial(model.apply, {"params": params})
        logits, cache, valid = run(image_tokens, text, text_valid, new_tokens, method="prefill")

        def extend(tokens, step, cache):
            copies = tokens.shape[0] // valid.shape[0]
            return run(tokens, step, jnp.repeat(valid, copies, axis=0), cache, method="extend")

        return spec.strategy.decode(Task(logits, cache, extend, live, limit, new_tokens, seeds))

    B, image_tokens = spec.batch_size, spec.frames * model.config.vision.tokens
    shape = jax.ShapeDtypeStruct
    return (
        jax.jit(generate)
        .lower(
            shapes_of(params),
            shape((B, image_tokens, model.config.language.width), model.dtype),
            shape((B, prompt_length), jnp.int32),
            shape((B, prompt_length), jnp.bool_),
            shape((B,), jnp.bool_),
            shape((), jnp.int32),
            shape((B,), jnp.uint32),
        )
        .compile()
    )


def shapes_of(params: dict) -> dict:
    """The parameters' shapes, types and places, for compiling without touching them."""
    return jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), params
    )


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
