"""What an engine compiles: encoding pictures, and prefill with the decoding loop, at fixed shapes.

Compiled from shapes alone, so that what a model needs is known before its weights are read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from model.config import PaliGemmaConfig
from model.decoding import Greedy, Strategy, Task
from model.gpu import decoding_options, target_of
from model.grammar import Grammar
from model.paligemma import PaliGemma
from model.sharding import Placement
from model.target import traced_for
from model.turns import in_turns, turns_of
from model.weights import DTYPES, Weights


@dataclass(frozen=True)
class EngineSpec:
    """What is loaded and the shapes that are compiled; equal specs can share an engine.

    checkpoint: `.npz` or Hugging Face folder. dtype: of its numbers (see model.weights).
    batch_size: rows of every call, shared by the copies of the model; fewer are filled up. None for
        the most that fit, up to the number from which on a chip gains nothing.
    prompt_lengths: tokens; a batch runs in the shortest length that holds its longest prompt.
    max_new_tokens: the longest answer. frames: pictures a row, their tokens in order.
    final_cap: soft cap on the logits; None for the checkpoint's own, 0 for none.
    strategy: how tokens are chosen. grammar: what answers may be, None for anything.
    tensor_parallel: devices that a copy of the model is spread over; the host's other devices hold
        copies. None for as few as its weights fit in.
    Raises ValueError for what can't be compiled.
    """

    checkpoint: str
    dtype: str = "float32"
    batch_size: int | None = 8
    prompt_lengths: tuple[int, ...] = (16, 64)
    max_new_tokens: int = 32
    frames: int = 1
    final_cap: float | None = None
    strategy: Strategy = field(default_factory=Greedy)
    tensor_parallel: int | None = None
    grammar: Grammar | None = None

    def __post_init__(self):
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype {self.dtype!r}; expected one of {', '.join(DTYPES)}")
        for name in ("batch_size", "max_new_tokens", "frames", "tensor_parallel"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"{name} {number}; expected at least 1")
        if not self.prompt_lengths or min(self.prompt_lengths) < 1:
            raise ValueError(f"prompt_lengths {self.prompt_lengths}; expected lengths of 1 or more")
        if self.final_cap is not None and self.final_cap < 0:
            raise ValueError(f"final_cap {self.final_cap}; expected 0 (none) or more")

    @property
    def rows(self) -> int:
        """batch_size, once it is known."""
        if self.batch_size is None:
            raise ValueError("batch_size None is found out by Engine.load; give a number")
        return self.batch_size


@dataclass(frozen=True)
class Programs:
    """Compiled for one spec. encode: (variables, uint8 images) -> image tokens [B, N, D].

    generate: by prompt length, (variables, image tokens, text, valid, live, limit, seeds, rules or
        None, int32[B] states in which the rows begin) -> Answers.
    """

    encode: jax.stages.Compiled
    generate: dict[int, jax.stages.Compiled]


def compile_programs(
    spec: EngineSpec, config: PaliGemmaConfig, variables: dict, weights: Weights
) -> Programs:
    """variables: of `weights`, arrays or shapes with their places. spec: with its batch_size."""
    if spec.grammar is not None and spec.grammar.vocabulary != config.language.vocab_size:
        raise ValueError(
            f"the grammar is for {spec.grammar.vocabulary} tokens and the model writes "
            f"{config.language.vocab_size}"
        )
    model = PaliGemma(config, weights.computed_in, cache_dtype=weights.cache_dtype)
    at = weights.placement
    lengths = sorted(set(spec.prompt_lengths))
    with traced_for(target_of(at, weights.dtype)), precise(at, weights.dtype):
        return Programs(
            encode=compile_encode(model, variables, spec, at),
            generate={n: compile_generate(model, variables, spec, n, at) for n in lengths},
        )


def precise(placement: Placement, dtype: str) -> AbstractContextManager:
    """Float32 products in float32 where an accelerator would round their inputs by default.

    TPUs do to bfloat16, GPUs to TF32.
    """
    if dtype != "float32" or placement.device.platform == "cpu":
        return nullcontext()
    return jax.default_matmul_precision("highest")


def compile_encode(
    model: PaliGemma, variables: dict, spec: EngineSpec, placement: Placement
) -> jax.stages.Compiled:
    """See `Programs`."""

    tokens = spec.frames * model.config.vision.tokens
    turns = turns_of(spec.rows // placement.copies, tokens)

    def encode(variables, images):
        run: Callable[..., Any] = partial(model.apply, variables, method="encode")
        return in_turns(run, images, turns)

    images = jax.ShapeDtypeStruct(
        images_shape(spec, model.config), jnp.uint8, sharding=placement.rows
    )
    return jax.jit(encode, out_shardings=placement.rows).lower(variables, images).compile()


def compile_generate(
    model: PaliGemma, variables: dict, spec: EngineSpec, prompt_length: int, placement: Placement
) -> jax.stages.Compiled:
    """See `Programs`."""
    new_tokens = spec.max_new_tokens

    def generate(variables, image_tokens, text, text_valid, live, limit, seeds, rules, states):
        run: Callable[..., Any] = partial(model.apply, variables)
        logits, cache, valid = run(image_tokens, text, text_valid, new_tokens, method="prefill")

        def extend(tokens, step, cache):
            copies = tokens.shape[0] // valid.shape[0]
            return run(tokens, step, jnp.repeat(valid, copies, axis=0), cache, method="extend")

        task = Task(logits, cache, extend, live, limit, new_tokens, seeds)
        if rules is not None:
            task = task._replace(rules=rules, states=states)
        return spec.strategy.decode(task)

    def rows(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        shape = (spec.rows, *shape)
        return jax.ShapeDtypeStruct(shape, dtype, sharding=placement.rows)

    def everywhere(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=placement.everywhere)

    rules = spec.grammar and jax.tree.map(
        lambda a: everywhere(a.shape, a.dtype), spec.grammar.rules()
    )
    image_tokens = spec.frames * model.config.vision.tokens
    return (
        jax.jit(generate)
        .lower(
            variables,
            rows((image_tokens, model.config.language.width), model.dtype),
            rows((prompt_length,), jnp.int32),
            rows((prompt_length,), jnp.bool_),
            rows((), jnp.bool_),
            everywhere((), jnp.int32),
            rows((), jnp.uint32),
            rules,
            rows((), jnp.int32),
        )
        .compile(compiler_options=decoding_options(placement))
    )


def images_shape(spec: EngineSpec, config: PaliGemmaConfig) -> tuple[int, ...]:
    """Of a whole batch: [B, S, S, 3], or [B, F, S, S, 3] where a row has several frames."""
    size = config.vision.image_size
    frames = () if spec.frames == 1 else (spec.frames,)
    return (spec.rows, *frames, size, size, 3)
