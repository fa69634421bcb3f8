"""Unsafe and toxic text, by the Natural Language API's moderation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from filters.cloud.failures import CallError, Failure
from filters.cloud.google_clients import answer_of, make_client
from filters.cloud.pacing import Pace
from filters.cloud.scorer import CloudScorer, score_askable, text_problem
from filters.contract import Filter, Item, Scores, Subject
from filters.thresholds import ThresholdPolicy

# What an answer scores (cloud.google.com/natural-language/docs/moderating-text).
CATEGORIES = (
    "toxic",
    "insult",
    "profanity",
    "derogatory",
    "sexual",
    "death_harm_tragedy",
    "violent",
    "firearms_weapons",
    "public_safety",
    "health",
    "religion_belief",
    "illicit_drugs",
    "war_conflict",
    "finance",
    "politics",
    "legal",
)

# cloud.google.com/natural-language/quotas: 600 requests a minute for each project.
MAX_BYTES = 1_000_000
PACE = Pace(per_second=10, burst=10)

# The operator's to tune: Google publishes no thresholds. Topics (health, politics, ...) are scored
# and kept in the ledger, and drop nothing by themselves.
TOXIC_THRESHOLDS: Mapping[str, float] = {"toxic": 0.8, "insult": 0.8, "derogatory": 0.8}
UNSAFE_THRESHOLDS: Mapping[str, float] = {"sexual": 0.8, "profanity": 0.8}

_HOSTS = {
    "global": "language.googleapis.com",
    "eu": "eu-language.googleapis.com",
    "us": "us-language.googleapis.com",
    "au": "au-language.googleapis.com",
}


@dataclass(frozen=True, kw_only=True)
class ModerateText(CloudScorer):
    """The confidence, 0 to 1, of each of CATEGORIES; one request a text.

    A language that the service only makes an effort at gets no verdict ("language").

    location: "eu", "us" or "au", where texts are processed; "global" has to be said.
    project: billed where the credentials are a person's; a service account has its own.
    model: 1 (the service's default) or 2; the scores of one don't compare with the other's.
    endpoint: host[:port], in place of the location's own.
    """

    location: str
    project: str | None = None
    model: int = 1
    endpoint: str | None = None
    pace: Pace = PACE

    @property
    def name(self) -> str:
        return "moderate-text"

    @property
    def version(self) -> str:
        return f"v2/model-{self.model}"

    @property
    def _service(self) -> str:
        return "Natural Language moderate_text"

    @property
    def _access(self) -> str:
        return "a project with language.googleapis.com enabled (no role of its own)"

    def _check(self) -> None:
        if self.location not in _HOSTS:
            raise ValueError(
                f"moderate_text: location is {self.location!r}; it is one of {tuple(_HOSTS)}"
            )
        if self.model not in (1, 2):
            raise ValueError(f"moderate_text: model is {self.model}; it is 1 or 2")

    def score(self, items: Sequence[Item]) -> list[Scores]:
        """One Scores for each item. Raises BackendDown when too many calls failed."""
        return score_askable(items, lambda item: text_problem(item, MAX_BYTES), self._score_each)

    def _score_each(self, items: list[Item]) -> list[Scores]:
        return [one for item in items for one in self._backend.scores([item], self._moderate)]

    def _moderate(self, items: Sequence[Item], seconds: float) -> list[Scores]:
        document: dict[str, Any] = {"content": items[0].text, "type_": "PLAIN_TEXT"}
        if language := _language_code(items[0].language):
            document["language_code"] = language
        request = {"document": document, "model_version": f"MODEL_VERSION_{self.model}"}
        client = self._client.get()
        answer = answer_of(
            lambda: client.moderate_text(request=request, retry=None, timeout=seconds)
        )
        return [_scores(answer)]

    def _make_client(self) -> Any:
        from google.cloud.language_v2.services.language_service import LanguageServiceClient
        from google.cloud.language_v2.services.language_service.transports import (
            LanguageServiceGrpcTransport,
        )

        host = self.endpoint or _HOSTS[self.location]
        return make_client(LanguageServiceClient, LanguageServiceGrpcTransport, host, self.project)


def moderate_text_filter(
    scorer: ModerateText,
    thresholds: Mapping[str, float] = UNSAFE_THRESHOLDS,
    subject: Subject = Subject.TEXT,
    name: str = "unsafe_text",
    fail_open: bool = False,
) -> Filter:
    """Drops texts that reach a threshold; TOXIC_THRESHOLDS makes it the toxicity filter."""
    unknown = sorted(set(thresholds) - set(CATEGORIES))
    if unknown:
        raise ValueError(f"moderate_text: no category {unknown}; there are {CATEGORIES}")
    return Filter(name, subject, scorer, ThresholdPolicy(thresholds), fail_open)


def _language_code(tag: str | None) -> str | None:
    # "und" says that nobody knows: the service then finds out by itself.
    return None if tag is None or tag.lower() in ("", "und") else tag


def _scores(answer: Any) -> Scores:
    """The known categories' scores; a policy takes an absent one for unknown, never for 0.

    Raises CallError where there is none, or one that isn't a number from 0 to 1.
    """
    found = {_label(one.name): one.confidence for one in answer.moderation_categories}
    values = {label: found[label] for label in CATEGORIES if label in found}
    if not answer.language_supported and answer.language_code:
        return Scores(missing="language")
    if not values or not all(0 <= value <= 1 for value in values.values()):
        raise CallError(Failure.BAD_ANSWER)
    return Scores(values)


def _label(category: str) -> str:
    """
    >>> _label("Death, Harm & Tragedy")
    'death_harm_tragedy'
    """
    return re.sub(r"[^a-z]+", "_", category.lower()).strip("_")
