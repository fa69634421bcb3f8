"""Globs and folders to units of work, with the mistakes in them found before a run begins."""

from __future__ import annotations

import hashlib
import logging
import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from transforms.errors import NothingMatchesError, UnitError, UserError
from transforms.listing import Listed, expand, kinds
from transforms.readers import lists, parquet, tfrecord, webdataset
from transforms.readers.files import SIDECARS
from transforms.readers.options import ReaderOptions
from transforms.readers.suffixes import is_picture
from transforms.unit import Unit

_LOG = logging.getLogger(__name__)
_THREADS = 16  # footers and lists are read at once from stores that answer slowly


@dataclass(frozen=True)
class _Format:
    """names: says of a URI whether it is of this format. fields: the options it knows."""

    names: Callable[[str], object]
    fields: tuple[str, ...]
    check: Callable[[str, ReaderOptions], None] | None = None
    plan: Callable[[Unit, ReaderOptions], list[Unit]] = lambda unit, options: [unit]


def _named(pattern: str) -> Callable[[str], object]:
    return re.compile(pattern, re.IGNORECASE).search


_TEXT = ("text_field", "language_field")
_FORMATS = {
    "webdataset": _Format(
        _named(r"\.(tar(\.(gz|bz2|xz))?|tgz|tbz2?|txz)$"),
        ("image_field", *_TEXT),
        webdataset.check,
    ),
    "tfrecord": _Format(
        _named(r"\.tf_?rec(ord)?s?(-\d+-of-\d+)?(\.gz)?$"),
        ("image_field", "key_field", *_TEXT),
        tfrecord.check,
    ),
    "parquet": _Format(
        _named(r"\.(parquet|pq)$"),
        ("image_field", "key_field", *_TEXT),
        parquet.check,
        parquet.plan,
    ),
    "list": _Format(
        _named(r"\.(csv|tsv|jsonl|ndjson)(\.(gz|bz2|xz))?$"),
        ("image_field", "key_field", *_TEXT),
        lists.check,
        lists.plan,
    ),
    "files": _Format(is_picture, _TEXT),
}
FORMATS = tuple(_FORMATS)


def plan(
    patterns: Sequence[str],
    format: str | None = None,
    options: ReaderOptions | None = None,
    groups: Iterable[Sequence[str]] = (),
    empty: list[str] | None = None,
) -> list[Unit]:
    """The units of work that paths, globs and folders stand for, in the order of their URIs.

    format: one of `FORMATS`; by default each pattern's is told by its files' names. A file that
        several patterns match is taken once.
    groups: `Unit.files` of units made earlier. Loose files of theirs stay together, so that files
        that arrive later make units of their own and change no earlier one.
    empty: takes the patterns that match nothing; without it they are a mistake.

    Raises UserError for a pattern that matches nothing, names no format or several, or whose first
    readable shard lacks what the options name.
    """
    options = options or ReaderOptions()
    if format is not None and format not in _FORMATS:
        raise UserError(f"there is no input format {format}; choose from {', '.join(FORMATS)}")
    if not patterns:
        raise UserError("no input is named; give paths, globs or folders")
    chosen: dict[str, dict[str, Listed]] = {}
    for pattern in patterns:
        try:
            name, files = _recognised(pattern, format)
        except NothingMatchesError:
            if empty is None:
                raise
            empty.append(pattern)
            continue
        chosen.setdefault(name, {}).update({file.uri: file for file in files})
    units: list[Unit] = []
    for name in sorted(chosen):
        files = [chosen[name][uri] for uri in sorted(chosen[name])]
        _check(name, files, options)
        if name == "files":
            units += _groups(files, options.files_per_unit, groups)
        else:
            units += _shards(name, files, options)
    return units


