"""From logits to answers: greedy, sampling, the best of several samples, and beam search.

A strategy is given the logits behind the prompt and a function that goes on by one token, and runs
its own loop, inside the one compiled program. It ends when every row has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from model.grammar import Rules

PAD = 0
EOS = 1


class Answers(NamedTuple):
    """What a strategy decided for each of B rows; M is the most tokens an answer may have.

    tokens: int32[B, M], PAD behind the end. log_probs: float32[B], natural logarithm of what the
    model itself (at temperature 1, and free to write what rules don't permit) gives the answer,
    summed through its first EOS. So an answer that rules forced upon the model shows as unlikely.
    ended: bool[B], False where the limit cut the answer. steps: int32, tokens that each row was
    decoded for, whether it still needed them or not.
    """

    tokens: jax.Array
    log_probs: jax.Array
    ended: jax.Array
    steps: jax.Array


class Task(NamedTuple):
    """What is to be decoded.

    logits: float32[B, V] behind the prompt. cache: what `extend` needs, arrays [L, B, ...].
    extend: (tokens int32[R], step, cache) -> (logits [R, V], cache), step being the number of
        `tokens` in the answer; R is B, or a multiple when rows have been repeated in place.
    live: bool[B], False for rows that only fill the batch.
    limit: int32, the most tokens wanted now; length: M, the most there is room for.
    seeds: uint32[B]; a row's answer depends on its own and on no other's.
    rules: what answers may be, and states: int32[B], where each row begins in them; or None.
    """

    logits: jax.Array
    cache: Any
    extend: Callable[[jax.Array, jax.Array, Any], tuple[jax.Array, Any]]
    live: jax.Array
    limit: jax.Array
    length: int
    seeds: jax.Array
    rules: Rules | None = None
    states: jax.Array | None = None

    def repeated(self, times: int) -> Task:
        """Every row `times` over, next to itself, each copy with a seed of its own."""
        copies = jnp.arange(times, dtype=jnp.uint32)
        return self._replace(
            logits=jnp.repeat(self.logits, times, axis=0),
            cache=repeat_rows(self.cache, times),
            live=jnp.repeat(self.live, times),
            states=None if self.states is None else jnp.repeat(self.states, times),
            # An odd factor (Knuth's multiplicative hash) keeps copies of neighbours apart.
            seeds=(self.seeds[:, None] + copies * jnp.uint32(2654435761)).reshape(-1),
        )

    def permitted(self, logits: jax.Array, states: jax.Array | None) -> jax.Array:
        """Logits [..., V] with -inf for what the rules don't permit in states int32[...]."""
        if self.rules is None or states is None:
            return logits
        return self.rules.mask(logits, states)

    def follow(self, states: jax.Array | None, tokens: jax.Array) -> jax.Array | None:
        """The states after tokens."""
        if self.rules is None or states is None:
            return None
        return self.rules.follow(states, tokens)


def repeat_rows(cache: Any, times: int) -> Any:
    """Arrays [L, B, ...] -> [L, B * times, ...]."""
    return jax.tree.map(lambda array: jnp.repeat(array, times, axis=1), cache)


class Strategy(Protocol):
    """A way to decode; hashable and comparable, since a program is compiled for it."""

    def decode(self, task: Task) -> Answers: ...


@dataclass(frozen=True)
class Greedy:
    """The likeliest token at each step."""

    def decode(self, task: Task) -> Answers:
        return decode_rows(task, lambda logits, _: likeliest(logits))


@dataclass(frozen=True)
class Temperature:
    """Samples from softmax(logits / temperature)."""

    temperature: float = 1.0

    def __post_init__(self):
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature}; expected a positive number")

    def decode(self, task: Task) -> Answers:
        return decode_rows(task, lambda logits, keys: draw(logits / self.temperature, keys))


@dataclass(frozen=True)
class Nucleus:
    """Samples among the likeliest tokens that together have at least probability `p`.

    Holtzman et al., 2019, https://arxiv.org/abs/1904.09751.
    """

    p: float
    temperature: float = 1.0

    def __post_init__(self):
        if not 0 < self.p <= 1:
            raise ValueError(f"p {self.p}; expected a probability above 0")
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature}; expected a positive number")

    def decode(self, task: Task) -> Answers:
        return decode_rows(task, self._pick)

    def _pick(self, logits: jax.Array, keys: jax.Array) -> jax.Array:
        return draw(nucleus(logits / self.temperature, self.p), keys)


