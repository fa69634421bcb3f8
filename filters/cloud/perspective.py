"""Toxicity of text, by the Perspective API, for as long as it lives: until the end of 2026."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from filters.cloud.failures import CallError, Failure
from filters.cloud.http_calls import RejectedError, check_endpoint, post
from filters.cloud.pacing import Pace
from filters.cloud.scorer import CloudScorer, score_askable, text_problem
from filters.contract import BackendDown, Filter, Item, Scores, Subject
from filters.thresholds import ThresholdPolicy

LAST_DAY = date(2026, 12, 31)
_INSTEAD = (
    "Use moderate_text or the embedded toxicity scorer, and choose thresholds anew: they belong "
    "to a scorer."
)

ATTRIBUTES = ("toxicity", "identity_attack", "insult", "threat", "profanity")
THRESHOLD = 0.8  # of PaliGemma's model card

# Every attribute above is scored in these; any other language is refused.
LANGUAGES = (
    "ar", "cs", "de", "en", "es", "fr", "hi", "hi-Latn", "id",
    "it", "ja", "ko", "nl", "pl", "pt", "ru", "sv", "zh",
)  # fmt: skip
MAX_BYTES = 20_480
PACE = Pace(per_second=1)  # the quota of a project, unless it asked for more

_MISSING = {
    "COMMENT_TOO_LONG": "text_too_long",
    "COMMENT_EMPTY": "no_text",
    "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE": "language",
    "LANGUAGE_DETECTION_FAILED": "language",
}


def today() -> date:
    """The date in UTC."""
    return datetime.now(UTC).date()


@dataclass(frozen=True, kw_only=True)
class Perspective(CloudScorer):
    """The probability, 0 to 1, of each of `attributes`; one request a text.

    Google is asked not to store the texts. A text whose language isn't known, or isn't one of
    LANGUAGES, gets no verdict ("language").

    key_from: where the API key is read on the machine that asks: "env:NAME" or "file:PATH".
    today: the date; made after LAST_DAY the scorer raises ValueError, and before it warns.
    """

    key_from: str = "env:PERSPECTIVE_API_KEY"
    attributes: tuple[str, ...] = ATTRIBUTES
    endpoint: str = "https://commentanalyzer.googleapis.com"
    today: Callable[[], date] = today
    pace: Pace = PACE

    @property
    def name(self) -> str:
        return "perspective"

    @property
    def version(self) -> str:
        return "v1alpha1"

    @property
    def _service(self) -> str:
        return "Perspective API"

    @property
    def _access(self) -> str:
        return f"an API key in {self.key_from}, of a project let in to commentanalyzer"

    def _check(self) -> None:
        if self.key_from.partition(":")[0] not in ("env", "file"):
            # The value isn't shown: it may be the key itself.
            raise ValueError("perspective: key_from names a place: env:NAME or file:PATH")
        unknown = sorted(set(self.attributes) - set(ATTRIBUTES))
        if unknown or not self.attributes:
            raise ValueError(f"perspective: no attribute {unknown}; there are {ATTRIBUTES}")
        check_endpoint(self.endpoint, "perspective: endpoint")
        if gone := _gone(self.today()):
            raise ValueError(gone)
        warnings.warn(
            f"The Perspective API ends on {LAST_DAY}, and nothing takes its place. {_INSTEAD}",
            FutureWarning,
            stacklevel=4,
        )

    def score(self, items: Sequence[Item]) -> list[Scores]:
        """One Scores for each item. Raises BackendDown when too many calls failed, or it's gone."""
        if gone := _gone(self.today()):
            raise BackendDown(gone)
        return score_askable(items, _problem, self._score_each)

    def _score_each(self, items: list[Item]) -> list[Scores]:
        return [one for item in items for one in self._backend.scores([item], self._analyze)]

    def _analyze(self, items: Sequence[Item], seconds: float) -> list[Scores]:
        body = {
            "comment": {"text": items[0].text},
            "languages": [perspective_language(items[0].language)],
            # With a scoreThreshold a low score would be left out, and be missing.
            "requestedAttributes": {name.upper(): {} for name in self.attributes},
            "doNotStore": True,
            "spanAnnotations": False,
        }
        url = f"{self.endpoint}/v1alpha1/comments:analyze"
        try:
            answer = post(self._client.get(), url, body, seconds)
        except RejectedError as rejected:
            detail = rejected.detail
        else:
            return [self._scores(answer)]
        return [_refusal(detail)]

    def _scores(self, answer: Any) -> Scores:
        values = {name: _value(answer, name.upper()) for name in self.attributes}
        return Scores(values)

    def _make_client(self) -> Any:
        import requests

        session = requests.Session()
        # In a header: clients and proxies log addresses.
        session.headers["X-Goog-Api-Key"] = _key(self.key_from)
        session.headers["Content-Type"] = "application/json"
        # Without compression, MAX_ANSWER_BYTES holds for what arrives.
        session.headers["Accept-Encoding"] = "identity"
        return session


