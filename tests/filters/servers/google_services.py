"""The four services as far as the scorers use them, answering by simple rules on the text."""

from __future__ import annotations

import re
from typing import Any

import grpc
from google.cloud import dlp_v2, language_v2, vision_v1
from servers import http_service
from servers.grpc_service import GrpcService

EMAIL = r"[a-z]+@[a-z]+"
# In a text it makes the service find it unsafe; in a picture's bytes as well.
BAD = "zebra-crossing"
# Makes the service refuse whatever holds it.
POISON = "poisonous"


class Dlp(GrpcService):
    """DlpService.InspectContent: finds e-mail addresses in tables; holds to the real limits."""

    def __init__(self, most_findings: int = 3000) -> None:
        self._most = most_findings
        self.answered: set[str] = set()
        super().__init__(
            "google.privacy.dlp.v2.DlpService",
            "InspectContent",
            dlp_v2.InspectContentRequest,
            self._inspect,
        )

    def _inspect(self, request: Any, context: grpc.ServicerContext) -> Any:
        texts = [row.values[0].string_value for row in request.item.table.rows]
        size = len(type(request).serialize(request))
        wrong = (
            not re.fullmatch(r"projects/[^/]+/locations/[^/]+", request.parent)
            or size > 500_000
            or len(texts) * len(request.item.table.headers) > 50_000
            or any(POISON in text for text in texts)
        )
        if wrong:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "Invalid value in " + "; ".join(texts)[:99]
            )
        config = request.inspect_config
        found = [
            _finding(kind, row, match, config.include_quote)
            for row, text in enumerate(texts)
            for kind, pattern in _detectors(config)
            for match in re.findall(pattern, text)
        ]
        truncated = len(found) > self._most
        if not truncated or len(texts) <= 2:
            self.answered.update(texts)
        result = {"findings": found[: self._most], "findings_truncated": truncated}
        return dlp_v2.InspectContentResponse(result=result)


def _detectors(config: Any) -> list[tuple[str, str]]:
    custom = [
        (one.info_type.name, rf"\b{re.escape(word)}\b")
        for one in config.custom_info_types
        for word in one.dictionary.word_list.words
    ]
    emails = [("EMAIL_ADDRESS", EMAIL)]
    return [d for d in emails if d[0] in {t.name for t in config.info_types}] + custom


def _finding(kind: str, row: int, quote: str, quoted: bool) -> dict[str, Any]:
    place = {"field_id": {"name": "text"}, "table_location": {"row_index": row}}
    return {
        "quote": quote if quoted else "",
        "info_type": {"name": kind},
        "likelihood": "LIKELY",
        "location": {"content_locations": [{"record_location": place}]},
    }


MODERATION_CATEGORIES = (
    "Toxic", "Insult", "Profanity", "Derogatory", "Sexual", "Death, Harm & Tragedy", "Violent",
    "Firearms & Weapons", "Public Safety", "Health", "Religion & Belief", "Illicit Drugs",
    "War & Conflict", "Finance", "Politics", "Legal",
)  # fmt: skip


class Language(GrpcService):
    """LanguageService.ModerateText of version 2; Klingon is the language it doesn't support."""

    def __init__(self) -> None:
        self.answered: set[str] = set()
        super().__init__(
            "google.cloud.language.v2.LanguageService",
            "ModerateText",
            language_v2.ModerateTextRequest,
            self._moderate,
        )

    def _moderate(self, request: Any, context: grpc.ServicerContext) -> Any:
        text = request.document.content
        if POISON in text:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"Invalid document: {text}")
        self.answered.add(text)
        language = request.document.language_code or "en"
        confidence = 0.9 if BAD in text else 0.1
        return language_v2.ModerateTextResponse(
            moderation_categories=[
                {"name": name, "confidence": confidence} for name in MODERATION_CATEGORIES
            ],
            language_code=language,
            language_supported=language != "tlh",
        )


class Vision(GrpcService):
    """ImageAnnotator.BatchAnnotateImages for SafeSearch; refuses more than 16 images."""

    def __init__(self) -> None:
        self.answered: set[bytes] = set()
        super().__init__(
            "google.cloud.vision.v1.ImageAnnotator",
            "BatchAnnotateImages",
            vision_v1.BatchAnnotateImagesRequest,
            self._annotate,
        )

    def _annotate(self, request: Any, context: grpc.ServicerContext) -> Any:
        images = [one.image.content for one in request.requests]
        if len(images) > 16:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Too many images per request.")
        return vision_v1.BatchAnnotateImagesResponse(responses=[self._one(i) for i in images])

    def _one(self, image: bytes) -> dict[str, Any]:
        if POISON.encode() in image:
            return {"error": {"code": 3, "message": f"Bad image data. {image!r}"}}
        self.answered.add(image)
        adult = "VERY_LIKELY" if BAD.encode() in image else "VERY_UNLIKELY"
        adult = "UNKNOWN" if b"fog" in image else adult
        return {
            "safe_search_annotation": {
                "adult": adult,
                "spoof": "UNLIKELY",
                "medical": "UNLIKELY",
                "violence": "UNLIKELY",
                "racy": "POSSIBLE",
            }
        }


class PerspectiveApi(http_service.HttpService):
    """comments:analyze; knows one key, and the errors that the real one documents."""

    def __init__(self, key: str, languages: tuple[str, ...] = ("en", "de", "hi-Latn")) -> None:
        self._key = key
        self._languages = languages
        self.answered: set[str] = set()
        super().__init__(self._analyze)

    def _analyze(self, handler: Any, body: Any) -> None:
        problem = self._problem(handler, body)
        if problem is not None:
            http_service.fails(400, [problem])(handler, body)
            return
        text = body["comment"]["text"]
        self.answered.add(text)
        value = 0.9 if BAD in text else 0.1
        score = {"summaryScore": {"value": value, "type": "PROBABILITY"}}
        scores = dict.fromkeys(body["requestedAttributes"], score)
        answer = {"attributeScores": scores, "languages": body["languages"]}
        http_service.chunked(answer)(handler, body)

    def _problem(self, handler: Any, body: Any) -> dict[str, Any] | None:
        if handler.headers["X-Goog-Api-Key"] != self._key:
            kind = "type.googleapis.com/google.rpc.ErrorInfo"
            return {"@type": kind, "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        text = body["comment"]["text"]
        if POISON in text:
            return {"errorType": "INVALID_REQUEST"}
        if len(text.encode()) > 20_480:
            return {"errorType": "COMMENT_TOO_LONG", "commentTooLongError": {"maxLength": 20_480}}
        if not set(body["languages"]) <= set(self._languages):
            refused = {"attribute": "TOXICITY", "requestedLanguages": body["languages"]}
            kind = "LANGUAGE_NOT_SUPPORTED_BY_ATTRIBUTE"
            return {"errorType": kind, "languageNotSupportedByAttributeError": refused}
        return None
