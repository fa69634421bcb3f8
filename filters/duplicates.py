"""Which pictures of a corpus are copies, exact or near, of which: within it and of earlier runs.

The rule is the first survivor's: pictures are gone through in one order, those of earlier runs
first and then by id, and one that is near an earlier *survivor* is its duplicate. So every dropped
picture is truly near the one that stands for it, which a chain of neighbours doesn't promise, and
the order in which a run happens to read its shards changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from filters.hash_join import DEFAULT_THRESHOLD, NearDuplicateIndex, hamming
from filters.perceptual_hash import MIN_QUALITY

EXACT = "exact"
NEAR = "near"


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """What N pictures are recognised by.

    ids: the records' ids, each once. sha256: uint8[N,32] of the encoded files.
    pdq: uint8[N,32]; quality: int[N], 0 to 100: under 50 a hash isn't compared.
    forms: uint8[N,F,32], further hashes under which copies of a picture are looked for (see
        `hash_forms`), or None: then mirrored and cropped copies are not found.
    earlier: bool[N], those that survived an earlier run, or None: none. They all survive.
    """

    ids: Sequence[str]
    sha256: np.ndarray
    pdq: np.ndarray
    quality: np.ndarray
    forms: np.ndarray | None = None
    earlier: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name in ("sha256", "pdq", "quality", "forms", "earlier"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self.ids):
                raise ValueError(f"{name}: {len(column)} rows for {len(self.ids)} ids")
        if len(set(self.ids)) != len(self.ids):
            raise ValueError("an id occurs more than once; a record's id names it alone")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """`id` is a copy of `survivor`: kind "exact" (the same file) or "near", `distance` in bits."""

    id: str
    survivor: str
    kind: str
    distance: int


def find_duplicates(pictures: Fingerprints, threshold: int = DEFAULT_THRESHOLD) -> list[Duplicate]:
    """The duplicates among the pictures that no earlier run has, by id.

    threshold: bits in which near-duplicates' hashes may differ, at most 63; the time it takes
    rises steeply with it.
    """
    earlier = _earlier(pictures)
    order = np.lexsort((np.asarray(pictures.ids), ~earlier))
    place = _standing(pictures, order, earlier[order], threshold)
    found = []
    for position, stands in zip(order, order[place], strict=True):
        if position != stands and not earlier[position]:
            found.append(_duplicate(pictures, int(position), int(stands)))
    return sorted(found, key=lambda duplicate: duplicate.id)


def first_survivors(
    count: int, left: np.ndarray, right: np.ndarray, certain: np.ndarray | None = None
) -> np.ndarray:
    """int64[count]: for each of `count` pictures in order, the one that stands for it.

    left, right: int[P], pairs that are near, in any order. certain: bool[count], survive whatever
    is near them.
    """
    before: dict[int, list[int]] = defaultdict(list)
    for low, high in zip(
        np.minimum(left, right).tolist(), np.maximum(left, right).tolist(), strict=True
    ):
        before[high].append(low)
    stands = np.arange(count)
    for high in sorted(before):
        survivors = [low for low in before[high] if stands[low] == low]
        if survivors and not (certain is not None and certain[high]):
            stands[high] = min(survivors)
    return stands


def first_equal(rows: np.ndarray) -> np.ndarray:
    """int64[N]: for each row of uint8[N,32] the first that equals it, itself where none does."""
    words = np.ascontiguousarray(rows).view(np.uint64).reshape(-1, 4)
    order = np.lexsort(words.T)
    changes = np.any(words[order[1:]] != words[order[:-1]], axis=1)
    heads = np.flatnonzero(np.concatenate([[True], changes]))[: len(rows)]
    # The sort is stable, so a run's first member is the earliest.
    runs = np.diff(np.append(heads, len(rows)))
    found = np.empty(len(rows), np.int64)
    found[order] = np.repeat(order[heads], runs)
    return found


def _standing(
    pictures: Fingerprints, order: np.ndarray, earlier: np.ndarray, threshold: int
) -> np.ndarray:
    """int64[N]: for the pictures in `order`, the place in it of the one that stands for each."""
    same_file = first_equal(pictures.sha256[order])
    alone = same_file == np.arange(len(order))
    able = np.flatnonzero(alone & (pictures.quality[order] >= MIN_QUALITY))
    chosen = order[able]
    forms = None if pictures.forms is None else pictures.forms[chosen]
    place = np.arange(len(order))
    place[able] = able[_near_standing(pictures.pdq[chosen], forms, earlier[able], threshold)]
    return place[same_file]


def _near_standing(
    hashes: np.ndarray, forms: np.ndarray | None, earlier: np.ndarray, threshold: int
) -> np.ndarray:
    """int64[N]: by their hashes alone, the picture that stands for each.

    Equal hashes are counted as one, or a picture that occurs ten thousand times would make fifty
    million pairs.
    """
    same_hash = first_equal(hashes)
    alone = np.flatnonzero(same_hash == np.arange(len(hashes)))
    left, right = near_pairs(hashes[alone], threshold, None if forms is None else forms[alone])
    stands = alone[first_survivors(len(alone), left, right, earlier[alone])]
    return stands[np.searchsorted(alone, same_hash)]


def near_pairs(
    hashes: np.ndarray, threshold: int, forms: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """int64[P] each: the two of every near pair of uint8[N,32], or of a form and a hash.

    forms: uint8[N,F,32]. A pair may occur more than once, by several forms.
    """
    index = NearDuplicateIndex.build(hashes, threshold)
    own = index.pairs()
    if forms is None:
        return own.left, own.right
    per_picture = forms.shape[1]
    by_form = index.query(forms.reshape(-1, forms.shape[-1]))
    left = by_form.left // per_picture
    others = left != by_form.right
    return (
        np.concatenate([own.left, left[others]]),
        np.concatenate([own.right, by_form.right[others]]),
    )


def _earlier(pictures: Fingerprints) -> np.ndarray:
    if pictures.earlier is None:
        return np.zeros(len(pictures.ids), bool)
    return np.asarray(pictures.earlier, bool)


def _duplicate(pictures: Fingerprints, copy: int, survivor: int) -> Duplicate:
    exact = np.array_equal(pictures.sha256[copy], pictures.sha256[survivor])
    return Duplicate(
        id=pictures.ids[copy],
        survivor=pictures.ids[survivor],
        kind=EXACT if exact else NEAR,
        distance=0 if exact else _least_distance(pictures, copy, survivor),
    )


def _least_distance(pictures: Fingerprints, copy: int, survivor: int) -> int:
    """Bits between two pictures, by whichever forms of theirs are closest."""
    distance = int(hamming(pictures.pdq[copy], pictures.pdq[survivor]))
    if pictures.forms is None:
        return distance
    by_form = [
        int(hamming(pictures.forms[one], pictures.pdq[other]).min())
        for one, other in ((copy, survivor), (survivor, copy))
    ]
    return min(distance, *by_form)
