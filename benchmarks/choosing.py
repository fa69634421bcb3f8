"""What does choosing a token cost at Gemma's vocabulary, with and without a grammar? Prints ms.

    python benchmarks/choosing.py

Per decoding step and batch: the greedy token of 257,152 logits a row and its log-probability, as
the decoding loop takes them; the same by `argmax` and `log_softmax`, as they are written plainly;
and with the grammar of boxes and masks, whose 25 states permit each some of the tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from model.config import VOCABULARY
from model.decoding import likeliest, log_probability
from model.grammar import REFUSED, Grammar

STATES, CLASSES = 25, 7
REPEATS = 20


def plain(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    token = jnp.argmax(logits, axis=-1)
    return token, jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=1)


def chosen(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    token = likeliest(logits)
    return token, log_probability(logits, token)


def bound(rules, states, logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    token = likeliest(rules.mask(logits, states))
    return token, log_probability(logits, token), rules.follow(states, token)


def milliseconds(work: Callable, *arguments) -> float:
    """The fastest of several calls: what disturbs only makes them slower."""
    program = jax.jit(work)
    jax.block_until_ready(program(*arguments))
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        times.append(time.perf_counter() - began)
    return min(times) * 1e3


def main() -> None:
    random = np.random.default_rng(0)
    following = random.integers(0, STATES, (STATES, CLASSES))
    following[random.random((STATES, CLASSES)) < 0.5] = REFUSED
    following[:, 0] = 0
    grammar = Grammar(random.integers(0, CLASSES, VOCABULARY), following)
    rules = jax.device_put(grammar.rules())
    print(f"{'rows':<8}{'plain':>10}{'ours':>10}{'ours, with a grammar':>24}   ms a step")
    for rows in (1, 4, 8, 64):
        logits = jnp.asarray(random.normal(size=(rows, VOCABULARY)), jnp.float32)
        states = jnp.asarray(random.integers(0, STATES, rows))
        times = (
            milliseconds(plain, logits),
            milliseconds(chosen, logits),
            milliseconds(bound, rules, states, logits),
        )
        print(f"{rows:<8}{times[0]:>10.2f}{times[1]:>10.2f}{times[2]:>24.2f}")


if __name__ == "__main__":
    main()
