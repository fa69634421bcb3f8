"""Toxic text by an operator's own network: a Detoxify checkpoint, made ONNX by the operator.

Only what can't run code is read: an ONNX file and a tokenizer.json, never a pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from filters import onnx
from filters.activation import activated
from filters.contract import BackendDown, Filter, Item, Scores, Subject
from filters.language import language_of
from filters.text_classifier_config import TextClassifierConfig

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
# As the tokenizers of BERT and of RoBERTa call it, where tokenizer.json has no padding of its own.
PAD_TOKENS = ("[PAD]", "<pad>")


@dataclass(frozen=True)
class TextClassifier:
    """The scores of an operator's model for texts in the languages that it reads.

    A text in another language, and one that is longer than the model takes, has no opinion: nothing
    is cut off unseen. Raises BackendDown where a file is missing, isn't the one that was asked for,
    or isn't a model of texts with these labels.
    """

    config: TextClassifierConfig

    @property
    def name(self) -> str:
        return "detoxify"

    @property
    def version(self) -> str:
        """The digest of the weights, and one of all else that the scores depend on."""
        config = self.config
        asked = (sorted(config.labels.items()), config.activation, _digest(config.tokenizer))
        settings = hashlib.sha256(repr(asked).encode()).hexdigest()[:12]
        return f"sha256:{_digest(config.path)}-{settings}"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        self._check_digests()
        missing = {row: reason for row, item in enumerate(items) if (reason := self._unread(item))}
        texts = {row: item.text or "" for row, item in enumerate(items) if row not in missing}
        tokens = {row: _tokens(self.config.tokenizer, text) for row, text in texts.items()}
        longest = self.config.max_tokens
        missing |= {row: "text_too_long" for row, ids in tokens.items() if len(ids) > longest}
        found = self._found({row: ids for row, ids in tokens.items() if row not in missing})
        return [
            Scores(missing=missing[row]) if row in missing else found[row]
            for row in range(len(items))
        ]

    def _unread(self, item: Item) -> str | None:
        if item.text is None:
            return "no_text"
        language = language_of(item)
        return None if language in self.config.languages else f"language_{language}"

    def _found(self, tokens: dict[int, list[int]]) -> dict[int, Scores]:
        """By row. Texts of like length go together, so that little is padding."""
        config, found = self.config, {}
        rows = sorted(tokens, key=lambda row: len(tokens[row]))
        for start in range(0, len(rows), config.batch):
            some = rows[start : start + config.batch]
            answers = activated(self._outputs([tokens[row] for row in some]), config.activation)
            for row, answer in zip(some, answers, strict=True):
                named = {name: float(answer[index]) for index, name in config.labels.items()}
                found[row] = Scores(named)
        return found

    def _outputs(self, texts: Sequence[list[int]]) -> np.ndarray:
        """float[B,L] of B texts as token ids."""
        config = self.config
        wanted = onnx.inputs(config.path, config.threads)
        if "input_ids" not in wanted or not set(wanted) <= set(INPUTS):
            raise BackendDown(
                f"{config.path}: its inputs are {', '.join(wanted)}; a classifier of texts has "
                f"input_ids, and may have {' and '.join(INPUTS[1:])}"
            )
        feeds = padded(texts, _tokenizer(config.tokenizer)[1])
        try:
            answer = onnx.ask(config.path, config.threads, {name: feeds[name] for name in wanted})
        except Exception:
            # What onnxruntime says of an input may hold a part of it.
            raise ValueError(
                f"{config.path}: onnxruntime can't score what {config.tokenizer} makes of a text; "
                "the two files have to be of one model, and max_tokens no more than it takes"
            ) from None
        self._check_outputs(answer.shape)
        return answer

    def _check_outputs(self, shape: tuple[int, ...]) -> None:
        config, least = self.config, max(self.config.labels) + 1
        fits = len(shape) == 2 and shape[1] >= least and config.outputs in (None, shape[1])
        if not fits:
            raise BackendDown(
                f"{config.path}: an output {shape}, where {config.outputs or f'{least} or more'} "
                "scores a text are expected: name its own variant or labels"
            )

    def _check_digests(self) -> None:
        """Not a single score of a model that isn't the one asked for."""
        config = self.config
        for option, path, asked in (
            ("sha256", config.path, config.sha256),
            ("tokenizer_sha256", config.tokenizer, config.tokenizer_sha256),
        ):
            digest = _digest(path)
            if asked not in (None, digest):
                raise BackendDown(
                    f"{path}: its SHA-256 is {digest}, and the config asks for {asked}: put the "
                    f"right file there, or change {option} and choose thresholds anew"
                )


def text_classifier_filter(
    config: TextClassifierConfig,
    subject: Subject = Subject.TEXT,
    name: str = "toxicity",
    fail_open: bool = False,
) -> Filter:
    """Drops by the operator's model; the reason is the label that reached its threshold."""
    return Filter(name, subject, TextClassifier(config), config.policy(), fail_open)


def padded(texts: Sequence[list[int]], pad: int) -> dict[str, np.ndarray]:
    """int64[B,T] for each of `INPUTS`, T being the longest text's number of tokens."""
    shape = len(texts), max(map(len, texts))
    ids, mask = np.full(shape, pad, np.int64), np.zeros(shape, np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, np.int64)}


def _digest(path: Path) -> str:
    if not path.is_file():
        raise BackendDown(f"{path}: no such file; docs/text-filters.md tells how it is made")
    return onnx.file_digest(path)


def _tokens(tokenizer: Path, text: str) -> list[int]:
    """Token ids with the special ones; half a surrogate pair is read as U+FFFD."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    encode = _tokenizer(tokenizer)[0].encode
    try:
        return encode(whole).ids
    except Exception:
        raise ValueError(f"{tokenizer}: it can't read a text") from None


@lru_cache(maxsize=8)
def _tokenizer(path: Path) -> tuple[Any, int]:
    """The tokenizer, which neither cuts nor pads, and the id that fills a shorter text up."""
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise BackendDown(f"{path}: not a tokenizer.json that can be read: {error}") from error
    known = [tokenizer.token_to_id(token) for token in PAD_TOKENS]
    found = [one for one in known if one is not None]
    pad = tokenizer.padding["pad_id"] if tokenizer.padding else next(iter(found), None)
    if pad is None:
        raise BackendDown(f"{path}: no padding and none of {', '.join(PAD_TOKENS)} in it")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer, pad
