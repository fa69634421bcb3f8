"""Whether a model's weights fit the accelerator of a worker."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.job import Job
from pipelines.launch.accelerators import Accelerator
from pipelines.launch.launch import Launch
from pipelines.launch.profiles import PROFILES
from transforms.errors import UserError

GIB = 1 << 30
# Bytes a parameter. `auto` is what the checkpoint has, at least two where that isn't known yet.
BYTES = {"float32": 4, "bfloat16": 2, "auto": 2}


def weights(job: Job) -> float | None:
    """GiB of a job's weights; None where no model runs, or its size isn't known yet."""
    model = job.ledger.configuration.values.get("model")
    if job.annotator is None or not model:
        return None
    return model["parameters"] * BYTES[job.annotator.dtype] / GIB


def check_fits(job: Job, launch: Launch) -> None:
    """Raises UserError where the weights don't fit, naming profiles in which they do."""
    chips, needed = launch.accelerator, weights(job)
    if chips is None or needed is None or needed <= chips.for_weights:
        return
    assert job.annotator is not None
    model = job.ledger.configuration.values["model"]
    remedies = list(_remedies(job.annotator.dtype, needed, chips))
    raise UserError(
        f"--checkpoint {job.annotator.checkpoint}: {model['parameters']:,} parameters of "
        f"{BYTES[job.annotator.dtype]} bytes are {needed:.1f} GiB; {_described(chips)}. "
        f"Write {' or '.join(remedies)}"
    )


def _described(chips: Accelerator) -> str:
    many = f"{chips.chips} of " if chips.chips > 1 else ""
    return (
        f"{many}{chips.chip.name} has room for {chips.for_weights:.1f} of its "
        f"{chips.chip.memory * chips.chips} GiB"
    )


def _remedies(dtype: str, needed: float, chips: Accelerator) -> Iterator[str]:
    if dtype == "float32" and needed / 2 <= chips.for_weights:
        yield "--dtype bfloat16"
    for profile in PROFILES.values():
        if profile.accelerator and needed <= profile.accelerator.for_weights:
            yield f"--profile {profile.name}"
