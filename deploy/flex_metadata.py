"""Writes the flex templates' metadata, one parameter for each option that a scheduled job can have.

The options' own parser is the source: `python deploy/flex_metadata.py` writes the files anew after
a change of it, and a test fails until that is done.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from flex_launch import (
    COMMAND,
    COMMANDS,
    LAUNCHERS,
    LEFT_OUT,
    is_switch,
    options_of,
    parser_of,
    takes_several,
)

from pipelines.launch.profiles import PROFILES, profile

HERE = Path(__file__).parent

DESCRIPTIONS = {
    "annotate": "Annotates image shards with PaliGemma: one row for every image, in Parquet. "
    "Launched again it takes up what is new.",
    "screen": "Puts image shards through the filters, without a model: one row for every image, "
    "in Parquet. Launched again it takes up what is new.",
}

# What a value looks like, by what --help calls it. Where a launcher and its workers read a file it
# lies in a bucket, or in their image.
_NUMBER = r"[1-9][0-9_,]*"
PATTERNS = {
    "N": _NUMBER,
    "N|auto": rf"auto|{_NUMBER}",
    "X": r"[0-9]+(\.[0-9]+)?",
    "GLOB": r"gs://[^/\[\]*?]+/.+",
    "FOLDER": r"gs://[^/]+/.+",
    "PATH": r"(gs:/)?/.+",
    "PRESET|FILE": r"[a-z]+|(gs:/)?/.+",
    "FILTER": r"[a-z_]+",
    "NAME": r"\S+",
    "PROMPT": r"[^\[].*",
}
KINDS = {"N": "NUMBER", "X": "NUMBER", "FOLDER": "GCS_WRITE_FOLDER"}


def metadata(command: str) -> dict[str, Any]:
    """The metadata of a command's template, as Dataflow's `TemplateMetadata` has it in JSON."""
    groups = {
        action.dest: group.title
        for group in parser_of(command)._action_groups
        for action in group._group_actions
    }
    return {
        "name": f"palipipe {command}",
        "description": DESCRIPTIONS[command],
        "parameters": [
            {
                "name": COMMAND,
                "label": "Command",
                "helpText": "what of palipipe is run",
                "isOptional": False,
                **_choices([command]),
            },
            *(
                parameter(action, groups[name])
                for name, action in options_of(command).items()
                if name not in LEFT_OUT and name not in LAUNCHERS
            ),
        ],
    }


def parameter(action: argparse.Action, group: str | None) -> dict[str, Any]:
    """An option's `ParameterMetadata`.

    Raises:
        LookupError: nothing here says what its values look like.
    """
    several = "; several are a JSON list" if takes_several(action) else ""
    return {
        "name": action.dest,
        "label": action.dest.replace("_", " ").capitalize(),
        "groupName": group,
        "helpText": f"{action.help or ''}{several}",
        "isOptional": not action.required,
        **_values(action),
    }


def _values(action: argparse.Action) -> dict[str, Any]:
    if is_switch(action):
        return {"paramType": "BOOLEAN", "regexes": ["^(true|false)$"]}
    if action.choices:
        return _choices([str(each) for each in action.choices])
    if action.type is profile:
        return _choices(list(PROFILES))
    metavar = str(action.metavar)
    if metavar not in PATTERNS:
        raise LookupError(f"--{action.dest}: PATTERNS doesn't say what a {metavar} looks like")
    pattern = PATTERNS[metavar]
    if takes_several(action):
        pattern = rf"{pattern}|\[.+\]"
    return {"paramType": KINDS.get(metavar, "TEXT"), "regexes": [f"^({pattern})$"]}


def _choices(values: list[str]) -> dict[str, Any]:
    return {
        "paramType": "ENUM",
        "regexes": [f"^({'|'.join(map(re.escape, values))})$"],
        "enumOptions": [{"value": value} for value in values],
    }


def file_of(command: str) -> Path:
    """Where a command's metadata lies."""
    return HERE / f"{command}.template.json"


def text(command: str) -> str:
    """What that file holds."""
    return json.dumps(metadata(command), indent=2) + "\n"


def main() -> None:
    for command in COMMANDS:
        file_of(command).write_text(text(command))


if __name__ == "__main__":
    main()
