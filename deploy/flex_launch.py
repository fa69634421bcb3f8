"""Starts palipipe from the parameters of a Dataflow flex template.

The template's launcher runs this file with ``--name=value`` for every parameter and for Beam's own
options, among them ``--template_location``: there the job's graph has to lie when it ends.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence

COMMAND = "command"
COMMANDS = ("annotate", "screen")

# Options that are no parameters, and why: said to who gives one all the same.
_WAITS = "a template ends when its job begins; run palipipe where it can wait for the job"
LEFT_OUT = {
    "dry_run": "a template is there to launch a job",
    "progress": "nobody watches a launcher",
    **dict.fromkeys(("duplicates", "earlier", "export", "export_to"), _WAITS),
    **dict.fromkeys(("reuse_answers", "wait_for_lock", "lock_lease"), _WAITS),
    **dict.fromkeys(("alert_drop_rate", "alert_failure_rate", "alert_runs"), _WAITS),
    **dict.fromkeys(("alert_nothing_new", "alert_no_input", "alert_command"), _WAITS),
}
# Given by the launcher itself.
LAUNCHERS = ("runner",)

# What the job that does nothing must not have of the one that was asked for.
_POOL = (
    "dataflow_service_options",
    "disk_size_gb",
    "experiments",
    "machine_type",
    "max_num_workers",
    "num_workers",
    "worker_machine_type",
)
_SMALL_POOL = ("--machine_type=e2-standard-2", "--max_num_workers=1")


class LaunchError(ValueError):
    """A parameter is wrong."""


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of one of `COMMANDS`."""
    return importlib.import_module(f"pipelines.{command}_options").parser()


def options_of(command: str) -> dict[str, argparse.Action]:
    """A command's options by the names that parameters have: ``batch_size`` of ``--batch-size``."""
    return {
        action.dest: action
        for action in parser_of(command)._actions
        if action.option_strings and action.dest != "help"
    }


def takes_several(action: argparse.Action) -> bool:
    """Whether an option may be repeated, and so its parameter be a JSON list."""
    return isinstance(action, argparse._AppendAction)


def command_line(parameters: Sequence[str]) -> list[str]:
    """The command line of palipipe for the launcher's ``--name=value`` words.

    What isn't an option of the command is left for Beam as it is.

    Raises:
        LaunchError: a parameter is missing, or isn't one.
    """
    pairs = [_pair(word) for word in parameters]
    given = dict(pairs)
    if given.get(COMMAND) not in COMMANDS:
        raise LaunchError(f"--{COMMAND}: say {' or '.join(COMMANDS)}")
    options = options_of(given[COMMAND])
    words = [given[COMMAND]]
    for name, value in pairs:
        if name in LEFT_OUT and name in options:
            raise LaunchError(f"--{name} is no parameter of the template: {LEFT_OUT[name]}")
        if name in options:
            words += _words(name, value, options[name])
        elif name != COMMAND:
            words.append(f"--{name}={value}")
    return words


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.removeprefix("--").partition("=")
    if not word.startswith("--") or not equals:
        raise LaunchError(f"{word!r}: parameters are --name=value")
    return name, value


def is_switch(action: argparse.Action) -> bool:
    """Whether an option has no value, and so its parameter is true or false."""
    return action.nargs == 0


def _words(name: str, value: str, action: argparse.Action) -> Iterator[str]:
    option = action.option_strings[0]
    if is_switch(action):
        if value not in ("true", "false"):
            raise LaunchError(f"--{name}={value}: true or false")
        if value == "true":
            yield option
        return
    for each in _values(name, value) if takes_several(action) else [value]:
        yield f"{option}={each}"


def _values(name: str, value: str) -> list[str]:
    """``x`` of ``x``, and ``x`` and ``y`` of ``["x", "y"]``."""
    if not value.startswith("["):
        return [value]
    try:
        values = json.loads(value)
    except ValueError as error:
        raise LaunchError(f"--{name}: {error}; several values are a JSON list") from error
    if not values or not all(isinstance(each, str) for each in values):
        raise LaunchError(f"--{name}: a list holds texts, one at least")
    return values


def launch(parameters: Sequence[str], palipipe: Callable[[Sequence[str]], int]) -> int:
    """Have palipipe write the job's graph; returns its exit code.

    Where it finds nothing new to do it makes no job, and a launch without one fails. So that a
    schedule stays quiet on such a day, a job without work is launched then, on a small machine.
    """
    code = palipipe(command_line(parameters))
    place = dict(map(_pair, parameters)).get("template_location")
    if code == 0 and place and not _exists(place):
        print("nothing new: launching a job that does nothing", file=sys.stderr)
        _launch_nothing(parameters)
    return code


def _exists(place: str) -> bool:
    from apache_beam.io.filesystems import FileSystems

    return FileSystems.exists(place)


def _launch_nothing(parameters: Sequence[str]) -> None:
    import apache_beam as beam

    from pipelines.remote import run_on

    given = dict(map(_pair, parameters))
    own = {COMMAND, *options_of(given[COMMAND]), *_POOL}
    words = [f"--{name}={value}" for name, value in given.items() if name not in own]
    run_on(
        given["runner"],
        [*words, *_SMALL_POOL],
        lambda pipeline: pipeline | "NothingNew" >> beam.Create([], reshuffle=False),
    )


def main() -> int:
    from pipelines.main import main as palipipe

    try:
        return launch(sys.argv[1:], palipipe)
    except LaunchError as error:
        print(f"flex template: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    from pipelines.cli import leave

    leave(main())