def _recognised(pattern: str, format: str | None) -> tuple[str, list[Listed]]:
    """The format of a pattern's files, and those that are of it."""
    files = expand(pattern)
    by_format = {
        name: found
        for name, each in _FORMATS.items()
        if (found := [file for file in files if each.names(file.uri)])
    }
    if format is None:
        if not by_format:
            there = kinds(file.uri for file in files)
            raise UserError(
                f"{pattern} matches {there}, which name no format that is read. "
                f"If it is one, say which: {', '.join(FORMATS)}"
            )
        if len(by_format) > 1:
            there = ", ".join(f"{len(found)} {name}" for name, found in by_format.items())
            raise UserError(
                f"{pattern} matches files of several formats ({there}). Name one kind by a "
                "narrower glob, or by the format option"
            )
        format = next(iter(by_format))
    elif format == "list" and format not in by_format:
        raise UserError(f"{pattern}: a list's name ends in .csv, .tsv, .jsonl or .ndjson")
    taken = by_format.get(format, [file for file in files if not _is_sidecar(file)])
    if format == "files":
        stems = {posixpath.splitext(file.uri)[0] for file in taken}
        taken = taken + [
            file for file in files if _is_sidecar(file) and posixpath.splitext(file.uri)[0] in stems
        ]
    if len(taken) < len(files):
        rest = {file.uri for file in files} - {file.uri for file in taken}
        _LOG.warning("%s: left out, as they are no %s: %s", pattern, format, kinds(rest))
    return format, taken


def _is_sidecar(file: Listed) -> bool:
    return file.uri.endswith(SIDECARS)


def _check(name: str, files: list[Listed], options: ReaderOptions) -> None:
    """Raises UserError where the options don't fit the format, or its first readable shard."""
    given = ("image_field", "key_field", *_TEXT)
    for field in given:
        if getattr(options, field) is not None and field not in _FORMATS[name].fields:
            option = "--" + field.replace("_", "-")
            raise UserError(f"{option} has no meaning for the format {name}; leave it out")
    check = _FORMATS[name].check
    if check is None:
        return
    for file in files:
        try:
            check(file.uri, options)
        except UnitError:  # it is planned all the same, and named when it is read
            continue
        return


def _shards(name: str, files: list[Listed], options: ReaderOptions) -> list[Unit]:
    shards = [Unit(name, file.uri, size=file.size, version=file.version) for file in files]
    with ThreadPoolExecutor(_THREADS) as threads:
        planned = threads.map(lambda unit: _FORMATS[name].plan(unit, options), shards)
        return [unit for units in planned for unit in units]


def _groups(files: list[Listed], count: int, earlier: Iterable[Sequence[str]]) -> list[Unit]:
    """Images in groups of `count`, each followed by its sidecars; earlier groups as they were.

    An earlier group that has lost a file is done with: what it gave was of another corpus.
    """
    by_uri = {file.uri: file for file in files}
    grouped: set[str] = set()
    groups: list[list[str]] = []
    for group in earlier:
        grouped.update(group)
        if all(uri in by_uri for uri in group):
            groups.append(list(group))
    images = [uri for uri in by_uri if not uri.endswith(SIDECARS) and uri not in grouped]
    for start in range(0, len(images), count):
        chunk = images[start : start + count]
        groups.append([uri for image in chunk for uri in _with_sidecars(image, by_uri)])
    return [_group([by_uri[uri] for uri in group]) for group in sorted(groups)]


def _with_sidecars(image: str, by_uri: dict[str, Listed]) -> list[str]:
    stem = posixpath.splitext(image)[0]
    return [image, *(stem + suffix for suffix in SIDECARS if stem + suffix in by_uri)]


def _group(files: list[Listed]) -> Unit:
    versions = "\n".join(file.version for file in files)
    return Unit(
        "files",
        files[0].uri,
        files=tuple(file.uri for file in files),
        records=sum(not _is_sidecar(file) for file in files),
        size=sum(file.size for file in files),
        version=hashlib.sha256(versions.encode()).hexdigest()[:32],
    )
