"""What a ledger remembers of its search for duplicates: which kept rows survived it.

A survivor stays one whatever comes later, so it has to be told from a row that is new: one of a new
unit, of a unit that was read anew, or one that was redone (`Ledger.amend`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from transforms import storage
from transforms.commit import Commit
from transforms.ledger import Ledger

# Which commits were joined, and with what earlier runs.
JOINED = "duplicates.json"


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


def survivors(commit: Commit, joined: Joined | None) -> Callable[[str], bool]:
    """Which of a unit's kept rows were joined before, by their ids."""
    if joined is None:
        return lambda id: False
    if commit.sha256 == joined.sha256:
        return lambda id: True
    if commit.unit.version != joined.version or commit.generation <= joined.generation:
        return lambda id: False  # it was read anew as a whole
    new = set(commit.redone) - set(joined.redone)
    return lambda id: id not in new


def remembered(ledger: Ledger) -> tuple[dict[str, Joined], list[str]]:
    """By the names of units what is remembered of them, and the folders of earlier runs."""
    path = storage.join(ledger.output, JOINED)
    if not storage.exists(path):
        return {}, []
    values = storage.read_json(path)
    units = values["units"].items()
    joined = {name: Joined(**{**unit, "redone": tuple(unit["redone"])}) for name, unit in units}
    return joined, values["earlier"]


def remember(
    ledger: Ledger,
    commits: Mapping[str, Commit],
    kept: Mapping[str, Sequence[str]],
    earlier: Sequence[str],
) -> None:
    """Note that the commits were joined. kept: by units' names, the ids of rows that survived."""
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


def is_searched(ledger: Ledger) -> bool:
    """Whether every committed unit, as it is now, was searched for duplicates."""
    joined, _ = remembered(ledger)
    return all(
        name in joined and joined[name].sha256 == commit.sha256
        for name, commit in ledger.committed().items()
    )


def carry_over(source: Ledger, target: Ledger) -> None:
    """Remember a ledger's kept rows as survivors, all of which survived the search in another."""
    commits = target.committed()
    remember(target, commits, dict.fromkeys(commits, ()), remembered(source)[1])
