"""A ledger as other filters would have it: worked out, and written to a folder of its own."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from filters.duplicates import NEAR
from pipelines.plan import checked, screening
from transforms.commit import Commit, UnitEnd
from transforms.configuration import Configuration, claim, open_screened
from transforms.duplicates import REASON as DUPLICATE
from transforms.errors import UserError
from transforms.ledger import Ledger
from transforms.rescreen import Changes, Rescreening, unscored
from transforms.row import Outcome
from transforms.screens import screening_of
from transforms.storage import remove_temporary
from transforms.survivors import carry_over, is_searched


@dataclass(frozen=True)
class LedgerRescreening:
    """The ledger that there is, and the configuration of the one that there would be."""

    ledger: Ledger
    configuration: Configuration
    rescreening: Rescreening

    def changes(self) -> Changes:
        """What would change; every row is gone through, so that none is in the way of `write`."""
        changes = Changes()
        for _, commit in self._commits:
            for row in self.ledger.rows(commit):
                changes.count(row, self.rescreening.row(row, self._gone))
        return changes

    def write(self, folder: str) -> list[Commit]:
        """Commit the rows to a new folder, unit by unit; those that are there already stay.

        Raises UserError: the folder is another run's.
        """
        claim(folder, self.configuration)
        remove_temporary(folder)
        target = Ledger(folder, self.configuration)
        done = target.committed()
        for _, commit in self._commits:
            name = target.name(commit.unit)
            if name not in done:
                rows = [self.rescreening.row(row, self._gone) for row in self.ledger.rows(commit)]
                done[name] = target.commit(name, [UnitEnd(commit.unit, len(rows))], rows)
        if self.configuration.values.get("duplicates"):
            carry_over(self.ledger, target)
        return list(done.values())

    @cached_property
    def _commits(self) -> list[tuple[str, Commit]]:
        return list(self.ledger.committed().items())

    @cached_property
    def _gone(self) -> frozenset[str]:
        """Ids of kept rows that would not be kept: looked for where duplicates hang on them."""
        reasons = {
            reason for _, c in self._commits for reason in c.reasons.get(Outcome.DUPLICATE, {})
        }
        if not any(reason.startswith(DUPLICATE) for reason in reasons):
            return frozenset()
        return frozenset(self._lost())

    def _lost(self) -> Iterator[str]:
        for _, commit in self._commits:
            for row in self.ledger.rows(commit):
                if row["outcome"] != Outcome.KEPT:
                    continue
                if self.rescreening.row(row)["outcome"] != Outcome.KEPT:
                    yield row["id"]


def plan_rescreening(options: argparse.Namespace) -> LedgerRescreening:
    """What the options ask for.

    Raises:
        UserError: a filter has no scores in the ledger, or the folder is no run's output.
    """
    configuration = open_screened(options.output)
    ledger = Ledger(options.output, configuration)
    config = screening(options)
    duplicates = configuration.values.get("duplicates")
    if duplicates and not is_searched(ledger):
        raise UserError(
            f"{options.output}: it was not searched for duplicates to the end; run the command "
            "that wrote it again"
        )
    if duplicates and duplicates["kind"] == NEAR:
        config = config.recording_hashes()
    values: dict[str, Any] = {
        **configuration.values,
        "screening": config.plain(),
        "rescreened_from": configuration.fingerprint,
    }
    before = configuration.values["screening"]["filters"]
    refused = list(unscored(values["screening"]["filters"], before))
    if refused:
        lines = "\n".join(f"  {name}: {why}" for name, why in refused)
        raise UserError(
            f"{options.output} has no scores for\n{lines}\nRun palipipe screen or annotate with "
            "this configuration into another folder, or leave these filters out"
        )
    return LedgerRescreening(
        ledger,
        Configuration(values),
        Rescreening(
            screening_of(checked(config)),
            may_keep="model" not in configuration.values and not duplicates,
        ),
    )
