"""A training corpus as it is learned from: pictures decoded once, prompts and answers tokenised.

Readers go through a corpus in order, training needs it in any. So it is read once into a folder:
pictures at the model's size in one file that is mapped into memory (what fits stays there), tokens
beside it. The folder's name is a digest of everything that its content depends on, so that
trainings can share it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from model.preprocess import Resampling, resize
from model.tasks import BOUND, Kind, MissingFieldError, PromptError, Task, TaskError, record_fields
from model.tokenizer import Tokenizer
from model.training.examples import Examples, Pair, encode_pair
from transforms.errors import UnitError, UserError
from transforms.images import ImageError, decode
from transforms.prepare import chunks
from transforms.readers import ReaderOptions, read
from transforms.record import Record
from transforms.unit import Unit

PICTURES = "pictures.uint8"
TOKENS = "examples.npz"
FACTS = "corpus.json"

Advance = Callable[[int, int], None]
"""Told of records and bytes that are done."""


@dataclass(frozen=True)
class CorpusSpec:
    """What examples are made of.

    pairs: (prefix, suffix) templates; each gives one example of every record that has its fields.
    size: side of the model's square input, in pixels. max_tokens: of prompt, answer and EOS.
    tokenizer: SHA-256 of its file.
    """

    reader: ReaderOptions
    pairs: tuple[tuple[str, str], ...]
    size: int
    resize: Resampling
    max_pixels: int
    max_tokens: int
    tokenizer: str

    def templates(self) -> list[tuple[Task, Task]]:
        """The pairs, parsed. Raises TaskError for one that can't be meant."""
        parsed = [(Task.parse(prefix), Task(Kind.OTHER, suffix)) for prefix, suffix in self.pairs]
        for (task, _), (prefix, _) in zip(parsed, self.pairs, strict=True):
            if task.is_bound:
                raise TaskError(
                    f'"{prefix}": what is learned are the answers in the data; leave out what '
                    f'stands behind "{BOUND}"'
                )
        return parsed

    def digest(self, units: Sequence[Unit]) -> str:
        """32 hexadecimal digits: of this, and of the inputs and their versions."""
        values = [asdict(self), [unit.to_json() for unit in units]]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Corpus:
    """examples: what can be learned from. digests: SHA-256 of each picture's file, in hexadecimal.

    skipped: how many records or examples can't be used, by reason.
    """

    examples: Examples
    digests: list[str]
    skipped: dict[str, int]


def prepare(
    folder: Path,
    units: Sequence[Unit],
    spec: CorpusSpec,
    tokenizer: Tokenizer,
    threads: int,
    advance: Advance,
) -> Corpus:
    """The corpus, from `folder` where it is prepared already, else read now.

    Raises UserError where nothing can be learned from it, UnitError where a shard can't be read.
    """
    home = folder / spec.digest(units)
    if not (home / FACTS).exists():
        _write(home, units, spec, tokenizer, threads, advance)
    corpus = _open(home, spec.size)
    if not len(corpus.examples):
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in corpus.skipped.items())
        raise UserError(
            f"{units[0].uri}: no example can be learned from ({reasons or 'it is empty'}). "
            "--prefix and --suffix say which fields are asked and answered"
        )
    return corpus


@dataclass
class _Building:
    """What has been read so far; the pictures are on disk already."""

    by_digest: dict[str, int] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    picture: list[int] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def _write(
    home: Path,
    units: Sequence[Unit],
    spec: CorpusSpec,
    tokenizer: Tokenizer,
    threads: int,
    advance: Advance,
) -> None:
    partial = home.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    building = _Building()
    templates = spec.templates()
    with open(partial / PICTURES, "wb") as file, ThreadPoolExecutor(threads) as executor:
        for unit in units:
            for chunk in chunks(_records(unit, spec.reader)):
                _add(building, chunk, spec, templates, tokenizer, executor, file)
                advance(len(chunk), sum(len(record.encoded or b"") for record in chunk))
    examples = Examples.of(np.zeros(0), building.picture, building.pairs)
    np.savez(
        partial / TOKENS,
        picture=examples.picture,
        tokens=examples.tokens,
        start=examples.start,
        prompt_length=examples.prompt_length,
    )
    facts = {
        "pictures": len(building.by_digest),
        "digests": list(building.by_digest),
        "skipped": dict(building.skipped),
    }
    (partial / FACTS).write_text(json.dumps(facts))
    os.replace(partial, home)