@dataclass(frozen=True)
class BestOf:
    """Of `n` samples the one that the model finds likeliest."""

    n: int
    sampler: Temperature | Nucleus = field(default_factory=Temperature)

    def __post_init__(self):
        if self.n < 1:
            raise ValueError(f"n {self.n}; expected at least one sample")

    def decode(self, task: Task) -> Answers:
        answers = self.sampler.decode(task.repeated(self.n))
        rows = task.live.shape[0]
        scores = answers.log_probs.reshape(rows, self.n)
        best = jnp.arange(rows) * self.n + jnp.argmax(scores, axis=1)
        tokens, log_probs, ended = (array[best] for array in answers[:3])
        return Answers(tokens, log_probs, ended, answers.steps)


@dataclass(frozen=True)
class Beam:
    """The likeliest answer that a search `width` beams wide comes upon; no length penalty.

    At each step every beam also proposes to end, and the best that ever ended is kept. A row is
    decided when its best beam is less likely than that: beams only get less likely.
    """

    width: int

    def __post_init__(self):
        if self.width < 1:
            raise ValueError(f"width {self.width}; expected at least one beam")

    def decode(self, task: Task) -> Answers:
        return beam_search(task, self.width)


# Divides the released vocabulary of 257,152.
_BLOCK = 128


def likeliest(logits: jax.Array) -> jax.Array:
    """The first token with the highest logit: [B, V] -> int32[B].

    XLA compares one number after the other for an argmax on a CPU; a maximum it vectorises. So the
    block with the maximum is looked for first.
    """
    if logits.shape[-1] % _BLOCK:
        return jnp.argmax(logits, axis=-1)
    blocks = logits.reshape(*logits.shape[:-1], -1, _BLOCK)
    block = jnp.argmax(jnp.max(blocks, axis=-1), axis=-1)
    within = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)[..., 0, :]
    return block * _BLOCK + jnp.argmax(within, axis=-1)


def log_probability(logits: jax.Array, tokens: jax.Array) -> jax.Array:
    """What softmax(logits [B, V]) gives tokens int32[B], as natural logarithm: [B]."""
    chosen = jnp.take_along_axis(logits, tokens[:, None], axis=-1)[:, 0]
    return chosen - jax.nn.logsumexp(logits, axis=-1)


def draw(logits: jax.Array, keys: jax.Array) -> jax.Array:
    """One token a row, each by its own key: [B, V] -> int32[B]."""
    return jax.vmap(jax.random.categorical)(keys, logits)


def nucleus(logits: jax.Array, p: float) -> jax.Array:
    """Logits [B, V] with those outside the nucleus at -inf.

    Kept is what is at least as likely as the first token at which the sorted probabilities add up
    to p.
    """
    ordered = jnp.sort(logits, axis=-1, descending=True)
    below = jnp.sum(jnp.cumsum(jax.nn.softmax(ordered, axis=-1), axis=-1) < p, axis=-1)
    # Rounding may keep the whole sum under p = 1.
    last = jnp.minimum(below, logits.shape[-1] - 1)[:, None]
    threshold = jnp.take_along_axis(ordered, last, axis=-1)
    return jnp.where(logits >= threshold, logits, -jnp.inf)


class _Rows(NamedTuple):
    """The loop's state when rows go on apart."""

    step: jax.Array
    token: jax.Array
    tokens: jax.Array
    log_probs: jax.Array
    ended: jax.Array
    states: jax.Array | None
    cache: Any


def decode_rows(task: Task, pick: Callable[[jax.Array, jax.Array], jax.Array]) -> Answers:
    """The loop of every strategy whose rows go on apart.

    pick: (logits [B, V], one key a row) -> tokens [B].
    """
    keys = jax.vmap(jax.random.key)(task.seeds)

    def choose(rows: _Rows, logits: jax.Array) -> _Rows:
        step_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, rows.step)
        picked = pick(task.permitted(logits, rows.states), step_keys).astype(jnp.int32)
        token = jnp.where(rows.ended, PAD, picked)
        return rows._replace(
            step=rows.step + 1,
            token=token,
            tokens=jax.lax.dynamic_update_slice(rows.tokens, token[:, None], (0, rows.step)),
            log_probs=rows.log_probs + jnp.where(rows.ended, 0, log_probability(logits, token)),
            ended=rows.ended | (token == EOS),
            states=task.follow(rows.states, token),
        )

    def go_on(rows: _Rows) -> _Rows:
        logits, cache = task.extend(rows.token, rows.step - 1, rows.cache)
        return choose(rows._replace(cache=cache), logits)

    B = task.live.shape[0]
    start = _Rows(
        step=jnp.int32(0),
        token=jnp.full((B,), PAD, jnp.int32),
        tokens=jnp.full((B, task.length), PAD, jnp.int32),
        log_probs=jnp.zeros((B,), jnp.float32),
        ended=~task.live,
        states=task.states,
        cache=task.cache,
    )
    end = jax.lax.while_loop(
        lambda rows: (rows.step < task.limit) & ~jnp.all(rows.ended),
        go_on,
        choose(start, task.logits),
    )
    return Answers(end.tokens, end.log_probs, end.ended, end.step)


