"""Options of a run that is one of many over a folder. Imports nothing slow."""

from __future__ import annotations

import argparse
import re

from pipelines.cli import Parser, positive

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> float:
    """An argument type: ``90s``, ``15m``, ``2h`` or ``30d``, in seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd])", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no duration; write a number and s, m, h or d, as in 90s or 15m"
        )
    return float(match[1]) * _UNITS[match[2]]


def _lease(text: str) -> float:
    seconds = duration(text)
    if seconds < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is too short; a lease is 1s at least")
    return seconds


def share(text: str) -> float:
    """An argument type: a share between 0 and 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; write 0.05 for five in a hundred")
    return value


def lock_options(it: Parser) -> None:
    """What happens where another run has the output folder."""
    group = it.add_argument_group("where another run has the output folder")
    group.add_argument(
        "--wait-for-lock",
        metavar="DURATION",
        type=duration,
        default=0.0,
        help="wait for it so long: 90s, 15m, 2h (default: not at all; exit code 75)",
    )
    group.add_argument(
        "--lock-lease",
        metavar="DURATION",
        type=_lease,
        default=300.0,
        help="after so long without a sign of life from this run another one may take over "
        "(default: 5m)",
    )


def alert_options(it: Parser) -> None:
    """What of a run is told by an alert line and exit code 3."""
    group = it.add_argument_group("what raises an alert")
    group.add_argument(
        "--alert-drop-rate",
        metavar="SHARE",
        type=share,
        help="the share of images that are filtered or quarantined is further than this from that "
        "of earlier runs, and not by chance",
    )
    group.add_argument(
        "--alert-failure-rate", metavar="SHARE", type=share, help="the same for failed images"
    )
    group.add_argument(
        "--alert-runs",
        metavar="N",
        type=positive,
        default=20,
        help="earlier runs that rates are compared with (default: 20)",
    )
    group.add_argument(
        "--alert-nothing-new",
        metavar="N",
        type=positive,
        help="the N-th run in a row finds nothing new",
    )
    group.add_argument(
        "--alert-no-input",
        action="store_true",
        help="an input stands for no file, or there is no image in any; without it a glob that "
        "matches nothing is a mistake",
    )
    group.add_argument(
        "--alert-command",
        metavar="COMMAND",
        help="run by /bin/sh for a run with alerts, with its record on standard input",
    )


def check(it: Parser, options: argparse.Namespace) -> None:
    """Exit with 2 where a command for alerts is given but nothing that raises one."""
    raised = (
        options.alert_drop_rate,
        options.alert_failure_rate,
        options.alert_nothing_new,
        options.alert_no_input or None,
    )
    if options.alert_command and all(one is None for one in raised):
        it.error(
            "--alert-command has a meaning only with --alert-drop-rate, --alert-failure-rate, "
            "--alert-nothing-new or --alert-no-input"
        )
