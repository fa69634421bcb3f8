"""Descriptors of units in a file beside the output, which workers read.

A job whose graph held them would grow with its corpus, and runners refuse a graph of some
megabytes; with the file it is as small for a billion images as for ten.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from transforms import storage
from transforms.unit import Unit

PLANS = "plans"


def path_in(folder: str, name: str) -> str:
    """Where a plan of an output folder lies."""
    return storage.join(folder, PLANS, f"{name}.jsonl")


@dataclass(frozen=True)
class PlanFile:
    """Units of one job, a line of JSON each. path: on a filesystem that workers reach."""

    path: str

    @classmethod
    def write(cls, folder: str, units: Sequence[Unit]) -> PlanFile:
        """Write units to a file below an output folder, named after what it holds.

        Raises WorkError as `storage.write_atomically` does.
        """
        lines = [json.dumps(unit.to_json(), ensure_ascii=False).encode() + b"\n" for unit in units]
        digest = hashlib.sha256()
        for line in lines:
            digest.update(line)
        plan = cls(path_in(folder, digest.hexdigest()[:16]))
        storage.write_atomically(plan.path, folder, lambda file: file.writelines(lines))
        return plan

    def units(self) -> Iterator[Unit]:
        """The units, in the order in which they were written."""
        with storage.open_binary(self.path) as file:
            for line in io.TextIOWrapper(file, encoding="utf-8"):
                yield Unit.from_json(json.loads(line))

    def delete(self) -> None:
        """Remove the file, once its job is done."""
        storage.delete([self.path])


class PlannedUnits(beam.DoFn):
    """The units of a plan, which is read on a worker; its one input only sets it off."""

    def __init__(self, plan: PlanFile):
        self._plan = plan

    def process(self, start: Any) -> Iterator[Unit]:
        return self._plan.units()
