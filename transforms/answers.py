"""What the model wrote for a picture in an earlier run is not asked for again.

A picture is known by the digest of its bytes and by what it is asked. An index over a ledger's
rows, those of replaced shards included, says where such answers are; the row of a known picture
takes them over and says from which row (`taken_from`). What came with the picture is screened as
that of any other: only the answers, and what the filters made of them, are an earlier run's.

The index is a cache, a function of the committed files alone, and takes up only those that it
doesn't know yet. It has 16 bytes for a row, and each worker holds it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import posixpath
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filters.contract import Verdict
from model.tasks import Prompt, PromptError, Task, record_fields
from transforms import storage
from transforms.commit import Commit
from transforms.errors import WorkError
from transforms.ledger import DATA, FORMER, Ledger, edition, read_table
from transforms.row import Outcome, decision_from, row

if TYPE_CHECKING:
    from transforms.prepare import Example

INDEX = "answers.parquet"

_FILES = b"palipipe.files"
_COLUMNS = ("image", "text", "language", "metadata", "outcome", "decisions")
# Files whose rows are held at a time: those of a shard that was replaced come from one or two.
_OPEN_FILES = 16


@dataclass(frozen=True)
class File:
    """A committed Parquet file. name: its own, in whichever folder it is by now."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Index:
    """Where the answers for a picture are. Entries i: keys[i] stands in row rows[i] of a file.

    keys: uint64[N], ascending; places, rows: uint32[N], places being those in `files`.
    """

    files: tuple[File, ...]
    keys: np.ndarray
    places: np.ndarray
    rows: np.ndarray

    def find(self, key: int) -> list[tuple[File, int]]:
        """The files and rows in which answers for the key may stand."""
        value = np.uint64(key)
        first, end = (int(np.searchsorted(self.keys, value, side)) for side in ("left", "right"))
        return [(self.files[self.places[i]], int(self.rows[i])) for i in range(first, end)]

    def by_file(self) -> dict[File, tuple[np.ndarray, np.ndarray]]:
        """Each file's keys and rows."""
        order = np.argsort(self.places, kind="stable")
        starts = np.searchsorted(self.places[order], np.arange(1, len(self.files)))
        keys, rows = np.split(self.keys[order], starts), np.split(self.rows[order], starts)
        return dict(zip(self.files, zip(keys, rows, strict=True), strict=True))


@dataclass(frozen=True)
class KnownAnswers:
    """The answers that a ledger has, in plain values that travel to workers.

    digest: of the index that was made for this run.
    """

    output: str
    digest: str

    def load(self) -> Answers:
        with _lock:
            if self not in _loaded:
                _loaded.clear()
                _loaded[self] = Answers(self.output, _read(self.output))
            return _loaded[self]


@dataclass(frozen=True)
class Answers:
    """Takes over the answers that a ledger has."""

    output: str
    index: Index

    def row(self, example: Example) -> dict[str, Any] | None:
        """The finished row of a picture whose answers are known; None where they aren't."""
        sha256 = example.image["sha256"]
        for file, place in self.index.find(content_key(sha256, example.prompts)):
            known = _row_in(self.output, file, place)
            if known is not None and _answers(known, sha256, example.prompts):
                return _taken_over(example, known, file)
        return None


_loaded: dict[KnownAnswers, Answers] = {}
_lock = threading.Lock()


def prompts_of(
    tasks: Sequence[Task], metadata: Mapping[str, Any], text: str | None, language: str | None
) -> tuple[Prompt, ...]:
    """What a picture is asked, a prompt for each task. Raises PromptError."""
    fields = record_fields(metadata, text, language)
    return tuple(Prompt(task.prompt(fields), task.prompt_language(fields)) for task in tasks)


def content_key(sha256: str, prompts: Sequence[Prompt]) -> int:
    """64 bits of a digest of a picture's bytes and of what it is asked."""
    asked = json.dumps([sha256, *([prompt.text, prompt.language] for prompt in prompts)])
    return int.from_bytes(hashlib.sha256(asked.encode()).digest()[:8], "big")


def index_answers(ledger: Ledger, tasks: Sequence[str]) -> KnownAnswers | None:
    """Bring the index up to what is committed now, and keep it with the output; None for nothing.

    Raises:
        WorkError: a committed file is missing or was changed.
    """
    parsed = [Task.parse(task) for task in tasks]
    commits = [*ledger.committed().values(), *ledger.former().values()]
    if not commits:
        return None
    path = storage.join(ledger.output, INDEX)
    before = _read(ledger.output).by_file() if storage.exists(path) else {}
    by_file = {_file(commit): commit for commit in commits}
    files = tuple(by_file)
    if files != tuple(before):
        parts = [before.get(file) or _entries(ledger, by_file[file], parsed) for file in files]
        _write(ledger.output, _index(files, parts))
    names = json.dumps([[file.name, file.sha256] for file in files])
    return KnownAnswers(ledger.output, hashlib.sha256(names.encode()).hexdigest())


