"""What is raised about a checkpoint that can't be used, and the check of its arrays' shapes."""

from __future__ import annotations

from collections.abc import Mapping

from model.errors import ModelError

Shape = tuple[int, ...]


class CheckpointError(ModelError):
    """A checkpoint that is missing, truncated, damaged or of another model.

    The message names the file, the first key or shape that is off and what was expected.
    """

    def __init__(self, path: str, problem: str):
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem

    def __reduce__(self):
        return CheckpointError, (self.path, self.problem)


def check_shapes(path: str, expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> None:
    """Raises CheckpointError at the first array missing, of another shape, or not of this model.

    An array nobody reads is an error too: left-out weights (an adapter that was never merged, say)
    would change every answer without a word.
    """
    for key, shape in expected.items():
        if key not in found:
            raise CheckpointError(path, f"has no array {key}; expected one of shape {shape}")
        if found[key] != shape:
            raise CheckpointError(path, f"{key} has shape {found[key]}; expected {shape}")
    for key in found:
        if key not in expected:
            raise CheckpointError(path, f"holds {key}, which is no part of this PaliGemma")
