"""Whether a model's weights fit a worker: its chips, or its memory where it has none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.job import Job
from pipelines.launch.accelerators import Accelerator
from pipelines.launch.launch import Launch
from pipelines.launch.profiles import PROFILES
from transforms.errors import UserError

GIB = 1 << 30
# Bytes a parameter. `auto` is what the checkpoint has, at least two where that isn't known yet.
BYTES = {"float32": 4, "bfloat16": 2, "int8": 1.1, "auto": 2}
# Of a machine without chips. The lowest of its families, whose machines differ a little.
GIB_PER_CPU = {"highcpu": 0.9, "standard": 3.75, "highmem": 6.5}
# Of its memory, what the system, Beam and pictures leave.
FREE = 0.7


def weights(job: Job) -> float | None:
    """GiB of a job's weights; None where no model runs, or its size isn't known yet."""
    model = job.ledger.configuration.values.get("model")
    if job.annotator is None or not model:
        return None
    return model["parameters"] * BYTES[job.annotator.dtype] / GIB


@dataclass(frozen=True)
class Room:
    """What a worker has for weights. GiB, of all the memory that `what` has."""

    for_weights: float
    memory: float
    what: str

    def __str__(self) -> str:
        return f"{self.what} has room for {self.for_weights:.1f} of its {self.memory:.0f} GiB"


def room_of(launch: Launch) -> Room | None:
    """On the chips, or in the machine where there are none; None of a machine of unknown size."""
    if chips := launch.accelerator:
        # Spread over all of them at most, and over fewer where the user says so.
        share = (vars(launch.options).get("tensor_parallel") or chips.chips) / chips.chips
        memory = chips.chip.memory * chips.chips * share
        return Room(chips.for_weights * share, memory, _named(chips, share))
    own = machine_memory(launch.machine or "")
    return Room(own * FREE, own, launch.machine or "") if own else None


def machine_memory(machine: str) -> float | None:
    """GiB of a general-purpose machine by its name: ``n2-standard-8`` has 30 at least."""
    found = re.fullmatch(r"[a-z]+\d[a-z]?-(standard|highmem|highcpu)-(\d+)", machine)
    return int(found[2]) * GIB_PER_CPU[found[1]] if found else None


def check_fits(job: Job, launch: Launch) -> None:
    """Raises UserError where the weights don't fit, naming profiles in which they do."""
    room, needed = room_of(launch), weights(job)
    if room is None or needed is None or needed <= room.for_weights:
        return
    assert job.annotator is not None
    model = job.ledger.configuration.values["model"]
    remedies = list(_remedies(job.annotator.dtype, needed, room))
    raise UserError(
        f"--checkpoint {job.annotator.checkpoint}: {model['parameters']:,} parameters of "
        f"{BYTES[job.annotator.dtype]} bytes are {needed:.1f} GiB; {room}. "
        f"Write {' or '.join(remedies)}"
    )


def _named(chips: Accelerator, share: float) -> str:
    number = round(chips.chips * share)
    return f"{number} of {chips.chip.name}" if number > 1 else chips.chip.name


def _remedies(dtype: str, needed: float, room: Room) -> Iterator[str]:
    if dtype == "float32" and needed / 2 <= room.for_weights:
        yield "--dtype bfloat16"
    for profile in PROFILES.values():
        if profile.accelerator and needed <= profile.accelerator.for_weights:
            yield f"--profile {profile.name}"
