"""Paths of a remote job: which of them workers read, and whether they can.

The launcher reads the filters' configuration, folders of `--earlier` and the commit records; the
workers read inputs, the model's files and those that filters name, and write the output.
"""

from __future__ import annotations

import argparse
import posixpath
from collections.abc import Iterator

from filters.config import load_filters
from pipelines.launch.launch import Launch
from pipelines.launch.names import bad_uri, scheme

# What filters call the files that they open; they open files of the machine they run on.
FILTER_FILES = ("path", "tokenizer")


def bad_paths(launch: Launch) -> Iterator[str]:
    """A line for each path that a worker can't read, or that can't exist."""
    options = launch.options
    built_in = [posixpath.normpath(path) for path in options.in_image]
    for option, path in _data(options):
        if scheme(path) is None:
            yield (
                f"{option} {path}: a path of this machine, which workers don't see; copy it to a "
                "bucket and write gs://BUCKET/…"
            )
    for option, path in _model(options):
        if scheme(path) is None and not _below(path, built_in):
            yield (
                f"{option} {path}: a path of this machine, which workers don't see; copy it to a "
                f"bucket and write gs://BUCKET/…, or build it into the image and add "
                f"--in-image {path}"
            )
    for name, path in filter_files(options):
        if scheme(path) is not None:
            yield f"{name} {path}: filters read files of their own machine; build it into the image"
        elif not _below(path, built_in):
            yield (
                f"{name} {path}: workers read it too; build it into the image under this path and "
                f"add --in-image {path}"
            )
    for option, path in (*_data(options), *_model(options)):
        if why := bad_uri(path):
            yield f"{option} {path}: {why}"


def _data(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    for path in options.input:
        yield "--input", path
    yield "--output", options.output
    if getattr(options, "export_to", None):
        yield "--export-to", options.export_to


def _model(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    for name in ("checkpoint", "tokenizer", "mask_decoder"):
        if path := getattr(options, name, None):
            yield f"--{name.replace('_', '-')}", path


def filter_files(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Names and paths of the files that filters open on their own machine.

    Raises FilterConfigError where the configuration can't be read.
    """
    for one in load_filters(options.filters).filters:
        for name in FILTER_FILES:
            if path := one.options.get(name):
                yield f"{options.filters}: filters.{one.name}.{name}", str(path)


def _below(path: str, folders: list[str]) -> bool:
    path = posixpath.normpath(path)
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