def perspective_filter(
    scorer: Perspective,
    thresholds: Mapping[str, float] | None = None,
    subject: Subject = Subject.TEXT,
    name: str = "toxicity",
    fail_open: bool = False,
) -> Filter:
    """Drops texts that reach a threshold; by default THRESHOLD for every attribute scored."""
    if thresholds is None:
        thresholds = dict.fromkeys(scorer.attributes, THRESHOLD)
    unscored = sorted(set(thresholds) - set(scorer.attributes))
    if unscored:
        raise ValueError(f"perspective: {unscored} has a threshold and isn't among the attributes")
    return Filter(name, subject, scorer, ThresholdPolicy(thresholds), fail_open)


def perspective_language(tag: str | None) -> str | None:
    """The one of LANGUAGES that a BCP 47 tag belongs to, or None.

    >>> [perspective_language(tag) for tag in ("pt-BR", "hi-Latn-IN", "zh-Hant", "tr", None)]
    ['pt', 'hi-Latn', 'zh', None, None]
    """
    subtags = (tag or "").replace("_", "-").lower().split("-")
    by_name = {language.lower(): language for language in LANGUAGES}
    return by_name.get("-".join(subtags[:2])) or by_name.get(subtags[0])


def _problem(item: Item) -> str | None:
    if problem := text_problem(item, MAX_BYTES):
        return problem
    return None if perspective_language(item.language) else "language"


def _gone(day: date) -> str | None:
    if day <= LAST_DAY:
        return None
    return (
        f"Google ended the Perspective API on {LAST_DAY} and put nothing in its place. {_INSTEAD}"
    )


def _key(key_from: str) -> str:
    """Raises BackendDown, which shows the place and not the key."""
    kind, _, where = key_from.partition(":")
    try:
        key = (os.environ.get(where, "") if kind == "env" else Path(where).read_text()).strip()
    except (OSError, UnicodeDecodeError):
        key = ""
    if not key or not key.isascii() or not key.isprintable():
        raise BackendDown(f"Perspective API: no API key in {key_from}; put one there")
    return key


def _value(answer: Any, attribute: str) -> float:
    """Raises CallError where the score isn't a number from 0 to 1: it is never taken for 0."""
    for step in ("attributeScores", attribute, "summaryScore", "value"):
        answer = answer.get(step) if isinstance(answer, dict) else None
    if isinstance(answer, bool) or not isinstance(answer, int | float) or not 0 <= answer <= 1:
        raise CallError(Failure.BAD_ANSWER)
    return float(answer)


def _refusal(detail: Any) -> Scores:
    """What HTTP 400 says of this text. Raises CallError where it says nothing of the text."""
    error = detail.get("error") if isinstance(detail, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for one in details if isinstance(details, list) else ():
        if not isinstance(one, dict):
            continue
        if missing := _MISSING.get(str(one.get("errorType"))):
            return Scores(missing=missing)
        if one.get("reason") == "API_KEY_INVALID":
            raise CallError(Failure.UNAUTHENTICATED)
    raise CallError(Failure.REFUSED)
