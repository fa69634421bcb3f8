"""Filters from plain values, as a configuration file has them: one function a backend.

What a backend needs is imported when it is asked for: cloud clients and onnxruntime are slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filters.contract import Filter
from filters.language import language_filter
from filters.quality import BLANK_ENTROPY, BLANK_SPREAD, blank_image_filter, image_size_filter
from filters.text_quality import text_quality_filter

if TYPE_CHECKING:
    from filters.blocklist import Blocklist

image_size = image_size_filter
text_quality = text_quality_filter


def blocklist(path: str, threshold: int = 31) -> Blocklist:
    """The operator's own list. path: lines of ``sha256:HEX`` or ``pdq:HEX``; threshold in bits."""
    from filters.blocklist import Blocklist
    from filters.hash_lists import read_hash_list

    return Blocklist(read_hash_list(Path(path), threshold))


def language(allow: Sequence[str], **shared: Any) -> Filter:
    """Keeps texts in the languages of `allow`, as two-letter codes."""
    return language_filter(allow, **shared)


def unsafe_text(tiers: Sequence[str] | None = None, **shared: Any) -> Filter:
    """By word lists; tiers: those that drop."""
    from filters.unsafe_text import unsafe_text_filter

    return unsafe_text_filter(**_given(tiers=tiers), **shared)


def unsafe_by_moderate_text(
    location: str,
    project: str | None = None,
    model: int = 1,
    endpoint: str | None = None,
    thresholds: Mapping[str, float] | None = None,
    **shared: Any,
) -> Filter:
    """By Natural Language; see `filters.cloud.moderate_text`."""
    from filters.cloud.moderate_text import ModerateText, moderate_text_filter

    scorer = ModerateText(location=location, project=project, model=model, endpoint=endpoint)
    return moderate_text_filter(scorer, **_given(thresholds=thresholds), **shared)


def toxicity(
    thresholds: Mapping[str, float] | None = None,
    tiers: Sequence[str] | None = None,
    **shared: Any,
) -> Filter:
    """By the carried network and word lists."""
    from filters.toxicity import toxicity_filter

    return toxicity_filter(thresholds, **_given(tiers=tiers), **shared)


