"""Marks duplicates in a ledger: a join over what its rows recorded, with no picture read.

The join is a function of the ledger. Kept rows that were joined before are survivors for good, and
so are those of earlier runs; what is new is compared with them and with each other. Marking some of
the duplicates doesn't change which the others are, so a pass that was killed between two units is
simply made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from filters.contract import Decision, Verdict
from filters.duplicates import EXACT, NEAR, Duplicate, Fingerprints, find_duplicates
from filters.hash_join import DEFAULT_THRESHOLD
from filters.perceptual_hash import BYTES, QUALITY_SCORE, PerceptualHashes, recorded_hashes
from transforms.commit import Commit
from transforms.configuration import open_claimed
from transforms.errors import UserError
from transforms.ledger import Ledger
from transforms.readers.streams import absolute
from transforms.row import Outcome, decision_values
from transforms.survivors import is_searched, remember, remembered, survivors

KINDS = (EXACT, NEAR)
FILTER = "duplicates"
REASON = "duplicate:"
SCORER = "first-survivor"
VERSION = "1"

# In the search, ids of earlier runs end in this and the run's number: the same record may be in
# several runs. Record ids have hexadecimal digits alone.
_RUN = "@"


@dataclass(frozen=True)
class DuplicateSearch:
    """What counts as a duplicate. kind: of `KINDS`; threshold: in bits, where it is `NEAR`.

    earlier: output folders of other runs, whose kept rows are survivors. The ledger remembers them.
    """

    kind: str
    earlier: tuple[str, ...] = ()
    threshold: int = DEFAULT_THRESHOLD

    def check(self, output: str) -> None:
        """Raises UserError where an earlier folder is no run's, or lacks what is compared."""
        for folder in self.earlier:
            if absolute(folder) == absolute(output):
                raise UserError(
                    f"--earlier {folder}: that is the output folder itself, whose own images are "
                    "compared anyway; leave it out"
                )
            filters = open_claimed(folder).values.get("screening", {}).get("filters", {})
            if self.kind == NEAR and "perceptual_hash" not in filters:
                raise UserError(
                    f"--earlier {folder}: its rows have no perceptual hashes. Screen it with the "
                    "filter perceptual_hash, or look for --duplicates exact"
                )

    def mark(self, ledger: Ledger) -> int:
        """Commit each unit anew that has a duplicate; returns how many rows became one.

        Raises:
            WorkError: a committed file is missing or was changed.
            UserError: rows have hashes of another version, which can't be compared.
        """
        joined, before = remembered(ledger)
        earlier = list(dict.fromkeys((*before, *map(absolute, self.earlier))))
        if is_searched(ledger) and earlier == before:
            return 0
        commits = ledger.committed()
        parts = {
            name: self._kept(ledger, commit, survivors(commit, joined.get(name)))
            for name, commit in commits.items()
        }
        marks: dict[str, Duplicate] = {}
        if not all(np.all(part.earlier) for part in parts.values()):
            pictures = _together([*self._survivors(earlier), *parts.values()])
            marks = {one.id: one for one in find_duplicates(pictures, self.threshold)}
        for name, part in parts.items():
            if any(id in marks for id in part.ids):
                rows = (row for row in ledger.rows(commits[name]) if row["id"] in marks)
                changed = [marked(row, marks[row["id"]], self.threshold) for row in rows]
                commits[name] = ledger.amend(name, changed)
        kept = {name: [id for id in part.ids if id not in marks] for name, part in parts.items()}
        remember(ledger, commits, kept, earlier)
        return len(marks)

    def _survivors(self, earlier: Sequence[str]) -> Iterable[Fingerprints]:
        """What earlier runs kept."""
        for number, folder in enumerate(earlier):
            other = Ledger(folder, open_claimed(folder))
            for commit in other.committed().values():
                yield self._kept(other, commit, lambda id: True, f"{_RUN}{number}")

    def _kept(
        self, ledger: Ledger, commit: Commit, survives: Callable[[str], bool], suffix: str = ""
    ) -> Fingerprints:
        """What a unit's kept rows recorded of their pictures."""
        table = ledger.table(commit, ["id", "image", "outcome", "decisions"])
        rows = [row for row in table.to_pylist() if row["outcome"] == Outcome.KEPT]
        hashes = [self._hashes(row, ledger.output) for row in rows]
        return Fingerprints(
            ids=[row["id"] + suffix for row in rows],
            sha256=_rows([bytes.fromhex(row["image"]["sha256"]) for row in rows]),
            pdq=_rows([forms[0].tobytes() for forms, _ in hashes]),
            quality=np.array([quality for _, quality in hashes], int),
            forms=_padded([forms[1:] for forms, _ in hashes], [forms[0] for forms, _ in hashes]),
            earlier=np.array([survives(row["id"]) for row in rows], bool),
        )

    def _hashes(self, row: Mapping[str, Any], folder: str) -> tuple[np.ndarray, int]:
        """uint8[1+F,32] and the quality: of exact duplicates none, which only files tell."""
        nothing = np.zeros((1, BYTES), np.uint8), 0
        if self.kind == EXACT:
            return nothing
        current = PerceptualHashes()
        for decision in row["decisions"]:
            if decision["scorer"] != current.name:
                continue
            if decision["version"] != current.version:
                raise UserError(
                    f"{folder}: its hashes are of version {decision['version']}, and this release "
                    f"makes {current.version}, which can't be compared. Screen it anew"
                )
            scores = {one["label"]: one["score"] for one in decision["scores"]}
            return recorded_hashes(decision["labels"]), int(scores[QUALITY_SCORE])
        return nothing  # it was let pass although its hash could not be had


