"""Tiered word lists in many languages, and where their terms stand in a text.

The terms are looked up, never printed: what leaves this module names list, language and tier.
"""

from __future__ import annotations

import codecs
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from filters.language import UNDETERMINED
from filters.normalise import STRUCK, fold, readings, without_accents

LEXICON = Path(__file__).parent / "data" / "lexicon.tsv"

# Tiers that decide alone. The other ones are recorded, or mean something beside another word.
DECISIVE = frozenset({"explicit", "vulgar", "insult", "threat", "hate", "slur", "csai"})

# A term shorter than this, with letters struck out, could be anything.
_SHORTEST_MASKED = 4
_PREFIX_KEY = 3

# The mark of a prefix or a part in the file, apart from the mark of a letter struck out in a text.
STAR = "*"


class Tag(NamedTuple):
    """What a term stands for: its language, its tier and the list it came from."""

    language: str
    tier: str
    source: str

    @property
    def label(self) -> str:
        return f"{self.source}:{self.language}:{self.tier}"


class Hit(NamedTuple):
    """A term found at the word `position`; -1 where the script has no spaces between words."""

    position: int
    tag: Tag


class Table:
    """Terms of any shape (word, phrase, prefix, part), found in time linear in the words."""

    def __init__(self) -> None:
        self._words: dict[str, list[Tag]] = defaultdict(list)
        self._phrases: dict[str, list[tuple[list[str], Tag]]] = defaultdict(list)
        self._prefixes: dict[str, list[tuple[str, Tag]]] = defaultdict(list)
        self._parts: dict[str, list[tuple[str, Tag]]] = defaultdict(list)
        self._ascii_parts: list[tuple[str, Tag]] = []

    def add(self, term: str, tag: Tag) -> None:
        for form in {term, *_masks(term)}:
            self._add_form(form, tag)

    def _add_form(self, term: str, tag: Tag) -> None:
        if term.startswith(STAR):
            part = term.strip(STAR)
            if part.isascii():
                self._ascii_parts.append((part, tag))
            else:
                self._parts[part[0]].append((part, tag))
        elif " " in term:
            first, *rest = term.removesuffix(STAR).split(" ")
            self._phrases[first].append((rest, tag))
        elif term.endswith(STAR):
            prefix = term.removesuffix(STAR)
            self._prefixes[prefix[:_PREFIX_KEY]].append((prefix, tag))
        else:
            self._words[term].append(tag)

    def words(self, tier: str) -> frozenset[str]:
        """The terms of a tier that are one word."""
        return frozenset(
            word for word, tags in self._words.items() if any(tag.tier == tier for tag in tags)
        )

    def hits(self, words: Sequence[str]) -> Iterator[Hit]:
        """Every term found among `words`."""
        for position, word in enumerate(words):
            # The three look-ups are all that happens to nearly every word.
            for tag in self._words.get(word, ()):
                yield Hit(position, tag)
            for rest, tag in self._phrases.get(word, ()):
                if words[position + 1 : position + 1 + len(rest)] == rest:
                    yield Hit(position, tag)
            for prefix, tag in self._prefixes.get(word[:_PREFIX_KEY], ()):
                if word.startswith(prefix):
                    yield Hit(position, tag)
        yield from self._parts_in(words)

    def _parts_in(self, words: Sequence[str]) -> Iterator[Hit]:
        joined = " ".join(words)
        for part, tag in self._ascii_parts:
            if part in joined:
                yield from (Hit(at, tag) for at, word in enumerate(words) if part in word)
        if self._parts and not joined.isascii():
            for position, word in enumerate(words):
                yield from (Hit(position, tag) for tag in self._inside(word))

    def _inside(self, word: str) -> Iterator[Tag]:
        for start, letter in enumerate(word):
            for part, tag in self._parts.get(letter, ()):
                if word.startswith(part, start):
                    yield tag


def _masks(term: str) -> Iterator[str]:
    """f*ck, f**k, f***: the ways of striking out one letter, two, or all but the ends."""
    word = term.strip(STAR)
    if len(word) < _SHORTEST_MASKED or " " in word or not word[0].isalpha():
        return
    head, tail = term[: term.index(word)], term[term.index(word) + len(word) :]
    inside = len(word) - 1 if tail or head else len(word)
    for start in range(1, inside):
        for end in range(start + 1, min(start + 3, inside + 1)):
            yield head + word[:start] + STRUCK * (end - start) + word[end:] + tail
    if not head and not tail:
        yield word[0] + STRUCK * (len(word) - 2) + word[-1]
        yield word[0] + STRUCK * (len(word) - 1)


def count(hits: Iterable[Hit], tier: str) -> int:
    """At how many words of the text a term of `tier` begins."""
    return len({hit.position for hit in hits if hit.tag.tier == tier})


class Lexicon:
    """All lists together. `languages`: those with terms that decide; `digest`: of the file.

    Unambiguous terms are looked for in every text, bound ones only in texts of their language,
    and roles (words that mean something beside others) in those of theirs and in English.
    """

    def __init__(self, path: Path = LEXICON) -> None:
        data = path.read_bytes()
        self.digest = hashlib.sha256(data).hexdigest()[:12]
        self._anywhere = Table()
        self._bound: dict[str, Table] = defaultdict(Table)
        languages = set()
        for row in data.decode("utf-8").splitlines():
            language, tier, scope, source, term = row.split("\t")
            tag = Tag(language, tier, source)
            table = self._anywhere if scope == "anywhere" else self._bound[language]
            table.add(codecs.decode(term, "rot13"), tag)
            if tier in DECISIVE:
                languages.add(language)
        self.languages = frozenset(languages)

    def covers(self, language: str) -> bool:
        """Whether a text in `language` without hits has been looked at properly."""
        return language == UNDETERMINED or language in self.languages

    def words(self, language: str, tier: str) -> frozenset[str]:
        """The single words of a tier that is bound to its language."""
        return self._bound[language].words(tier)

    def find(self, text: str, language: str) -> list[list[Hit]]:
        """The hits of every reading of `text`; in all but the literal one, only terms that decide.

        language: the primary subtag, or ``und`` for a text too short to tell.
        """
        literal, *others = readings(fold(text))
        if language == "en" and not text.isascii():
            others.append([without_accents(word) for word in literal])
        found = [self._hits(literal, language)]
        for reading in others:
            hits = self._hits(reading, language)
            found.append([hit for hit in hits if hit.tag.tier in DECISIVE])
        return found

    def _hits(self, words: Sequence[str], language: str) -> list[Hit]:
        hits = list(self._anywhere.hits(words))
        for bound in self._tables(language):
            hits += bound.hits(words)
        return hits

    def _tables(self, language: str) -> Iterator[Table]:
        if language in self._bound:
            yield self._bound[language]
        if language != "en":
            yield self._bound["en"]


@cache
def lexicon() -> Lexicon:
    """The lists the project carries, read once a process."""
    return Lexicon()
