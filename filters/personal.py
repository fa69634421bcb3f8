"""Personal information in text: what kinds and how many; and the text with them blacked out.

Names of people are left alone: a public figure's name is a valid caption.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

from filters.contract import Filter, Item, Scores, Subject
from filters.language import language_of
from filters.limits import Limit, LimitsPolicy
from filters.normalise import visible
from filters.personal_contacts import emails, ip_addresses, passports, street_addresses
from filters.personal_ids import NUMBERS, Number
from filters.personal_phones import phone_numbers

FINDINGS = "findings"
INFO_TYPES = (
    "EMAIL_ADDRESS",
    "IP_ADDRESS",
    "PASSPORT",
    "PHONE_NUMBER",
    "STREET_ADDRESS",
    *(number.kind for number in NUMBERS),
)

# Nearly all captions have neither a digit nor an @, and so nothing that is looked for.
_WORTH_A_LOOK = re.compile(r"[\d@]|[\[({<]\s?(?:at|arroba|ät|chiocciola)\b", re.IGNORECASE)
_FIVE_DIGITS = re.compile(r"(?:\d\D*){5}")
_NEARBY = 40
_NEARBY_AFTER = 15


class Found(NamedTuple):
    """A piece of personal information: it never leaves this module."""

    kind: str
    start: int
    end: int


def redact(text: str, language: str = "und") -> tuple[str, Counter[str]]:
    """The text with each finding replaced by its infoType in brackets, and how many of each.

    A text in which nothing was found comes back as it was; another one without its invisible
    characters and in normal form NFKC, since that is what was searched.
    """
    searched = visible(text)
    found = _find(searched, language)
    if not found:
        return text, Counter()
    parts, position = [], 0
    for one in found:
        parts += [searched[position : one.start], f"[{one.kind}]"]
        position = one.end
    return "".join([*parts, searched[position:]]), Counter(one.kind for one in found)


def _find(text: str, language: str) -> list[Found]:
    """What was found, in order and without overlaps; the more certain kinds have precedence."""
    if not _WORTH_A_LOOK.search(text):
        return []
    found: list[Found] = []
    for one in _candidates(text, language):
        if all(one.end <= other.start or other.end <= one.start for other in found):
            found.append(one)
    return sorted(found, key=lambda one: one.start)


def _candidates(text: str, language: str) -> Iterator[Found]:
    yield from _named("EMAIL_ADDRESS", emails(text))
    many_digits = _FIVE_DIGITS.search(text) is not None
    if many_digits:
        yield from _named("PASSPORT", passports(text))
        for number in NUMBERS:
            yield from _named(number.kind, _numbers(text, number))
    yield from _named("IP_ADDRESS", ip_addresses(text))
    yield from _named("STREET_ADDRESS", street_addresses(text))
    if many_digits:
        yield from _named("PHONE_NUMBER", phone_numbers(text, language))


def _named(kind: str, spans: Iterable[tuple[int, int]]) -> Iterator[Found]:
    return (Found(kind, start, end) for start, end in spans)


def _numbers(text: str, number: Number) -> Iterator[tuple[int, int]]:
    for match in number.pattern.finditer(text):
        around = (
            text[max(0, match.start() - _NEARBY) : match.start()],
            text[match.end() : match.end() + _NEARBY_AFTER],
        )
        if number.word and number.needs_word(match[0]) and not any(map(number.word.search, around)):
            continue
        if number.valid(match[0]):
            yield match.span()


@dataclass(frozen=True)
class PersonalInformationScorer:
    """Counts `findings` in all, and those of each infoType that was found.

    info_types: the kinds that count.
    """

    info_types: frozenset[str] = frozenset(INFO_TYPES)
    name: str = "personal-validators"

    def __post_init__(self) -> None:
        if unknown := sorted(self.info_types - set(INFO_TYPES)):
            raise ValueError(f"unknown info types {unknown}; known are {', '.join(INFO_TYPES)}")

    @property
    def version(self) -> str:
        """With the kinds where only some count: they have other scores."""
        if self.info_types == frozenset(INFO_TYPES):
            return _version()
        return f"{_version()}-only-{'-'.join(sorted(self.info_types))}"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        return [self._one(item) for item in items]

    def _one(self, item: Item) -> Scores:
        if item.text is None:
            return Scores(missing="no_text")
        text = visible(item.text)
        # Which language it is matters to telephone numbers alone.
        language = language_of(item) if _FIVE_DIGITS.search(text) else "und"
        kinds = Counter(one.kind for one in _find(text, language) if one.kind in self.info_types)
        counts = {kind: float(count) for kind, count in sorted(kinds.items())}
        return Scores({FINDINGS: float(kinds.total()), **counts}, tuple(sorted(kinds)))


@cache
def _version() -> str:
    return f"1-stdnum-{version('python-stdnum')}-phonenumbers-{version('phonenumbers')}"


def personal_information_filter(
    info_types: Iterable[str] = INFO_TYPES,
    subject: Subject = Subject.TEXT,
    name: str = "personal_information",
    fail_open: bool = False,
) -> Filter:
    """Drops a text with any finding."""
    policy = LimitsPolicy((Limit(FINDINGS, "personal_information", maximum=0),))
    return Filter(
        name, subject, PersonalInformationScorer(frozenset(info_types)), policy, fail_open
    )
