"""WebDataset shards: a tar in which members that share a key make one record.

The key is a member's path up to the first dot of its name, the suffix what follows that dot, and a
record is a run of consecutive members with one key, as in the webdataset library. The first
picture (or the member that `image_field` names) is the image; ``.txt`` is the text; the properties
of ``.json`` and every other member are metadata.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from transforms.errors import UserError
from transforms.readers.archive import Archive
from transforms.readers.naming import Naming
from transforms.readers.options import ReaderOptions
from transforms.readers.problem import ProblemError
from transforms.readers.suffixes import is_picture
from transforms.readers.values import KEPT_BYTES, as_text, from_bytes, note, properties, take
from transforms.record import Record
from transforms.unit import Unit

_LOOKED_AT = 20  # samples of the first shard that are checked before a run
_MEMBER_COST = 512  # counted for a member of which only a note is kept


def check(uri: str, options: ReaderOptions) -> None:
    """Raises UserError if none of the shard's first records has an image."""
    suffixes: set[str] = set()
    with Archive(uri) as archive:
        for sample in islice(_samples(archive, options), _LOOKED_AT):
            suffixes |= sample.suffixes
            if sample.image is not None or sample.problem is not None:
                return
    if suffixes:
        there = ", ".join(f".{suffix}" for suffix in sorted(suffixes))
        wanted = f".{options.image_field}" if options.image_field else "picture"
        raise UserError(
            f"{uri}: no {wanted} among the members of its first records, which are {there}. "
            "Name the image's with --image-field"
        )


def read(unit: Unit, options: ReaderOptions) -> Iterator[Record]:
    """The shard's records in order; see `transforms.readers.read`."""
    naming = Naming(unit.uri, unit.first_index)
    problem = None
    with Archive(unit.uri) as archive:
        for sample in _samples(archive, options):
            yield sample.record(naming, options)
            problem = sample.problem
        if archive.damage is not None and archive.damage is not problem:
            yield naming.failure(archive.damage.kind, archive.damage.message)


@dataclass
class _Sample:
    """The members of one key, as they come. Members: bytes, or the note that stands for them."""

    key: str
    image: bytes | None = None
    members: dict[str, Any] = field(default_factory=dict)
    suffixes: set[str] = field(default_factory=set)
    held: int = 0
    problem: ProblemError | None = None

    def add(
        self, suffix: str, member: tarfile.TarInfo, archive: Archive, options: ReaderOptions
    ) -> None:
        """Takes what is wanted of a member. Raises ProblemError where the record is lost by it."""
        self.suffixes.add(suffix)
        if self.problem is not None:
            return
        _refuse(member)
        is_image = self._is_image(suffix, options)
        is_noted = not is_image and (
            is_picture(suffix)
            or (member.size > KEPT_BYTES and suffix not in ("json", _text_suffix(options)))
        )
        self.held += _MEMBER_COST if is_noted else member.size
        if self.held > options.max_record_bytes:
            raise ProblemError(
                "too_large_bytes", f"its members hold more than {options.max_record_bytes} bytes"
            )
        if is_noted:
            self.members[suffix] = note(archive.digest(member), member.size)
        elif is_image:
            self.image = archive.read(member)
        else:
            self.members[suffix] = archive.read(member)

    def lost(self, problem: ProblemError) -> None:
        """The first problem is the record's; its image is let go."""
        self.problem = self.problem or problem
        self.image = None

    def record(self, naming: Naming, options: ReaderOptions) -> Record:
        problem = self.problem
        try:
            text, language, metadata = self._described(options)
        except (ValueError, RecursionError):
            text, language, metadata = None, None, {}
            problem = problem or ProblemError("bad_json", "its .json member isn't valid JSON")
        if self.image is None:
            problem = problem or ProblemError("no_image", "none of its members is the image")
        record = naming.record(
            self.image, key=self.key, text=text, language=language, metadata=metadata
        )
        return record.failed("read", problem.kind, problem.message) if problem else record

    def _is_image(self, suffix: str, options: ReaderOptions) -> bool:
        if options.image_field:
            return suffix == options.image_field.lower()
        return self.image is None and is_picture(suffix)

    def _described(self, options: ReaderOptions) -> tuple[str | None, str | None, dict[str, Any]]:
        members = dict(self.members)
        text = None
        if isinstance(members.get(_text_suffix(options)), bytes):
            text = as_text(members.pop(_text_suffix(options))) or None
        metadata = properties(members.pop("json", b"{}"))
        for suffix, value in members.items():
            name = f".{suffix}" if suffix in metadata else suffix
            metadata[name] = from_bytes(value) if isinstance(value, bytes) else value
        if text is None:
            text = take(metadata, options.text_fields())
        return text, take(metadata, options.language_fields()), metadata


def _samples(archive: Archive, options: ReaderOptions) -> Iterator[_Sample]:
    sample = None
    for member in archive.members():
        key, suffix = _split(member.name)
        if key.endswith("/") or not key:  # a hidden file, as in the webdataset library
            continue
        if sample is None or key != sample.key or suffix in sample.suffixes:
            if sample is not None:
                yield sample
            sample = _Sample(key)
        try:
            sample.add(suffix, member, archive, options)
        except ProblemError as problem:
            sample.lost(problem)
    if sample is not None:
        if archive.damage is not None:  # what is missing may be a member of this one: its text, say
            sample.lost(archive.damage)
        yield sample


def _split(name: str) -> tuple[str, str]:
    """``./a/b.seg.PNG`` to ``a/b`` and ``seg.png``."""
    folder, base = posixpath.split(name.removeprefix("./"))
    stem, _, suffix = base.partition(".")
    return posixpath.join(folder, stem), suffix.lower()


def _refuse(member: tarfile.TarInfo) -> None:
    if member.name.startswith("/") or ".." in member.name.split("/"):
        raise ProblemError("unsafe_member", "a member's name leads out of the archive")
    if member.islnk() or member.issym():
        raise ProblemError("link_member", "a member is a link; links are not followed")
    if not member.isreg():
        raise ProblemError("special_member", "a member is no regular file")


def _text_suffix(options: ReaderOptions) -> str:
    return (options.text_field or "txt").lower()