def toxicity_by_detoxify(
    path: str,
    tokenizer: str,
    variant: str | None = None,
    labels: Mapping[int, str] | None = None,
    languages: Sequence[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    activation: str | None = None,
    sha256: str | None = None,
    tokenizer_sha256: str | None = None,
    max_tokens: int | None = None,
    threads: int | None = None,
    batch: int | None = None,
    **shared: Any,
) -> Filter:
    """By a Detoxify checkpoint of the operator's in ONNX; see `filters.text_classifier_config`."""
    from filters.text_classifier import text_classifier_filter
    from filters.text_classifier_config import detoxify_config

    given = _given(
        labels=labels,
        languages=languages,
        thresholds=thresholds,
        activation=activation,
        sha256=sha256,
        tokenizer_sha256=tokenizer_sha256,
        max_tokens=max_tokens,
        threads=threads,
        batch=batch,
    )
    return text_classifier_filter(detoxify_config(path, tokenizer, variant, **given), **shared)


def toxicity_by_perspective(
    key_from: str = "env:PERSPECTIVE_API_KEY",
    attributes: Sequence[str] | None = None,
    endpoint: str | None = None,
    thresholds: Mapping[str, float] | None = None,
    **shared: Any,
) -> Filter:
    """By Perspective, which ends with the year 2026; see `filters.cloud.perspective`."""
    from filters.cloud.perspective import Perspective, perspective_filter

    named = _given(attributes=attributes and tuple(attributes), endpoint=endpoint)
    return perspective_filter(Perspective(key_from=key_from, **named), thresholds, **shared)


def toxicity_by_moderate_text(
    location: str,
    project: str | None = None,
    model: int = 1,
    endpoint: str | None = None,
    thresholds: Mapping[str, float] | None = None,
    **shared: Any,
) -> Filter:
    """By Natural Language's toxic categories; see `filters.cloud.moderate_text`."""
    from filters.cloud.moderate_text import TOXIC_THRESHOLDS

    chosen = TOXIC_THRESHOLDS if thresholds is None else thresholds
    return unsafe_by_moderate_text(location, project, model, endpoint, chosen, **shared)


def personal_information(info_types: Sequence[str] | None = None, **shared: Any) -> Filter:
    """By validators and checksums; info_types: those that count."""
    from filters.personal import personal_information_filter

    return personal_information_filter(**_given(info_types=info_types), **shared)


def personal_information_by_dlp(
    project: str,
    location: str,
    info_types: Sequence[str] | None = None,
    min_likelihood: str | None = None,
    endpoint: str | None = None,
    most_findings: int = 0,
    **shared: Any,
) -> Filter:
    """By Cloud DLP; see `filters.cloud.dlp`."""
    from filters.cloud.dlp import CloudDlp, dlp_filter

    named = _given(
        info_types=info_types and tuple(info_types),
        min_likelihood=min_likelihood,
        endpoint=endpoint,
    )
    scorer = CloudDlp(project=project, location=location, **named)
    return dlp_filter(scorer, most_findings, **shared)


def blank_image(
    min_spread: float | None = BLANK_SPREAD,
    min_entropy: float | None = BLANK_ENTROPY,
    **shared: Any,
) -> Filter:
    """Pictures of one colour."""
    return blank_image_filter(min_spread, min_entropy, **shared)


def open_nsfw(
    drop: float | None = None, doubt: float | None = None, threads: int = 1, **shared: Any
) -> Filter:
    """By open_nsfw; dropped from `drop`, quarantined from `doubt`."""
    from filters.nsfw import nsfw_filter

    return nsfw_filter(**_given(drop=drop, doubt=doubt), threads=threads, **shared)


def safe_search(
    project: str,
    location: str,
    categories: Sequence[str] | None = None,
    endpoint: str | None = None,
    thresholds: Mapping[str, float] | None = None,
    **shared: Any,
) -> Filter:
    """By Vision SafeSearch; see `filters.cloud.safe_search`."""
    from filters.cloud.safe_search import SafeSearch, safe_search_filter

    named = _given(categories=categories and tuple(categories), endpoint=endpoint)
    scorer = SafeSearch(project=project, location=location, **named)
    return safe_search_filter(scorer, **_given(thresholds=thresholds), **shared)


def classifier(
    path: str,
    size: Sequence[int],
    labels: Mapping[int, str],
    drop: Mapping[str, float],
    doubt: Mapping[str, float] | None = None,
    sha256: str | None = None,
    resize: Sequence[int] | None = None,
    scale: float | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    layout: str | None = None,
    channels: str | None = None,
    output: str | None = None,
    activation: str | None = None,
    threads: int | None = None,
    *,
    name: str,
    fail_open: bool = False,
) -> Filter:
    """By a model of the operator's; see `filters.classifier_config`."""
    from filters.classifier import classifier_filter
    from filters.classifier_config import ClassifierConfig

    given = _given(
        path=path,
        size=size,
        labels=labels,
        drop=drop,
        doubt=doubt,
        sha256=sha256,
        resize=resize,
        scale=scale,
        mean=mean,
        std=std,
        layout=layout,
        channels=channels,
        output=output,
        activation=activation,
        threads=threads,
    )
    return classifier_filter(ClassifierConfig.from_mapping({"name": name, **given}), fail_open)


def decontamination(path: str, threshold: int = 31, **shared: Any) -> Filter:
    """Drops the pictures of a benchmark: a folder of them, or a list of their hashes."""
    from filters.decontamination import decontamination_filter
    from filters.hash_lists import read_hash_list, read_pictures

    place = Path(path)
    known = read_pictures(place, threshold) if place.is_dir() else read_hash_list(place, threshold)
    return decontamination_filter(known, **shared)


def perceptual_hash(
    crop: float | None = None, *, name: str = "perceptual_hash", fail_open: bool = False
) -> Filter:
    """Records hashes, which duplicates are joined by; drops nothing."""
    from filters.perceptual_hash import perceptual_hash_filter

    return perceptual_hash_filter(crop, name)


def _given(**options: Any) -> dict[str, Any]:
    """The options that were given: a backend knows its own defaults."""
    return {name: value for name, value in options.items() if value is not None}
