"""Which language a text is in, said only when it can be told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version

from filters.contract import Answer, Filter, Item, Scores, Subject, Verdict

UNDETERMINED = "und"

# Told apart by py3langid well enough on a line of text. Small relatives of a large language are
# left out (Galician beside Portuguese, Luxembourgish beside German): they draw short captions away
# from it far more often than they occur.
_TAGS = (
    "ar bg bn ca cs da de el en es et eu fa fi fr gu he hi hr hu hy id it ja ka kk km kn ko lo lt "
    "lv mk ml mn mr ms my ne nl no pa pl pt ro ru si sk sl sq sr sv sw ta te th tl tr uk ur uz vi "
    "zh"
)
LANGUAGES = tuple(_TAGS.split())

# Below this share of the probability the answer is a guess. A short caption in a common language is
# easily taken for a rarer one, so that a rare language needs more: measured on the development half
# of the labelled lines.
_COMMON_TAGS = "ar da de en es fa fi fr hi hu it ja ko nl no pl pt ru sv th tr zh"
COMMON = frozenset(_COMMON_TAGS.split())
LEAST_PROBABILITY = 0.35
LEAST_PROBABILITY_RARE = 0.75
LEAST_LETTERS = 8


@cache
def _identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier


# The filters of one batch ask about the same texts one after another.
@lru_cache(maxsize=1024)
def identify(text: str) -> tuple[str, float]:
    """The language's primary subtag and its probability; ``und`` where that is a guess.

    Letters of one script are enough for Japanese, Thai and the like, so only spaced scripts need
    `LEAST_LETTERS`.
    """
    language, probability = _identifier().classify(text)
    letters = sum(map(str.isalpha, text))
    least = LEAST_PROBABILITY if language in COMMON else LEAST_PROBABILITY_RARE
    told = probability >= least and (letters >= LEAST_LETTERS or not text.isascii())
    return (language, float(probability)) if told else (UNDETERMINED, float(probability))


def language_of(item: Item) -> str:
    """The primary subtag that came with the item, else the identified one."""
    if item.language:
        return item.language.replace("_", "-").split("-")[0].lower()
    return identify(item.text or "")[0]


@dataclass(frozen=True)
class LanguageScorer:
    """Scores the identified language with its probability; the label says which it is."""

    name: str = "py3langid"

    @property
    def version(self) -> str:
        return _version()

    def score(self, items: Sequence[Item]) -> list[Scores]:
        return [_language(item.text) for item in items]


@cache
def _version() -> str:
    return version("py3langid")


def _language(text: str | None) -> Scores:
    if text is None:
        return Scores(missing="no_text")
    language, probability = identify(text)
    if language == UNDETERMINED:
        return Scores(missing="undetermined")
    return Scores({language: probability}, (language,))


@dataclass(frozen=True)
class AllowedLanguages:
    """Drops what isn't in one of `languages`, given as primary subtags."""

    languages: frozenset[str]

    def decide(self, scores: Scores) -> Answer:
        language, probability = next(iter(scores.values.items()))
        if language in self.languages:
            return Verdict.KEEP, None, probability, None
        return Verdict.DROP, "other_language", probability, None


def language_filter(
    languages: Iterable[str],
    subject: Subject = Subject.TEXT,
    name: str = "language",
    fail_open: bool = False,
) -> Filter:
    """Keeps texts in `languages`; one too short to tell has no verdict.

    ValueError for a language that can't be identified.
    """
    allowed = frozenset(languages)
    if unknown := sorted(allowed - set(LANGUAGES)):
        raise ValueError(f"can't identify {unknown}; known are {' '.join(LANGUAGES)}")
    return Filter(name, subject, LanguageScorer(), AllowedLanguages(allowed), fail_open)
