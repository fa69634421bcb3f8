"""A Hugging Face folder: `config.json` beside one or several safetensors files.

Names, axes and stacking differ from the network's own; `layout.py` says how. Releases of
transformers differ in the prefixes of the names, which are therefore taken from the files.
"""

from __future__ import annotations

import json
from contextlib import ExitStack

import numpy as np

from model.checkpoint.errors import CheckpointError, Shape, check_shapes
from model.checkpoint.hugging_face_config import parse_config
from model.checkpoint.layout import Piece, Prefixes, layout
from model.checkpoint.safetensors import SafetensorsFile
from model.checkpoint.storage import LOCAL, Storage
from model.checkpoint.tree import parameter_shapes

CONFIG = "config.json"
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

NO_WEIGHTS = ("rotary_emb.inv_freq", "embeddings.position_ids")
"""Tables some releases saved along, which follow from the configuration."""


class HuggingFaceCheckpoint:
    """An open folder, its configuration known and its shapes checked; close it or use `with`.

    Raises CheckpointError for anything but a whole PaliGemma.
    """

    def __init__(self, path: str, storage: Storage = LOCAL):
        self.path = path.rstrip("/")
        self._storage = storage
        self._closing = ExitStack()
        try:
            self._files = self._open_files()
            shapes = {name: file.tensors[name].shape for name, file in self._files.items()}
            prefixes = Prefixes.found_in(self.path, shapes)
            self.config = parse_config(self._at(CONFIG), self._json(CONFIG), prefixes, shapes)
            pieces = layout(prefixes, self.config)
            self._pieces: dict[str, list[Piece]] = {}
            for piece in pieces:
                self._pieces.setdefault(piece.target, []).append(piece)
            self._check(pieces, prefixes, shapes)
        except BaseException:
            self.close()
            raise

    def read(self, name: str, target: np.ndarray) -> None:
        """Fills `target` with the network's array `name`, converted to target's dtype."""
        for piece in self._pieces[name]:
            self._files[piece.source].read(piece.source, piece.view(target))

    def stored_dtype(self, name: str) -> np.dtype:
        """The floating-point type that the files hold an array in."""
        source = self._pieces[name][0].source
        return self._files[source].tensors[source].dtype

    def close(self) -> None:
        self._closing.close()

    def __enter__(self) -> HuggingFaceCheckpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def _json(self, name: str) -> dict:
        try:
            with self._storage.open(self._at(name)) as file:
                content = json.loads(file.read())
        except ValueError as error:
            raise CheckpointError(self._at(name), f"is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise CheckpointError(self._at(name), "holds no JSON object")
        return content

    def _open_files(self) -> dict[str, SafetensorsFile]:
        """Every tensor's name to the file that holds it."""
        if not self._storage.exists(self._at(INDEX)):
            file = self._open(SINGLE)
            return dict.fromkeys(file.tensors, file)
        weight_map = self._json(INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CheckpointError(self._at(INDEX), "has no weight_map")
        files = {name: self._open(name) for name in sorted(set(weight_map.values()))}
        for tensor, name in weight_map.items():
            if tensor not in files[name].tensors:
                raise CheckpointError(self._at(name), f"lacks {tensor}, which {INDEX} promises")
        return {tensor: files[name] for tensor, name in weight_map.items()}

    def _open(self, name: str) -> SafetensorsFile:
        path = self._at(name)
        if not self._storage.exists(path):
            raise CheckpointError(path, "no such file; the folder isn't complete, fetch it again")
        stream = self._closing.enter_context(self._storage.open(path))
        return SafetensorsFile(path, stream)

    def _check(self, pieces: list[Piece], prefixes: Prefixes, shapes: dict[str, Shape]) -> None:
        """Every tensor the network needs is there in its shape, and no other weight is."""
        arrays = parameter_shapes(self.config)
        expected = {piece.source: piece.source_shape(arrays[piece.target]) for piece in pieces}
        found = {name: shape for name, shape in shapes.items() if not name.endswith(NO_WEIGHTS)}
        for name in (prefixes.embedding, prefixes.head):
            # Rows behind the vocabulary are padding that no token uses.
            if name in expected and name in found and found[name][0] > expected[name][0]:
                found[name] = (expected[name][0], *found[name][1:])
        if prefixes.head not in expected:
            found.pop(prefixes.head, None)
        check_shapes(self.path, expected, found)
