"""What an answer may be: finite-state machines over tokens, obeyed within the compiled program.

`well_formed_objects` lets nothing but boxes (and masks) and their labels be written, `one_of` one
of some texts, `only` some tokens. Machines of several tasks are joined into one, in which each task
has its own start, so that one program serves them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.boxes import CODES_PER_MASK
from model.tokenizer import EOS, LOCATIONS, MASK_CODES, Tokenizer

REFUSED = -1


class Rules(NamedTuple):
    """A grammar as compiled programs take it: S states, C classes of tokens, V tokens.

    classes: int32[V]. following: int32[S, C], REFUSED where the state permits no such token.
    permitted: bool[S, V], the same by token.
    """

    classes: jax.Array | np.ndarray
    following: jax.Array | np.ndarray
    permitted: jax.Array | np.ndarray

    def mask(self, logits: jax.Array, states: jax.Array) -> jax.Array:
        """Logits [..., V] with -inf for what states int32[...] don't permit."""
        return jnp.where(self.permitted[states], logits, -jnp.inf)

    def follow(self, states: jax.Array, tokens: jax.Array) -> jax.Array:
        """The states int32[...] after tokens int32[...] that they permit."""
        return jnp.maximum(self.following[states, self.classes[tokens]], 0)


@dataclass(frozen=True, eq=False)
class Grammar:
    """A finite-state machine over classes of tokens.

    classes: int32[V], the class of each of V tokens. following: int32[S, C], the state after a
    token of a class, REFUSED where none may come. starts: the states in which answers begin.
    Equal where these are. Raises ValueError for a machine that leads nowhere, or has a state from
    which nothing follows.
    """

    classes: np.ndarray
    following: np.ndarray
    starts: tuple[int, ...] = (0,)

    def __post_init__(self):
        states, classes = self.following.shape
        if not 0 <= self.classes.min() <= self.classes.max() < classes:
            raise ValueError(f"tokens have classes up to {self.classes.max()} of {classes}")
        if not REFUSED <= self.following.min() <= self.following.max() < states:
            raise ValueError(f"a token leads to state {self.following.max()} of {states}")
        stuck = ~self._permitted().any(axis=1)
        if stuck.any():
            raise ValueError(f"nothing may follow in state {np.argmax(stuck)}")

    @property
    def vocabulary(self) -> int:
        """Tokens that it knows."""
        return len(self.classes)

    def rules(self) -> Rules:
        """For compiled programs, as arrays of the host."""
        classes, following = (a.astype(np.int32) for a in (self.classes, self.following))
        return Rules(classes, following, self._permitted())

    def accepts(self, tokens: Iterable[int], start: int = 0) -> bool:
        """Whether tokens may come in this order. start: number of one of `starts`."""
        state = self.starts[start]
        for token in tokens:
            state = int(self.following[state, self.classes[token]])
            if state == REFUSED:
                return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grammar) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    @cached_property
    def _content(self) -> tuple:
        rules = self.rules()
        return self.starts, rules.following.shape, *(a.tobytes() for a in rules[:2])

    def _permitted(self) -> np.ndarray:
        return self.following[:, self.classes] != REFUSED


def joined(grammars: Sequence[Grammar]) -> Grammar:
    """One machine with the starts of all, in order; they must be of the same number of tokens."""
    # Tokens are of one class where each of the machines has them in one.
    together, classes = np.unique(
        np.stack([grammar.classes for grammar in grammars]), axis=1, return_inverse=True
    )
    parts, starts, states = [], [], 0
    for grammar, own in zip(grammars, together, strict=True):
        following = grammar.following[:, own]
        parts.append(np.where(following == REFUSED, REFUSED, following + states))
        starts += [states + start for start in grammar.starts]
        states += len(following)
    return Grammar(classes.reshape(-1), np.concatenate(parts), tuple(starts))


