"""The options of `palipipe two-jobs`: each word goes to the job that it is for, or to both."""

from __future__ import annotations

import argparse
import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipelines import annotate_options, screen_options
from pipelines.cli import Parser, suggestion
from pipelines.launch.profiles import CPU, profile_table

DESCRIPTION = """\
Screen image shards in one job, and annotate what it kept in a second one: filters on cheap
workers, the model on workers with accelerators.

  palipipe two-jobs --input 'shards/*.tar' --output out --filters strict --duplicates near \\
      --checkpoint paligemma-3b-mix-224.npz --task "caption en"
  palipipe two-jobs --profile dataflow-tpu-v5e --worker_zone us-central1-a --project my-project \\
      --region us-central1 --temp_location gs://my-staging/tmp --input 'gs://my-corpus/*.tar' \\
      --output gs://my-results/out --checkpoint gs://my-models/paligemma-3b-mix-224.npz --dry-run

Rows of the first are in OUTPUT/screened, what it kept in OUTPUT/screened/kept, rows of the second
in OUTPUT/annotated. The second begins where the first has ended well. Run the same command again
to go on after an interruption, or to take up new shards.

Options are those of palipipe screen and palipipe annotate, whose --help tells them. Each goes to
the job that knows it, and to both where both do, except that
  what is read (--input, --format, …) is read by the first;
  --profile, and Beam's options for workers (--machine_type, --max_num_workers, …), are for the
    second; the first has --profile {cpu} where the second has one;
  filters look at images and their text in the first, and in the second at what the model writes;
  --screen.NAME and --annotate.NAME are for one job alone: --screen.max_num_workers=50."""

# Of Beam's options, those that say what a job's workers are.
WORKERS = (
    *("machine_type", "worker_machine_type", "num_workers", "max_num_workers"),
    *("autoscaling_algorithm", "disk_size_gb", "disk_type", "worker_disk_type"),
    *("worker_zone", "worker_region", "zone", "min_cpu_platform", "sdk_container_image"),
    *("number_of_worker_harness_threads", "experiment", "experiments"),
    *("dataflow_service_option", "dataflow_service_options"),
)
SCREEN, ANNOTATE = "screen", "annotate"
BOTH = (SCREEN, ANNOTATE)
# What one job has from the other.
SET = {SCREEN: ("--output",), ANNOTATE: ("--output", "--input", "--format", "--screened-before")}
SUFFIXES = {"webdataset": "tar", "tfrecord": "tfrecord", "parquet": "parquet"}


@dataclass(frozen=True)
class TwoJobs:
    """Two command lines, and whether the second is begun though the first had trouble."""

    screening: argparse.Namespace
    screening_beam: tuple[str, ...]
    annotating: argparse.Namespace
    annotating_beam: tuple[str, ...]
    go_on: bool


def parser() -> Parser:
    """The parser of what is this command's own."""
    it = Parser(
        "two-jobs",
        description=DESCRIPTION.format(cpu=CPU),
        usage="palipipe two-jobs --input GLOB [GLOB ...] --output FOLDER [OPTION ...]",
        epilog=profile_table(),
    )
    it.add_argument("--output", metavar="FOLDER", required=True, help="local, gs://… or s3://…")
    it.add_argument(
        "--go-on",
        action="store_true",
        help="annotate also where shards could not be screened whole; they are named, and the "
        "exit code is 1",
    )
    return it


def parse(argv: Sequence[str]) -> TwoJobs:
    """The two command lines. Exits with 2 on a mistake in either."""
    it = parser()
    own, rest = it.parse_known_args(argv)
    router = _Router(it, is_elsewhere=any(map(_is_of_runner, rest)))
    words: dict[str, list[str]] = {SCREEN: [], ANNOTATE: []}
    for chunk in _chunks(it, rest):
        for job, line in router.routed(chunk):
            words[job] += line
    folder = own.output.rstrip("/")
    if _value(words[SCREEN], "--export") is None:
        words[SCREEN] += ["--export", "webdataset"]
    if _value(words[ANNOTATE], "--profile") and not _value(words[SCREEN], "--profile"):
        words[SCREEN] += ["--profile", CPU]
    if _value(words[ANNOTATE], "--on-changed") == "redo":
        words[ANNOTATE] = ["--on-gone", "remove", *words[ANNOTATE]]
    screening, screening_beam = screen_options.parse(
        [*words[SCREEN], "--output", f"{folder}/screened"]
    )
    annotating, annotating_beam = annotate_options.parse(
        [*_reading(screening), *words[ANNOTATE], "--output", f"{folder}/annotated"]
    )
    return TwoJobs(screening, screening_beam, annotating, annotating_beam, own.go_on)


