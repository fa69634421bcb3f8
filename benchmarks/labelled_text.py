"""The labelled lines that the text filters are measured on.

Each file is tab-separated: half, language, label (1: should be dropped), kind, text in rot13, so
that nobody meets the words by accident. What was chosen by looking was chosen on the half ``dev``;
the figures to quote are those of the half ``test``. The lines were written for the purpose by the
filters' authors: they show where a filter fails, and don't estimate how often it would. Numbers
of persons were drawn by chance and given a right checksum; they are nobody's that is known.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "filters"
FILES = ("unsafe_text", "toxicity", "personal")


class Line(NamedTuple):
    """One labelled line; language is that of the words, known to its author alone."""

    half: str
    language: str
    label: bool
    kind: str
    text: str


def lines(name: str, half: str | None = None) -> list[Line]:
    """The lines of one file of `FILES`; of one half where it is named."""
    rows = (FOLDER / f"{name}.tsv").read_text(encoding="utf-8").splitlines()
    read = [
        Line(part, language, label == "1", kind, codecs.decode(text, "rot13"))
        for part, language, label, kind, text in (row.split("\t") for row in rows)
    ]
    return [line for line in read if half in (None, line.half)]


class IdentityCaption(NamedTuple):
    """A benign caption that names a group, or a plain adjective to compare with."""

    language: str
    term: str
    neutral: bool
    text: str


def identity_captions() -> Iterator[IdentityCaption]:
    """Every template of ``identity.tsv`` filled with every term of its language."""
    rows = (FOLDER / "identity.tsv").read_text(encoding="utf-8").splitlines()
    entries = [tuple(row.split("\t")) for row in rows]
    templates = [(language, text) for language, kind, text in entries if kind == "template"]
    for language, kind, term in entries:
        if kind != "template":
            for own, template in templates:
                if own == language:
                    text = template.format(term)
                    yield IdentityCaption(language, term, kind == "neutral", text)