def anything(vocabulary: int) -> Grammar:
    """Lets every one of so many tokens come at any time."""
    return Grammar(np.zeros(vocabulary, np.int32), np.zeros((1, 1), np.int32))


def only(tokens: Iterable[int], vocabulary: int) -> Grammar:
    """Lets these tokens come at any time, and the end."""
    classes = np.zeros(vocabulary, np.int32)
    classes[[*tokens, EOS]] = 1
    return Grammar(classes, np.array([[REFUSED, 0]]))


def one_of(texts: Sequence[str], tokenizer: Tokenizer, vocabulary: int) -> Grammar:
    """Lets one of the texts come, in the pieces in which the tokenizer encodes it, and its end."""
    places: dict[tuple[int, ...], int] = {(): 0}
    classes = np.zeros(vocabulary, np.int32)
    classes[EOS] = 1
    steps: list[tuple[int, int, int]] = []
    for text in texts:
        tokens = tuple(tokenizer.encode(text))
        for length, token in enumerate(tokens, start=1):
            place = places.setdefault(tokens[:length], len(places))
            classes[token] = classes[token] or classes.max() + 1
            steps.append((places[tokens[: length - 1]], classes[token], place))
        steps.append((places[tokens], classes[EOS], -1))
    end = len(places)
    following = np.full((end + 1, classes.max() + 1), REFUSED)
    following[end, classes[EOS]] = end
    for place, kind, target in steps:
        following[place, kind] = end if target < 0 else target
    return Grammar(classes, following)


# Classes of tokens for objects, by what they write.
_OTHER, _END, _LOCATION, _CODE, _SPACE, _SEPARATOR, _WORD = range(7)


def well_formed_objects(tokenizer: Tokenizer, vocabulary: int, masks: bool) -> Grammar:
    """Lets nothing come but objects, or the end at once: there is no such thing.

        answer  = [ object, { ";", object } ]
        object  = 4 locations, [ 16 mask codes ], [label]

    The codes must come where masks are wanted, perhaps behind a space, and can't where they are
    not. What `model.parse` makes of such an answer is never malformed; a box may be inverted.
    """
    complete = {_WORD: "label", _SPACE: "label", _SEPARATOR: "next", _END: "end"}
    table = {
        "start": {_LOCATION: "corner 1", _END: "end"},
        **{f"corner {n}": {_LOCATION: f"corner {n + 1}"} for n in (1, 2)},
        "corner 3": {_LOCATION: "box"},
        "box": complete,
        "label": complete,
        "next": {_LOCATION: "corner 1", _SPACE: "apart"},
        "apart": {_LOCATION: "corner 1"},
        "end": {_END: "end"},
    }
    if masks:
        table |= {
            "box": {_CODE: "code 1", _SPACE: "space"},
            "space": {_CODE: "code 1"},
            **{f"code {n}": {_CODE: f"code {n + 1}"} for n in range(1, CODES_PER_MASK)},
            f"code {CODES_PER_MASK}": complete,
        }
    number = {state: place for place, state in enumerate(table)}
    following = np.full((len(table), _WORD + 1), REFUSED)
    for state, row in table.items():
        for kind, after in row.items():
            following[number[state], kind] = number[after]
    return Grammar(_object_classes(tokenizer, vocabulary), following)


def _object_classes(tokenizer: Tokenizer, vocabulary: int) -> np.ndarray:
    classes = np.full(vocabulary, _OTHER, np.int32)
    for token, text in enumerate(tokenizer.texts()):
        if text == " ":
            classes[token] = _SPACE
        elif text and text.strip(" ") == ";":
            classes[token] = _SEPARATOR
        elif text and not any(letter in ";<" or letter < " " for letter in text):
            classes[token] = _WORD
    first = tokenizer.first_location
    classes[first : first + LOCATIONS] = _LOCATION
    classes[first + LOCATIONS : first + LOCATIONS + MASK_CODES] = _CODE
    classes[EOS] = _END
    return classes