class _Beams(NamedTuple):
    """The loop's state of a beam search: W live beams a row, and the best that ended."""

    step: jax.Array
    tokens: jax.Array  # int32[B, W, M]
    scores: jax.Array  # float32[B, W], best first
    best_tokens: jax.Array  # int32[B, M]
    best_score: jax.Array  # float32[B]
    states: jax.Array | None  # int32[B, W]
    cache: Any  # arrays [L, B * W, ...]


def beam_search(task: Task, width: int) -> Answers:
    """See `Beam`."""
    B, V = task.logits.shape
    row = jnp.arange(B)[:, None]

    def advance(beams: _Beams, logits: jax.Array) -> tuple[_Beams, jax.Array]:
        """Ends and continuations of every beam; also which beams went on: int32[B, W]."""
        log_probs = jax.nn.log_softmax(logits).reshape(B, -1, V)
        live = log_probs.shape[1]
        states = None if beams.states is None else beams.states[:, :live]
        totals = beams.scores[:, :live, None] + task.permitted(log_probs, states)
        beams = keep_best_end(beams, totals[:, :, EOS])
        going_on = totals.at[:, :, EOS].set(-jnp.inf).reshape(B, -1)
        scores, index = jax.lax.top_k(going_on, width)
        parent, token = index // V, index % V
        tokens = jax.lax.dynamic_update_slice(
            beams.tokens[row, parent], token[..., None].astype(jnp.int32), (0, 0, beams.step)
        )
        if states is not None:
            states = task.follow(states[row, parent], token)
        beams = beams._replace(step=beams.step + 1, tokens=tokens, scores=scores, states=states)
        return beams, parent

    def keep_best_end(beams: _Beams, totals: jax.Array) -> _Beams:
        """totals: float32[B, W], each beam's score if it ended here."""
        ending = jnp.argmax(totals, axis=1)
        score = totals[row[:, 0], ending]
        tokens = beams.tokens[row[:, 0], ending]
        ended = jax.lax.dynamic_update_slice(
            tokens, jnp.full((B, 1), EOS, jnp.int32), (0, beams.step)
        )
        better = score > beams.best_score
        return beams._replace(
            best_tokens=jnp.where(better[:, None], ended, beams.best_tokens),
            best_score=jnp.where(better, score, beams.best_score),
        )

    def go_on(beams: _Beams) -> _Beams:
        last = jnp.take(beams.tokens, beams.step - 1, axis=2).reshape(-1)
        logits, cache = task.extend(last, beams.step - 1, beams.cache)
        beams, parent = advance(beams, logits)
        rows = (row * width + parent).reshape(-1)
        return beams._replace(cache=jax.tree.map(lambda a: jnp.take(a, rows, axis=1), cache))

    def undecided(beams: _Beams) -> jax.Array:
        hope = (beams.scores[:, 0] >= beams.best_score) & task.live
        return (beams.step < task.limit) & jnp.any(hope)

    start = _Beams(
        step=jnp.int32(0),
        tokens=jnp.full((B, width, task.length), PAD, jnp.int32),
        scores=jnp.zeros((B, width), jnp.float32),
        best_tokens=jnp.full((B, task.length), PAD, jnp.int32),
        best_score=jnp.full((B,), -jnp.inf, jnp.float32),
        states=None if task.states is None else jnp.repeat(task.states[:, None], width, axis=1),
        cache=repeat_rows(task.cache, width),
    )
    first, _ = advance(start, task.logits)
    end = jax.lax.while_loop(undecided, go_on, first)
    # Rules may keep every beam from ending within the limit; the best of them then stands.
    ended = end.best_score > -jnp.inf
    return Answers(
        jnp.where(ended[:, None], end.best_tokens, end.tokens[:, 0]),
        jnp.where(ended, end.best_score, end.scores[:, 0]),
        ended,
        end.step,
    )
