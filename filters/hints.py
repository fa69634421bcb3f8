"""What to say of a word that isn't known: the nearest one that is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def hint(word: object, known: Iterable[str]) -> str:
    """``did you mean X?``, or all that are known where none is near."""
    words = list(known)
    near = difflib.get_close_matches(str(word), words, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(words) or 'none'}"