def _records(unit: Unit, options: ReaderOptions) -> Iterator[Record]:
    try:
        yield from read(unit, options)
    except UnitError as error:
        raise UnitError(error.uri, error.problem, f"{error.remedy}, or leave it out") from error


def _add(
    building: _Building,
    records: Sequence[Record],
    spec: CorpusSpec,
    templates: Sequence[tuple[Task, Task]],
    tokenizer: Tokenizer,
    executor: ThreadPoolExecutor,
    file: BinaryIO,
) -> None:
    """Examples of one chunk; a picture is decoded only if something is learned from it."""
    wanted: list[tuple[str, list[Pair]]] = []
    new: dict[str, bytes] = {}
    for record in records:
        if record.error is not None:
            building.skipped[f"records: {record.error.kind}"] += 1
            continue
        assert record.encoded is not None
        pairs = list(_pairs(record, spec, templates, tokenizer, building.skipped))
        if pairs:
            digest = hashlib.sha256(record.encoded).hexdigest()
            wanted.append((digest, pairs))
            if digest not in building.by_digest:
                new[digest] = record.encoded
    bad: dict[str, str] = {}
    for digest, pixels in zip(new, executor.map(_Decoder(spec), new.values()), strict=True):
        if isinstance(pixels, ImageError):
            bad[digest] = pixels.kind
        else:
            file.write(pixels.tobytes())
            building.by_digest[digest] = len(building.by_digest)
    for digest, pairs in wanted:
        if digest in bad:
            building.skipped[f"records: {bad[digest]}"] += 1
            continue
        building.pairs += pairs
        building.picture += [building.by_digest[digest]] * len(pairs)


@dataclass(frozen=True)
class _Decoder:
    spec: CorpusSpec

    def __call__(self, encoded: bytes) -> np.ndarray | ImageError:
        size = self.spec.size
        try:
            _, pixels = decode(encoded, self.spec.max_pixels, at_least=(size, size))
        except ImageError as error:
            return error
        return resize(pixels, size, self.spec.resize)


def _pairs(
    record: Record,
    spec: CorpusSpec,
    templates: Sequence[tuple[Task, Task]],
    tokenizer: Tokenizer,
    skipped: Counter[str],
) -> Iterator[Pair]:
    fields: dict[str, Any] = record_fields(record.metadata, record.text, record.language)
    for prefix, suffix in templates:
        try:
            pair = encode_pair(tokenizer, prefix.prompt(fields), suffix.answer(fields))
        except MissingFieldError as error:
            skipped[f"examples: without {error.field}"] += 1
            continue
        except PromptError:
            skipped["examples: neither text nor a number"] += 1
            continue
        if len(pair.tokens) > spec.max_tokens:
            skipped[f"examples: longer than {spec.max_tokens} tokens"] += 1
            continue
        yield pair


def _open(home: Path, size: int) -> Corpus:
    facts = json.loads((home / FACTS).read_text())
    shape = (facts["pictures"], size, size, 3)
    pictures = (
        np.memmap(home / PICTURES, np.uint8, "r", shape=shape)
        if facts["pictures"]
        else np.zeros(shape, np.uint8)
    )
    with np.load(home / TOKENS, allow_pickle=False) as arrays:
        examples = Examples(pictures, **{name: arrays[name] for name in arrays.files})
    return Corpus(examples, facts["digests"], facts["skipped"])