def kept_folder(screening: argparse.Namespace) -> str:
    """Where the first job exports what it keeps."""
    return screening.export_to or f"{screening.output}/{screen_options.KEPT}"


def _reading(screening: argparse.Namespace) -> list[str]:
    """The second job's words for what the first one exports."""
    folder = kept_folder(screening)
    folder = folder if "://" in folder else glob.escape(folder)
    line = ["--input", f"{folder}/*.{SUFFIXES[screening.export]}"]
    if screening.export != "webdataset":  # whose keys are the records' ids anyway
        line += ["--key-field", "record_id"]
    return [*line, "--format", screening.export, "--screened-before"]


def _chunks(it: Parser, words: Sequence[str]) -> Iterator[list[str]]:
    """An option and its values, each."""
    chunk: list[str] = []
    for word in words:
        if word.startswith("--") and chunk:
            yield chunk
            chunk = []
        if not chunk and not word.startswith("--"):
            it.error(f"{word}: what is that for? Options begin with --")
        chunk.append(word)
    if chunk:
        yield chunk


def _is_of_runner(word: str) -> bool:
    return word.partition("=")[0].rpartition(".")[2].lstrip("-") in ("profile", "runner")


def _value(words: Sequence[str], option: str) -> str | None:
    """What an option is given as, the last time; None where it isn't given."""
    value = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, text = word.partition("=")
        if name == option:
            value = text if equals else following
    return value


class _Router:
    """Knows which options are whose. is_elsewhere: whether a runner takes options of Beam's own."""

    def __init__(self, it: Parser, is_elsewhere: bool):
        self._it = it
        self._is_elsewhere = is_elsewhere
        parsers = {SCREEN: screen_options.parser(), ANNOTATE: annotate_options.parser()}
        self._known = {job: set(each.options()) for job, each in parsers.items()}
        (reading,) = (g for g in parsers[SCREEN]._action_groups if g.title == "what is read")
        self._reading = {o for action in reading._group_actions for o in action.option_strings}

    def routed(self, chunk: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """The jobs that an option is for, and how it is written there."""
        name, equals, value = chunk[0].partition("=")
        for job in BOTH:
            if name.startswith(f"--{job}."):
                name = f"--{name.removeprefix(f'--{job}.')}"
                self._refuse_set(job, name, chunk[0])
                yield job, [f"{name}{equals}{value}", *chunk[1:]]
                return
        for job in self._jobs(name):
            self._refuse_set(job, name, chunk[0])
            # Two jobs of one name would be hard to tell apart.
            last = f"{chunk[-1]}-{job}" if name == "--job_name" else chunk[-1]
            yield job, [*chunk[:-1], last]

    def _jobs(self, name: str) -> tuple[str, ...]:
        if name in self._reading:
            return (SCREEN,)
        if name == "--profile" or name.removeprefix("--") in WORKERS:
            return (ANNOTATE,)
        knowing = tuple(job for job in BOTH if name in self._known[job])
        if not knowing and not self._is_elsewhere:
            options = {*self._known[SCREEN], *self._known[ANNOTATE]}
            self._it.error(f"unknown option {name}{suggestion(name, options)}")
        return knowing or BOTH  # Beam's, or unknown, which each job refuses

    def _refuse_set(self, job: str, name: str, word: str) -> None:
        if name in SET[job]:
            self._it.error(f"{word}: two-jobs says this itself; leave it out")
