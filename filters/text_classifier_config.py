"""How an operator describes a classifier of text: its files, what it reads, and its thresholds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filters.activation import ACTIVATIONS
from filters.hints import hint
from filters.thresholds import ThresholdPolicy


@dataclass(frozen=True)
class Variant:
    """A kind of Detoxify checkpoint.

    labels: of its first outputs, in their order. outputs: how many it has; those beyond the labels
    say which groups a text names, and aren't looked at. languages: that it was trained on.
    """

    labels: tuple[str, ...]
    outputs: int
    languages: tuple[str, ...]


# From the configurations that Detoxify publishes. `insult` and `threat` stand in another order in
# the first, so that a checkpoint taken for another variant would be misread without a word.
_DEBIASED = (
    "toxicity",
    "severe_toxicity",
    "obscene",
    "identity_attack",
    "insult",
    "threat",
    "sexual_explicit",
)
_ORIGINAL = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack")
VARIANTS = {
    "original": Variant(_ORIGINAL, 6, ("en",)),
    "unbiased": Variant(_DEBIASED, 16, ("en",)),
    "multilingual": Variant(_DEBIASED, 16, ("en", "es", "fr", "it", "pt", "ru", "tr")),
}

# `toxicity` and `identity_attack` are left out: they rise where a group is merely named.
# `sexual_explicit` is the unsafe-text filter's. The networks learnt labels of 0 or 1 (for the
# debiased ones: 1 from half of the annotators on), so that .5 is where they hold one likelier than
# not.
DROPPED = ("severe_toxicity", "obscene", "insult", "threat")
THRESHOLD = 0.5

_SHA256 = re.compile("[0-9a-f]{64}")
_SUBTAG = re.compile("[a-z]{2,3}")


@dataclass(frozen=True, kw_only=True)
class TextClassifierConfig:
    """How to ask a model, and what to do with its answer.

    path: the model, an ONNX file. tokenizer: its tokenizer.json. sha256, tokenizer_sha256: of the
        two; None takes what is there.
    labels: index in the output to the score's name; other indices aren't looked at. outputs: how
        many there have to be; None takes any number that has all labels.
    languages: primary subtags of those that the model can read, ``und`` among them where it shall
        also be asked about texts too short to tell. Any other has no opinion.
    thresholds: label to the lowest score that is dropped. activation: what makes scores of outputs.
    max_tokens: that the model takes, the special ones included; a longer text has no opinion.
    threads: for one call of onnxruntime. batch: texts a call.
    """

    path: Path
    tokenizer: Path
    labels: Mapping[int, str]
    languages: tuple[str, ...]
    thresholds: Mapping[str, float]
    outputs: int | None = None
    sha256: str | None = None
    tokenizer_sha256: str | None = None
    activation: str = "sigmoid"
    max_tokens: int = 512
    threads: int = 1
    batch: int = 16

    def __post_init__(self) -> None:
        _refuse_unknown("activation", self.activation, ACTIVATIONS)
        names = list(self.labels.values())
        if not names or min(self.labels) < 0 or len(set(names)) < len(names):
            raise ValueError(
                f"labels {dict(self.labels)!r} must map an index from 0 on to a name of its own"
            )
        for option in ("max_tokens", "threads", "batch"):
            if not isinstance(getattr(self, option), int) or getattr(self, option) < 1:
                raise ValueError(f"{option} {getattr(self, option)!r} must be at least 1")
        for option in ("sha256", "tokenizer_sha256"):
            digest = getattr(self, option)
            if digest is not None and not (isinstance(digest, str) and _SHA256.fullmatch(digest)):
                raise ValueError(f"{option} {digest!r} must be 64 hexadecimal digits in lower case")
        self._check_languages()
        self._check_thresholds()

    def policy(self) -> ThresholdPolicy:
        return ThresholdPolicy(self.thresholds)

    def _check_languages(self) -> None:
        if not self.languages:
            raise ValueError("languages: name one that the model reads")
        for language in self.languages:
            if not _SUBTAG.fullmatch(str(language)):
                raise ValueError(
                    f"languages: {language!r} must be a primary subtag such as en, or und"
                )

    def _check_thresholds(self) -> None:
        self.policy()
        for label, threshold in self.thresholds.items():
            _refuse_unknown("thresholds", label, self.labels.values())
            # One of 80 would be taken and never be reached.
            if self.activation != "none" and not 0 < threshold <= 1:
                raise ValueError(f"thresholds: {label} {threshold!r} must be above 0 and at most 1")


def detoxify_config(
    path: str | Path,
    tokenizer: str | Path,
    variant: str | None = None,
    *,
    labels: Mapping[int, str] | None = None,
    languages: Sequence[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    **options: Any,
) -> TextClassifierConfig:
    """Of plain values, as YAML has them. variant: of `VARIANTS`, gives what isn't named here.

    ValueError for what makes no sense, and for thresholds without the digest of the weights that
    they were chosen for.
    """
    if variant is not None:
        _refuse_unknown("variant", variant, VARIANTS)
    if variant is None and None in (labels, languages, thresholds):
        raise ValueError(
            f"name a variant ({', '.join(VARIANTS)}), or labels, languages and thresholds"
        )
    if thresholds is not None and options.get("sha256") is None:
        raise ValueError(
            "thresholds belong to the weights that they were chosen for: name sha256 as well"
        )
    kind = None if variant is None else VARIANTS[variant]
    named = _labels(labels) if kind is None or labels is not None else dict(enumerate(kind.labels))
    chosen = dict.fromkeys((one for one in DROPPED if one in named.values()), THRESHOLD)
    return TextClassifierConfig(
        path=Path(path),
        tokenizer=Path(tokenizer),
        labels=named,
        outputs=None if kind is None else kind.outputs,
        languages=_languages(languages or (kind.languages if kind else ())),
        thresholds=chosen if thresholds is None else _thresholds(thresholds),
        **options,
    )


def _labels(given: Any) -> dict[int, str]:
    try:
        return {int(index): str(name) for index, name in given.items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"labels: expected an index and its name, not {given!r}") from None


def _languages(given: Sequence[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise ValueError(f"languages: expected a list such as [en], not {given!r}")
    return tuple(given)


def _thresholds(given: Any) -> dict[str, float]:
    if not isinstance(given, Mapping):
        raise ValueError(f"thresholds: expected a label and its lowest score, not {given!r}")
    for label, threshold in given.items():
        if isinstance(threshold, bool) or not isinstance(threshold, int | float):
            raise ValueError(f"thresholds: {label} {threshold!r} must be a number")
    return {str(label): float(threshold) for label, threshold in given.items()}


def _refuse_unknown(option: str, word: str, known: Any) -> None:
    if word not in known:
        raise ValueError(f"{option}: {word!r} is unknown; {hint(word, known)}")
