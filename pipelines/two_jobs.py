"""`palipipe two-jobs`: screening in one job, annotating what it kept in a second one."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from pipelines import annotate, screen, two_jobs_options
from pipelines.cli import EXIT_FAILED, exit_code, leave
from pipelines.two_jobs_options import TwoJobs


def main(argv: Sequence[str] | None = None) -> int:
    jobs = two_jobs_options.parse(sys.argv[1:] if argv is None else argv)
    return exit_code("two-jobs", lambda: two_jobs(jobs))


def two_jobs(jobs: TwoJobs) -> int:
    """Run the command; returns its exit code.

    Raises:
        UserError, WorkError: see `transforms.errors`.
    """
    if jobs.screening.dry_run:
        return _dry_run(jobs)
    _check_second(jobs)
    _say(f"first job: screening to {jobs.screening.output}")
    code = screen.screen(jobs.screening, jobs.screening_beam)
    if code and not (code == EXIT_FAILED and jobs.go_on):
        _stop(code)
        return code
    from pipelines.two_ledgers import annotated_rows, kept_shards

    if not kept_shards(jobs.screening.output):
        _say("second job: nothing was kept, so there is nothing to annotate")
        return _left_behind(jobs.annotating.output, annotated_rows(jobs.annotating.output)) or code
    _say(f"second job: annotating to {jobs.annotating.output}")
    second = annotate.annotate(jobs.annotating, jobs.annotating_beam)
    return second or _account(jobs) or code


def _check_second(jobs: TwoJobs) -> None:
    """Find now what is wrong with the second job, and not when the first one has run for hours."""
    from pipelines.annotate_plan import check_model, foresee
    from pipelines.launch.credentials import require_credentials
    from pipelines.launch.fitting import check_fits

    run = annotate.run_of(jobs.annotating, jobs.annotating_beam)
    if run.launch is not None:
        require_credentials(run.launch)
        check_fits(foresee(run.options).job, run.launch)
    check_model(run.options)


def _left_behind(folder: str, rows: int) -> int:
    """Tell of rows that an earlier second job wrote; returns the exit code, 1 if there are any."""
    if not rows:
        return 0
    print(
        f"palipipe two-jobs: {folder} has {rows:,} row{'s' * (rows > 1)} of images that screening "
        "keeps no more; it keeps none now: remove that folder",
        file=sys.stderr,
    )
    return EXIT_FAILED


def _account(jobs: TwoJobs) -> int:
    """Say what became of every image in both jobs; returns the exit code, 1 if one is missing."""
    from pipelines.two_ledgers import TwoLedgers

    ledgers = TwoLedgers.open(jobs.screening.output, jobs.annotating.output)
    print(f"\n{ledgers.table()}")
    problems = ledgers.problems()
    for problem in problems:
        print(f"palipipe two-jobs: {problem}", file=sys.stderr)
    if problems:
        return EXIT_FAILED
    print("\nEvery image has a row, and every one that screening kept has one in both folders.")
    return 0


def _dry_run(jobs: TwoJobs) -> int:
    first = screen.run_of(jobs.screening, jobs.screening_beam)
    second = annotate.run_of(jobs.annotating, jobs.annotating_beam)
    if first.launch is not None and second.launch is not None:
        from pipelines.launch.preview import show

        previews = [*screen.previews_of(first.launch), *annotate.previews_of(second.launch)]
        show(previews, jobs.screening.dry_run)
        return 0
    _say(f"first job: screening to {jobs.screening.output}")
    code = screen.screen(jobs.screening, jobs.screening_beam)
    _say(f"second job: annotating {jobs.annotating.input[0]} to {jobs.annotating.output}")
    return code


def _say(line: str) -> None:
    print(f"\n== {line} ==", flush=True)


def _stop(code: int) -> None:
    print(
        f"palipipe two-jobs: screening ended with exit code {code}, so annotating was not begun. "
        "The same command goes on from there"
        + (
            "; with --go-on it annotates what was kept of the other shards"
            if code == EXIT_FAILED
            else ""
        ),
        file=sys.stderr,
    )


if __name__ == "__main__":
    leave(main())
