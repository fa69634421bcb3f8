"""Which parameters training moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from model.errors import ModelError


class SelectionError(ModelError):
    """A pattern that names no parameter, or patterns that leave nothing to train."""


def trained(names: Iterable[str], frozen: Sequence[str]) -> list[str]:
    """The names that no pattern freezes, in their order.

    frozen: patterns as of a shell, over names as checkpoints have them (`img/*` is the vision
        tower, `img/head/*` its projection, `llm/embedder/*` the embedding).
    Raises SelectionError.
    """
    names = list(names)
    for pattern in frozen:
        if not any(fnmatchcase(name, pattern) for name in names):
            parts = sorted({"/".join(name.split("/")[:2]) + "/*" for name in names})
            raise SelectionError(
                f"--freeze {pattern!r} names no parameter. The parts are {', '.join(parts)}"
            )
    kept = [name for name in names if not any(fnmatchcase(name, each) for each in frozen)]
    if not kept:
        raise SelectionError("--freeze leaves nothing to train")
    return kept
