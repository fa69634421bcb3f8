"""Paths of a job on workers that share this machine's files, or a mount, but not this folder."""

from __future__ import annotations

import argparse
import os

# Options that name a file or folder which workers open.
PATHS = ("output", "export_to", "checkpoint", "tokenizer", "mask_decoder")


def make_absolute(options: argparse.Namespace) -> None:
    """Spell out local paths: workers have a working folder of their own. Inputs always are."""
    from transforms.readers.streams import absolute

    for name in PATHS:
        if path := getattr(options, name, None):
            setattr(options, name, absolute(path))


def check_filter_files(options: argparse.Namespace) -> None:
    """Raises UserError where filters name a file that workers would look for in their folder."""
    from pipelines.launch.paths import filter_files
    from transforms.errors import UserError

    for name, path in filter_files(options):
        if not os.path.isabs(path):
            raise UserError(
                f"{name} {path}: workers look for it in a folder of their own; write the whole "
                "path, under which each of them has the file"
            )
