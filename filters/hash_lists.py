"""Lists of known pictures: SHA-256 of files and PDQ of pictures, from a text file or a folder.

A list has one entry a line, ``sha256:HEX`` or ``pdq:HEX``, then the entry's name if it has one.
Empty lines and lines that begin with ``#`` are left out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from filters.hash_join import DEFAULT_THRESHOLD, NearDuplicateIndex
from filters.perceptual_hash import BYTES, MIN_QUALITY, hash_forms, hash_pixels, parse_hash

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
# Enough for the crops that a copy of a benchmark's picture is likely to have had.
CROP = 0.05


@dataclass(frozen=True)
class KnownPictures:
    """sha256: digest to name. pdq: uint8[M,32] with the name of each; a name may have several.

    threshold: bits within which a PDQ hash counts as one of these.
    """

    sha256: Mapping[bytes, str]
    pdq: np.ndarray
    pdq_names: tuple[str, ...]
    threshold: int = DEFAULT_THRESHOLD

    def __post_init__(self) -> None:
        if self.pdq.shape != (len(self.pdq_names), BYTES):
            raise ValueError(f"pdq: {self.pdq.shape} for {len(self.pdq_names)} names")

    def by_file(self, encoded: bytes) -> str | None:
        """Name of the entry that has exactly these bytes."""
        return self.sha256.get(hashlib.sha256(encoded).digest())

    def by_hash(self, hashes: np.ndarray) -> list[tuple[str | None, int]]:
        """For each of uint8[Q,32] the nearest entry's name and its distance in bits.

        None and threshold + 1 where there is none near.
        """
        position, distance = self._index.nearest(hashes)
        names = [self.pdq_names[at] if at >= 0 else None for at in position.tolist()]
        return list(zip(names, distance.tolist(), strict=True))

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that name this list, whatever order it was written in."""
        entries = [b"s" + digest + name.encode() for digest, name in self.sha256.items()]
        entries += [
            b"p" + row.tobytes() + name.encode()
            for row, name in zip(self.pdq, self.pdq_names, strict=True)
        ]
        content = b"\0".join([str(self.threshold).encode(), *sorted(entries)])
        return hashlib.sha256(content).hexdigest()[:16]

    @cached_property
    def _index(self) -> NearDuplicateIndex:
        return NearDuplicateIndex.build(self.pdq, self.threshold)


def parse_hash_list(
    lines: Iterable[str], source: str, threshold: int = DEFAULT_THRESHOLD
) -> KnownPictures:
    """The entries of a list; ValueError names `source` and the line that can't be read."""
    sha256: dict[bytes, str] = {}
    pdq: list[np.ndarray] = []
    names: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            kind, bits, name = _entry(line)
        except ValueError as problem:
            raise ValueError(
                f"{source}, line {number}: {problem}. Write sha256:HEX or pdq:HEX, then a name"
            ) from None
        if kind == "sha256":
            sha256[bits.tobytes()] = name
        else:
            pdq.append(bits)
            names.append(name)
    return KnownPictures(sha256, _rows(pdq), tuple(names), threshold)


def read_hash_list(path: Path, threshold: int = DEFAULT_THRESHOLD) -> KnownPictures:
    with path.open(encoding="utf-8") as lines:
        return parse_hash_list(lines, str(path), threshold)


def read_pictures(folder: Path, threshold: int = DEFAULT_THRESHOLD) -> KnownPictures:
    """Every picture under a folder, known by its path there, mirrored and cropped forms included.

    ValueError where the folder holds no picture or one that can't be read: a benchmark that is
    known in part would be trusted in whole.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
    if not paths:
        raise ValueError(f"{folder}: no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}) here")
    sha256: dict[bytes, str] = {}
    pdq: list[np.ndarray] = []
    names: list[str] = []
    for path in paths:
        name = path.relative_to(folder).as_posix()
        pixels = _pixels(path)
        sha256[hashlib.sha256(path.read_bytes()).digest()] = name
        if hash_pixels(pixels).quality >= MIN_QUALITY:
            forms = hash_forms(pixels, CROP)
            pdq += list(forms)
            names += [name] * len(forms)
    return KnownPictures(sha256, _rows(pdq), tuple(names), threshold)


def _entry(line: str) -> tuple[str, np.ndarray, str]:
    """(kind, uint8[32], name): the hash itself names an entry without a name."""
    entry, *name = line.split(maxsplit=1)
    kind, _, digits = entry.partition(":")
    if kind not in ("sha256", "pdq"):
        raise ValueError("the entry says neither sha256: nor pdq:")
    return kind, parse_hash(digits), name[0].strip() if name else entry


def _rows(hashes: list[np.ndarray]) -> np.ndarray:
    return np.stack(hashes) if hashes else np.empty((0, BYTES), np.uint8)


def _pixels(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError) as problem:
        raise ValueError(
            f"{path}: not a picture that can be read ({type(problem).__name__}); "
            "repair it or take it out of the folder"
        ) from None
