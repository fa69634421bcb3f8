"""What a run says at its end: a table of outcomes, what went wrong, and where the rows are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from transforms.commit import Commit, UnitFailure

if TYPE_CHECKING:
    from pipelines.job import Job
    from pipelines.plan import Plan
    from transforms.rescreen import Changes

# The reader gives these to the one row that stands for the part of a shard it couldn't read.
DAMAGE = ("truncated_shard", "corrupt_shard")


def plan_text(plan: Plan) -> str:
    """What a run is about to do, in a few lines."""
    ledger = plan.job.ledger
    size = sum(unit.size for unit in plan.pending)
    known = [unit.records for unit in plan.pending if unit.records is not None]
    images = f", {sum(known):,} images" if len(known) == len(plan.pending) else ""
    lines = [
        *plan.about,
        f"input   {len(plan.pending):,} units to do{images}, {size / 1e6:,.1f} MB; "
        f"{len(plan.committed):,} done before",
        f"output  {ledger.output}, configuration {ledger.configuration.fingerprint}",
    ]
    return "\n".join(lines)


def outcome_table(commits: Iterable[Commit]) -> str:
    """Rows by outcome and reason, as aligned text."""
    outcomes: Counter[str] = Counter()
    reasons: Counter[tuple[str, str]] = Counter()
    for commit in commits:
        outcomes.update(commit.outcomes)
        for outcome, by_reason in commit.reasons.items():
            reasons.update({(outcome, reason): n for reason, n in by_reason.items()})
    total = sum(outcomes.values())
    lines = [f"{'outcome':<34}{'images':>12}{'share':>9}"]
    for outcome, count in outcomes.most_common():
        lines.append(_line(outcome, count, total))
        of_outcome = Counter({r: n for (o, r), n in reasons.items() if o == outcome})
        lines += [_line(f"  {reason}", n, total) for reason, n in of_outcome.most_common(10)]
    lines.append(_line("all", total, total))
    return "\n".join(lines)


def changes_table(changes: Changes) -> str:
    """What would change, as aligned text: by filter and reason, and by outcome."""
    lines = [f"{'stopped by':<24}{'reason':<34}{'before':>12}{'after':>12}"]
    for key in sorted({*changes.before, *changes.after}, key=lambda key: (key[0], key[1] or "")):
        stopped_by, reason = key
        counts = f"{changes.before[key]:>12,}{changes.after[key]:>12,}"
        lines.append(f"{stopped_by[:23]:<24}{(reason or '')[:33]:<34}{counts}")
    lines += ["", f"{'outcome before':<24}{'outcome after':<34}{'images':>12}"]
    moves = sorted(changes.moves.items())
    lines += [f"{before:<24}{after:<34}{count:>12,}" for (before, after), count in moves]
    if not moves:
        lines.append("no image changes its outcome")
    return "\n".join(lines)


def _line(name: str, count: int, total: int) -> str:
    share = count / total if total else 0.0
    return f"{name[:33]:<34}{count:>12,}{share:>9.2%}"


def damaged(commits: Iterable[Commit]) -> list[Commit]:
    """Commits of shards that could be read only in part."""
    return [
        commit
        for commit in commits
        if any(kind in commit.reasons.get("failed", {}) for kind in DAMAGE)
    ]


def troubles(commits: Sequence[Commit], failures: Sequence[UnitFailure]) -> list[str]:
    """A line for each shard that wasn't read whole, saying what to do."""
    lines = [f"{f.unit.uri}: {f.problem}. {f.remedy}" for f in failures]
    lines += [
        f"{commit.unit.uri}: damaged; what could be read is in the output, the rest is lost. "
        "Replace the shard and run again with --on-changed redo"
        for commit in damaged(commits)
    ]
    return lines


def how_to_look(job: Job) -> str:
    """Where the rows are, and a line that shows them."""
    output = job.ledger.output
    last = "annotations[1].text" if job.annotator else "text"
    return (
        f"Rows: {output}/data/*.parquet, one file for each commit record in {output}/commits\n"
        f'  duckdb -c "select source.key, outcome, reason, {last} from '
        f"'{output}/data/*.parquet'\"\n"
        f"  python -c \"import pandas; print(pandas.read_parquet('{output}/data'))\""
    )
