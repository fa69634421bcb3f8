"""Pornographic, violent and other unsafe images, by Vision SafeSearch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from filters.cloud.failures import CallError, Failure
from filters.cloud.google_clients import answer_of, failure_of_code, make_client
from filters.cloud.pacing import Pace
from filters.cloud.scorer import CloudScorer, chunks, score_askable
from filters.contract import Filter, Item, Scores, Subject
from filters.thresholds import ThresholdPolicy

CATEGORIES = ("adult", "spoof", "medical", "violence", "racy")

# The five answers in their order, evenly from 0 to 1; UNKNOWN (0) is no answer.
LIKELIHOODS: Mapping[str, float] = {
    "VERY_UNLIKELY": 0.0,
    "UNLIKELY": 0.25,
    "POSSIBLE": 0.5,
    "LIKELY": 0.75,
    "VERY_LIKELY": 1.0,
}

# 16 images a request; 10 MB for a request in JSON (cloud.google.com/vision/quotas), in which base64
# makes 4 bytes of 3. The same bytes are kept to here, less some for the rest of the request.
MAX_IMAGES = 16
MAX_BYTES = 10_000_000 * 3 // 4 - 100_000

# 1,800 images a minute for each feature and project, reached before 1,800 requests.
PACE = Pace(per_second=30, burst=2 * MAX_IMAGES, counts_items=True)

PORNOGRAPHY_THRESHOLDS: Mapping[str, float] = {"adult": LIKELIHOODS["LIKELY"]}

_HOSTS = {
    "global": "vision.googleapis.com",
    "eu": "eu-vision.googleapis.com",
    "us": "us-vision.googleapis.com",
}


@dataclass(frozen=True, kw_only=True)
class SafeSearch(CloudScorer):
    """The likelihood of each of `categories`, as a number of LIKELIHOODS; 16 images a request.

    Sends the encoded image as it is. One too large for a request gets no verdict
    ("image_too_large"), and so does one with an UNKNOWN likelihood ("unknown_likelihood").

    project: billed for the requests.
    location: "eu" or "us", whose endpoint is asked; "global" has to be said. Google promises
        processing in the place for reading text, and says nothing of SafeSearch.
    endpoint: host[:port], in place of the location's own.
    """

    project: str
    location: str
    categories: tuple[str, ...] = ("adult", "racy", "violence")
    endpoint: str | None = None
    pace: Pace = PACE

    @property
    def name(self) -> str:
        return "safe-search"

    @property
    def version(self) -> str:
        return "v1"

    @property
    def _service(self) -> str:
        return "Vision SafeSearch"

    @property
    def _access(self) -> str:
        return f"vision.googleapis.com enabled on {self.project} (no role of its own)"

    def _check(self) -> None:
        if not self.project:
            raise ValueError("safe_search: name the project that is billed")
        if self.location not in _HOSTS:
            raise ValueError(
                f"safe_search: location is {self.location!r}; it is one of {tuple(_HOSTS)}"
            )
        unknown = sorted(set(self.categories) - set(CATEGORIES))
        if unknown or not self.categories:
            raise ValueError(f"safe_search: no category {unknown}; there are {CATEGORIES}")

    def score(self, items: Sequence[Item]) -> list[Scores]:
        """One Scores for each item. Raises BackendDown when too many calls failed."""
        return score_askable(items, _problem, self._score_images)

    def _score_images(self, items: list[Item]) -> list[Scores]:
        images = [item.encoded or b"" for item in items]
        return [
            one
            for batch in chunks(images, len, MAX_BYTES, MAX_IMAGES)
            for one in self._backend.scores(batch, self._annotate)
        ]

    def _annotate(self, images: Sequence[bytes], seconds: float) -> list[Scores]:
        features = [{"type_": "SAFE_SEARCH_DETECTION"}]
        request: dict[str, Any] = {
            "requests": [{"image": {"content": i}, "features": features} for i in images]
        }
        if self.location != "global":
            request["parent"] = f"projects/{self.project}/locations/{self.location}"
        client = self._client.get()
        answer = answer_of(
            lambda: client.batch_annotate_images(request=request, retry=None, timeout=seconds)
        )
        if len(answer.responses) != len(images):
            raise CallError(Failure.BAD_ANSWER)
        failures = [_image_failure(response) for response in answer.responses]
        if failures[0] and all(one not in (None, Failure.REFUSED) for one in failures):
            raise CallError(failures[0])  # not one image answered or refused: it's the service
        return [
            self._scores(response) if failure is None else Scores(error=failure.value)
            for response, failure in zip(answer.responses, failures, strict=True)
        ]

    def _scores(self, response: Any) -> Scores:
        found = {c: getattr(response.safe_search_annotation, c) for c in self.categories}
        # A number that the enumeration doesn't have has no name either.
        names = {category: getattr(value, "name", "") for category, value in found.items()}
        if not all(name in LIKELIHOODS for name in names.values()):
            return Scores(missing="unknown_likelihood")
        return Scores({category: LIKELIHOODS[name] for category, name in names.items()})

    def _make_client(self) -> Any:
        from google.cloud.vision_v1.services.image_annotator import ImageAnnotatorClient
        from google.cloud.vision_v1.services.image_annotator.transports import (
            ImageAnnotatorGrpcTransport,
        )

        host = self.endpoint or _HOSTS[self.location]
        return make_client(ImageAnnotatorClient, ImageAnnotatorGrpcTransport, host, self.project)


def safe_search_filter(
    scorer: SafeSearch,
    thresholds: Mapping[str, float] = PORNOGRAPHY_THRESHOLDS,
    name: str = "pornographic_images",
    fail_open: bool = False,
) -> Filter:
    """Drops images whose likelihood, as a number of LIKELIHOODS, reaches a threshold."""
    unscored = sorted(set(thresholds) - set(scorer.categories))
    if unscored:
        raise ValueError(f"safe_search: {unscored} has a threshold and isn't among the categories")
    return Filter(name, Subject.IMAGE, scorer, ThresholdPolicy(thresholds), fail_open)


def _problem(item: Item) -> str | None:
    if not item.encoded:
        return "no_image"
    return "image_too_large" if len(item.encoded) > MAX_BYTES else None


def _image_failure(response: Any) -> Failure | None:
    if response.error.code:
        return failure_of_code(response.error.code)
    return None if "safe_search_annotation" in response else Failure.BAD_ANSWER
