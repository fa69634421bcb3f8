"""Marks duplicates in a ledger: a join over what its rows recorded, with no picture read.

The join is a function of the ledger. Kept rows that were joined before are survivors for good, and
so are those of earlier runs; what is new is compared with them and with each other. Marking some of
the duplicates doesn't change which the others are, so a pass that was killed between two units is
simply made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from filters.contract import Decision, Verdict
from filters.duplicates import EXACT, NEAR, Duplicate, Fingerprints, find_duplicates
from filters.hash_join import DEFAULT_THRESHOLD
from filters.perceptual_hash import BYTES, QUALITY_SCORE, PerceptualHashes, recorded_hashes
from transforms import storage
from transforms.commit import Commit
from transforms.configuration import open_claimed
from transforms.errors import UserError
from transforms.ledger import Ledger
from transforms.readers.streams import absolute
from transforms.row import Outcome, decision_values

KINDS = (EXACT, NEAR)
FILTER = "duplicates"
REASON = "duplicate:"
SCORER = "first-survivor"
VERSION = "1"

# Which commits were joined (see `Joined`), and with what earlier runs.
JOINED = "duplicates.json"

# In the search, ids of earlier runs end in this and the run's number: the same record may be in
# several runs. Record ids have hexadecimal digits alone.
_RUN = "@"


@dataclass(frozen=True)
class Joined:
    """What is remembered of a unit that was joined.

    version: edition of its input. generation, sha256: of its committed rows. redone: of the rows
    that had been redone then, those that survived.
    """

    version: str
    generation: int
    sha256: str
    redone: tuple[str, ...]


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
        commits = ledger.committed()
        joined, before = _joined(ledger)
        earlier = list(dict.fromkeys((*before, *map(absolute, self.earlier))))
        parts = {
            name: self._kept(ledger, commit, _survivors(commit, joined.get(name)))
            for name, commit in commits.items()
        }
        if all(part.earlier is not None and part.earlier.all() for part in parts.values()):
            found: list[Duplicate] = []
        else:
            found = find_duplicates(
                _together([*self._survivors(earlier), *parts.values()]), self.threshold
            )
        marks: dict[str, Duplicate] = {one.id: one for one in found}
        for name, part in parts.items():
            if any(id in marks for id in part.ids):
                rows = (row for row in ledger.rows(commits[name]) if row["id"] in marks)
                changed = [marked(row, marks[row["id"]], self.threshold) for row in rows]
                commits[name] = ledger.amend(name, changed)
        kept = {name: [id for id in part.ids if id not in marks] for name, part in parts.items()}
        _remember(ledger, commits, kept, earlier)
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


def is_searched(ledger: Ledger) -> bool:
    """Whether every committed unit, as it is now, was searched for duplicates."""
    joined, _ = _joined(ledger)
    return all(
        name in joined and joined[name].sha256 == commit.sha256
        for name, commit in ledger.committed().items()
    )


def carry_over(source: Ledger, target: Ledger) -> None:
    """Remember a ledger's kept rows as survivors, all of which survived the search in another."""
    commits = target.committed()
    _remember(target, commits, dict.fromkeys(commits, ()), _joined(source)[1])


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


def _survivors(commit: Commit, joined: Joined | None) -> Callable[[str], bool]:
    """Which of a unit's kept rows were joined before, by their ids."""
    if joined is None:
        return lambda id: False
    if commit.sha256 == joined.sha256:
        return lambda id: True
    if commit.unit.version != joined.version or commit.generation <= joined.generation:
        return lambda id: False  # it was read anew as a whole
    new = set(commit.redone) - set(joined.redone)
    return lambda id: id not in new


def _joined(ledger: Ledger) -> tuple[dict[str, Joined], list[str]]:
    """By the names of units what is remembered of them, and the folders of earlier runs."""
    path = storage.join(ledger.output, JOINED)
    if not storage.exists(path):
        return {}, []
    values = storage.read_json(path)
    units = values["units"].items()
    joined = {name: Joined(**{**unit, "redone": tuple(unit["redone"])}) for name, unit in units}
    return joined, values["earlier"]


def _remember(
    ledger: Ledger,
    commits: Mapping[str, Commit],
    kept: Mapping[str, Sequence[str]],
    earlier: Sequence[str],
) -> None:
    units = {
        name: asdict(
            Joined(
                version=commit.unit.version,
                generation=commit.generation,
                sha256=commit.sha256,
                redone=tuple(sorted(set(commit.redone) & set(kept[name]))),
            )
        )
        for name, commit in commits.items()
    }
    path = storage.join(ledger.output, JOINED)
    storage.write_json(path, ledger.output, {"earlier": earlier, "units": units})


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
