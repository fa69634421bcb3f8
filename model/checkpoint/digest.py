"""One name for the weights that answered, for the ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from model.checkpoint.buffers import CHUNK
from model.checkpoint.errors import CheckpointError
from model.checkpoint.hugging_face import CONFIG, INDEX, SINGLE
from model.checkpoint.storage import LOCAL, Storage, npz_files


def weights_digest(path: str, storage: Storage = LOCAL) -> str:
    """sha256 in hexadecimal, of what decides the answers.

    Of a `.npz`, its bytes (parts in order), so that `sha256sum` agrees. Of a Hugging Face folder,
    `config.json` and the weight files: as `sha256sum FILES | sha256sum` run in the folder, the
    files in alphabetical order.
    Raises CheckpointError where there is no such checkpoint.
    """
    folder = path.rstrip("/")
    try:
        if not storage.exists(f"{folder}/{CONFIG}"):
            return _digest(npz_files(path, storage), storage)
        lines = [
            f"{_digest([f'{folder}/{name}'], storage)}  {name}\n"
            for name in _folder_files(folder, storage)
        ]
    except OSError as error:
        raise CheckpointError(path, f"can't be read: {error}") from error
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digest(paths: Iterable[str], storage: Storage) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with storage.open(path) as file:
            while piece := file.read(CHUNK):
                digest.update(piece)
    return digest.hexdigest()


def _folder_files(folder: str, storage: Storage) -> list[str]:
    if not storage.exists(f"{folder}/{INDEX}"):
        return [CONFIG, SINGLE]
    with storage.open(f"{folder}/{INDEX}") as file:
        names = set(json.loads(file.read())["weight_map"].values())
    return sorted({CONFIG, INDEX, *names})
