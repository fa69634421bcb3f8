"""What every command shares: its parser, its messages and its exit codes."""

from __future__ import annotations

import argparse
import difflib
import importlib.metadata
import logging
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

EXIT_FAILED = 1
EXIT_MISTAKE = 2
EXIT_ALERT = 3
EXIT_BUSY = 75  # EX_TEMPFAIL of sysexits.h
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells count

VERSION = importlib.metadata.version("palipipe")


def suggestion(word: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


class Parser(argparse.ArgumentParser):
    """An argument parser that refuses what it doesn't know and names the nearest option."""

    def __init__(self, command: str, **rest: Any):
        super().__init__(
            prog=f"palipipe {command}",
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            **rest,
        )

    def options(self) -> list[str]:
        """All option strings, for suggestions."""
        return [name for action in self._actions for name in action.option_strings]

    def parse_args(self, args=None, namespace=None):  # type: ignore[override]
        """As `argparse`'s, naming the nearest option to one that there isn't."""
        options, rest = self.parse_known_args(args, namespace)
        self.refuse_any(rest)
        return options

    def refuse_any(self, rest: Sequence[str]) -> None:
        """Refuse what is left of a command line, if anything is."""
        if rest:
            self.refuse(next((word for word in rest if word.startswith("-")), rest[0]))

    def refuse(self, unknown: str) -> NoReturn:
        name = unknown.split("=")[0]
        self.error(f"unknown option {name}{suggestion(name, self.options())}")

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}\n{self.prog} --help tells the options.", file=sys.stderr)
        raise SystemExit(EXIT_MISTAKE)


def positive(text: str) -> int:
    """An argument type: a whole number above 0; underscores and commas may group its digits."""
    try:
        value = int(text.replace(",", ""))
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def leave(code: int) -> NoReturn:
    """End the process with this exit code, once what was said has been written.

    The interpreter's own way out takes down the threads of Arrow, gRPC and XLA in no order, and now
    and then one of them aborts: a run whose work is done and committed must not end with that code.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    os._exit(code)


def exit_code(command: str, work: Callable[[], int]) -> int:
    """Run a command's work; a failure it foresees becomes a message and an exit code."""
    from filters.config import FilterConfigError
    from model.errors import ModelError
    from pipelines.logs import quiet
    from transforms.errors import BusyError, UserError, WorkError

    quiet()
    try:
        return work()
    except (UserError, ModelError, FilterConfigError) as error:
        print(f"palipipe {command}: {error}", file=sys.stderr)
        return EXIT_MISTAKE
    except BusyError as error:
        print(f"palipipe {command}: {error}", file=sys.stderr)
        return EXIT_BUSY
    except WorkError as error:
        print(f"palipipe {command}: {error}", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        print(f"\npalipipe {command}: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