def _file(commit: Commit) -> File:
    return File(posixpath.basename(commit.data), commit.sha256)


def _index(files: tuple[File, ...], parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Index:
    counts = [len(keys) for keys, _ in parts]
    keys = np.concatenate([np.empty(0, np.uint64), *(keys for keys, _ in parts)])
    rows = np.concatenate([np.empty(0, np.uint32), *(rows for _, rows in parts)])
    places = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
    order = np.argsort(keys, kind="stable")
    return Index(files, keys[order], places[order], rows[order])


def _entries(
    ledger: Ledger, commit: Commit, tasks: Sequence[Task]
) -> tuple[np.ndarray, np.ndarray]:
    """Keys and numbers of the rows of a file that hold what the model wrote."""
    found: list[tuple[int, int]] = []
    if commit.has(Outcome.KEPT) or commit.has(Outcome.FILTERED) or commit.has(Outcome.QUARANTINED):
        for number, values in enumerate(ledger.table(commit, _COLUMNS).to_pylist()):
            if _is_answered(values) and (prompts := _asked(values, tasks)) is not None:
                found.append((content_key(values["image"]["sha256"], prompts), number))
    keys, rows = zip(*found, strict=True) if found else ((), ())
    return np.array(keys, np.uint64), np.array(rows, np.uint32)


def _is_answered(values: Mapping[str, Any]) -> bool:
    """Whether the model wrote something that stands, or that a filter decided against for good."""
    if values["outcome"] == Outcome.KEPT:
        return True
    if not values["decisions"]:
        return False
    last = values["decisions"][-1]
    return last["subject"] == "output" and last["verdict"] in (Verdict.DROP, Verdict.NO_VERDICT)


def _asked(values: Mapping[str, Any], tasks: Sequence[Task]) -> tuple[Prompt, ...] | None:
    try:
        metadata = json.loads(values["metadata"] or "{}")
        return prompts_of(tasks, metadata, values["text"], values["language"])
    except PromptError:
        return None


def _answers(known: Mapping[str, Any], sha256: str, prompts: Sequence[Prompt]) -> bool:
    """Whether a row is that of the very picture, asked the very same."""
    if known["image"]["sha256"] != sha256:
        return False
    asked = [(one["prompt"], one["language"]) for one in known["annotations"]]
    # A row whose answers a filter stopped doesn't show them; its key has 64 bits of the prompts.
    return not asked or asked == [(prompt.text, prompt.language) for prompt in prompts]


def _taken_over(example: Example, known: Mapping[str, Any], file: File) -> dict[str, Any]:
    about_output = [decision_from(one) for one in known["decisions"] if one["subject"] == "output"]
    taken = row(
        example.record,
        Outcome(known["outcome"]),
        reason=known["reason"],
        image=example.image,
        decisions=(*example.decisions, *about_output),
        annotations=known["annotations"],
    )
    source = {
        "id": known["id"],
        "shard": known["source"]["shard"],
        "edition": edition(file.name),
    }
    return {**taken, "taken_from": known.get("taken_from") or source}


def _row_in(output: str, file: File, place: int) -> dict[str, Any] | None:
    rows = _rows(output, file)
    return rows[place] if rows else None


@functools.lru_cache(_OPEN_FILES)
def _rows(output: str, file: File) -> list[dict[str, Any]] | None:
    """A file's rows, wherever it is by now; None where it is gone since the index was made.

    Then its pictures are annotated anew, as those that nobody has seen.
    """
    for folder in (DATA, FORMER):
        try:
            return read_table(storage.join(output, folder, file.name), file.sha256).to_pylist()
        except (WorkError, FileNotFoundError):
            continue
    return None


def _read(output: str) -> Index:
    with storage.open_binary(storage.join(output, INDEX)) as file:
        table = pq.read_table(pa.BufferReader(file.read()), use_threads=False)
    files = tuple(File(*pair) for pair in json.loads(table.schema.metadata[_FILES]))
    columns = (table[name].to_numpy() for name in ("key", "file", "row"))
    return Index(files, *columns)


def _write(output: str, index: Index) -> None:
    arrays: Iterable[pa.Array] = map(pa.array, (index.keys, index.places, index.rows))
    table = pa.Table.from_arrays(list(arrays), names=["key", "file", "row"])
    files = json.dumps([[file.name, file.sha256] for file in index.files])
    described = table.replace_schema_metadata({_FILES: files.encode()})
    storage.write_atomically(
        storage.join(output, INDEX),
        output,
        lambda target: pq.write_table(described, target, compression="zstd"),
    )
