"""`palipipe verify`: does an output folder hold what its commit records say?"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.cli import EXIT_FAILED, Parser, exit_code, leave
from pipelines.options import parse_here

if TYPE_CHECKING:
    from transforms.commit import Commit
    from transforms.ledger import Ledger

DESCRIPTION = """\
Check every committed file of an output folder against its commit record: that it is there, whole
and unchanged, that each record has one row with an outcome, and that no id stands twice.

  palipipe verify out"""


COLUMNS = ("id", "source", "outcome", "reason", "error")


def parser() -> Parser:
    it = Parser("verify", description=DESCRIPTION)
    it.add_argument("output", metavar="FOLDER", help="output folder of a run")
    return it


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_here(parser(), sys.argv[1:] if argv is None else argv)
    return exit_code("verify", lambda: verify(options.output))


def verify(output: str) -> int:
    """Check a folder, print what is found, and return the exit code: 1 if anything is wrong.

    Raises:
        UserError: the folder is no run's output.
    """
    from pipelines.summary import outcome_table
    from transforms.configuration import open_claimed
    from transforms.ledger import Ledger

    ledger = Ledger(output, open_claimed(output))
    commits = ledger.committed()
    problems = list(find_problems(ledger, commits))
    print(outcome_table(commits.values()))
    for problem in problems:
        print(f"palipipe verify: {problem}", file=sys.stderr)
    if not problems:
        rows = sum(commit.rows for commit in commits.values())
        print(f"\n{len(commits):,} commits, {rows:,} rows: all there, whole, and once.")
    return EXIT_FAILED if problems else 0


def find_problems(ledger: Ledger, commits: dict[str, Commit]) -> Iterator[str]:
    """A line for each thing that is wrong, naming the file and what to do."""
    from transforms.errors import WorkError

    ids: Counter[bytes] = Counter()
    for name, commit in commits.items():
        remedy = f"Delete {ledger.output}/commits/{name}.json and run the same command again"
        try:
            rows = ledger.table(commit, COLUMNS).to_pylist()
        except WorkError as error:
            yield f"{error}. {remedy}"
            continue
        if problem := _contradiction(commit, rows):
            yield f"{ledger.output}/{commit.data}: {problem}. {remedy}"
            continue
        # Half an id: 64 bits, enough to tell a billion rows apart, for half the memory.
        ids.update(bytes.fromhex(row["id"])[:8] for row in rows)
    repeated = sum(1 for count in ids.values() if count > 1)
    if repeated:
        yield (
            f"{ledger.output}: {repeated} ids stand in more than one unit. The --key-field does "
            "not name records uniquely within a shard; run without it into a new folder"
        )


def _contradiction(commit: Commit, rows: list[dict[str, Any]]) -> str | None:
    from transforms.commit import check, tally
    from transforms.errors import InvariantError

    try:
        check(commit.unit, commit.rows, rows)
    except InvariantError as error:
        return str(error)
    if tally(row["outcome"] for row in rows) != dict(commit.outcomes):
        return "its outcomes are not those of the commit record"
    return None


if __name__ == "__main__":
    leave(main())
