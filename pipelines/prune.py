"""`palipipe prune`: what an output folder keeps beside its rows, and for how long."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines import schedule_options
from pipelines.cli import Parser, exit_code, leave, positive
from pipelines.options import parse_here
from pipelines.schedule_options import duration

if TYPE_CHECKING:
    from transforms.retention import Removable

DESCRIPTION = """\
Say what may go of an output folder, and with --delete remove it: rows of replaced shards, old
records of runs, and what killed runs left. Rows that the ledger has, or refers to, always stay.

  palipipe prune out
  palipipe prune out --former-for 30d --runs 500 --delete"""


def parser() -> Parser:
    it = Parser("prune", description=DESCRIPTION)
    it.add_argument("output", metavar="FOLDER", help="output folder of annotate or screen")
    group = it.add_argument_group("what is kept")
    group.add_argument(
        "--former-for",
        metavar="DURATION",
        type=duration,
        default=90 * 86400.0,
        help="rows of replaced shards, since they were replaced (default: 90d)",
    )
    group.add_argument(
        "--runs",
        metavar="N",
        type=positive,
        default=1000,
        help="records of the last N runs (default: 1000)",
    )
    group.add_argument(
        "--temporary-for",
        metavar="DURATION",
        type=duration,
        default=86400.0,
        help="files that a killed run was writing (default: 1d)",
    )
    it.add_argument("--delete", action="store_true", help="remove it; without this nothing is")
    schedule_options.lock_options(it)
    return it


def main(argv: Sequence[str] | None = None) -> int:
    options = parse_here(parser(), sys.argv[1:] if argv is None else argv)
    return exit_code("prune", lambda: prune(options))


def prune(options: argparse.Namespace) -> int:
    """Run the command; returns its exit code.

    Raises:
        UserError: the folder is no run's output. LockHeldError: a run has it.
    """
    from transforms.configuration import open_claimed
    from transforms.lease import Lease
    from transforms.ledger import Ledger
    from transforms.lock import Lock
    from transforms.retention import Retention

    ledger = Ledger(options.output, open_claimed(options.output))
    retention = Retention(options.former_for, options.runs, options.temporary_for)
    if not options.delete:
        print(table(retention.removable(ledger)))
        print("\nNothing was removed; --delete removes it.")
        return 0
    lock = Lock(options.output, "prune", options.lock_lease)
    lease = Lease(options.output, lock.acquire(options.wait_for_lock), run="")
    try:
        # Looked for once more: only now does nobody add to it.
        found = retention.removable(ledger)
        print(table(found))
        found.remove(lease)
    finally:
        lock.release()
    print("\nRemoved.")
    return 0


def table(found: Removable) -> str:
    """What may go, by kind, as aligned text."""
    lines = [f"{'may go':<44}{'files':>8}{'bytes':>16}"]
    for kind, files in found.kinds.items():
        lines.append(f"{kind:<44}{len(files):>8,}{sum(files.values()):>16,}")
    every = [size for files in found.kinds.values() for size in files.values()]
    lines.append(f"{'all':<44}{len(every):>8,}{sum(every):>16,}")
    lines.append(f"\nstays: {found.referred:,} files of replaced shards that rows refer to")
    return "\n".join(lines)


if __name__ == "__main__":
    leave(main())