def marked(row: dict[str, Any], duplicate: Duplicate, threshold: int) -> dict[str, Any]:
    """The row of a record that turned out to be a duplicate; the decision's label is the survivor.

    The score is the distance in bits.
    """
    decision = Decision(
        filter=FILTER,
        subject="image",
        scorer=SCORER,
        version=VERSION,
        verdict=Verdict.DROP,
        reason=REASON + duplicate.kind,
        score=float(duplicate.distance),
        threshold=0.0 if duplicate.kind == EXACT else float(threshold),
        labels=(duplicate.survivor.partition(_RUN)[0],),
    )
    return {
        **row,
        "outcome": Outcome.DUPLICATE.value,
        "reason": decision.reason,
        "decisions": [*row["decisions"], decision_values(decision)],
    }


def _together(parts: Sequence[Fingerprints]) -> Fingerprints:
    """All parts as one; a picture with fewer forms than others has its own hash in their place."""
    most = max(0 if part.forms is None else part.forms.shape[1] for part in parts)
    forms = [_widened(part, most) for part in parts] if most else None
    return Fingerprints(
        ids=[id for part in parts for id in part.ids],
        sha256=np.concatenate([part.sha256 for part in parts]),
        pdq=np.concatenate([part.pdq for part in parts]),
        quality=np.concatenate([part.quality for part in parts]),
        forms=None if forms is None else np.concatenate(forms),
        earlier=np.concatenate([part.earlier for part in parts if part.earlier is not None]),
    )


def _widened(part: Fingerprints, count: int) -> np.ndarray:
    own = np.repeat(part.pdq[:, None], count, axis=1)
    if part.forms is not None:
        own[:, : part.forms.shape[1]] = part.forms
    return own


def _padded(forms: Sequence[np.ndarray], own: Sequence[np.ndarray]) -> np.ndarray | None:
    """uint8[N,F,32] of rows that may differ in F; None where there are no forms."""
    most = max((len(each) for each in forms), default=0)
    if not most:
        return None
    rows = [
        np.concatenate([each, np.repeat(bits[None], most - len(each), axis=0)])
        for each, bits in zip(forms, own, strict=True)
    ]
    return np.stack(rows)


def _rows(digests: Sequence[bytes]) -> np.ndarray:
    """uint8[N,32] of N digests."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, BYTES)
