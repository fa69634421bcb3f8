"""The ledgers of screening and annotating as one account, from their commit records alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from transforms.commit import Commit
from transforms.configuration import open_claimed
from transforms.errors import UserError
from transforms.exporting import Export, exports_of
from transforms.ledger import Ledger
from transforms.readers.streams import absolute
from transforms.row import Outcome


@dataclass(frozen=True)
class TwoLedgers:
    """screened: commits of the first job. kept: the shards it exported. annotated: of the second.

    folder: the second's.
    """

    screened: tuple[Commit, ...]
    kept: tuple[Export, ...]
    annotated: tuple[Commit, ...]
    folder: str

    @classmethod
    def open(cls, screened: str, annotated: str) -> TwoLedgers:
        """From their output folders. Raises UserError for a folder that is no run's output."""
        ledgers = [Ledger(folder, open_claimed(folder)) for folder in (screened, annotated)]
        first, second = (tuple(ledger.committed().values()) for ledger in ledgers)
        return cls(first, tuple(kept_shards(screened)), second, annotated)

    def table(self) -> str:
        """Images by outcome in both, as aligned text."""
        columns = [_outcomes(self.screened), _outcomes(self.annotated)]
        lines = [f"{'outcome':<16}{'screened':>14}{'annotated':>14}"]
        for outcome in (each.value for each in Outcome if any(each in c for c in columns)):
            lines.append(f"{outcome:<16}{columns[0][outcome]:>14,}{columns[1][outcome]:>14,}")
        totals = [sum(column.values()) for column in columns]
        lines.append(f"{'all':<16}{totals[0]:>14,}{totals[1]:>14,}")
        return "\n".join(lines)

    def problems(self) -> list[str]:
        """A line for each image or shard that is in one and should be in the other."""
        return [*self._not_exported(), *self._not_annotated(), *self._gone()]

    def _not_exported(self) -> Iterator[str]:
        kept = _outcomes(self.screened)[Outcome.KEPT]
        exported = sum(shard.records for shard in self.kept)
        if kept != exported:
            yield (
                f"{kept:,} images were kept, and {exported:,} exported; run the same command again"
            )

    def _not_annotated(self) -> Iterator[str]:
        rows = self._rows()
        for shard in self.kept:
            found = rows[absolute(str(shard.file))]
            if found != shard.records:
                yield (
                    f"{shard.file}: {shard.records:,} images were kept, and {found:,} have a row "
                    f"in {self.folder}; run the same command again"
                )

    def _gone(self) -> Iterator[str]:
        shards = {absolute(str(shard.file)) for shard in self.kept}
        gone = sum(rows for uri, rows in self._rows().items() if uri not in shards)
        if gone:
            yield (
                f"{self.folder}: {gone:,} rows are of shards that screening keeps no image of any "
                "more; --on-changed redo takes them back"
            )

    def _rows(self) -> Counter[str]:
        """Rows of the second ledger, by shard."""
        rows: Counter[str] = Counter()
        for commit in self.annotated:
            rows[commit.unit.uri] += commit.rows
        return rows


def kept_shards(folder: str) -> list[Export]:
    """The shards of kept images that a screened folder has."""
    return [export for export in exports_of(folder).values() if export.file is not None]


def annotated_rows(folder: str) -> int:
    """Rows that the second job has committed; 0 where it never ran."""
    try:
        configuration = open_claimed(folder)
    except UserError:
        return 0
    return sum(commit.rows for commit in Ledger(folder, configuration).committed().values())


def _outcomes(commits: Iterable[Commit]) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    for commit in commits:
        outcomes.update(commit.outcomes)
    return outcomes
