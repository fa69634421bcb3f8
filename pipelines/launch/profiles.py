"""The launch profiles: worker pools by name. Imports nothing slow: `--help` lists them."""

from __future__ import annotations

from argparse import ArgumentTypeError
from dataclasses import dataclass

from pipelines.cli import suggestion
from pipelines.launch.accelerators import Accelerator, accelerator

RUNNER = "DataflowRunner"
CPU = "dataflow-cpu"
GPU_IMAGE = "gpu"


@dataclass(frozen=True)
class Profile:
    """A pool of Dataflow workers.

    image: the image's variant, as deploy/build.sh calls it. disk: in GB.
    harness_threads: bundles that a worker's process works on at once.
    decoding_threads: for each of them; None for one a core.
    """

    name: str
    purpose: str
    machine: str
    image: str
    accelerator: Accelerator | None = None
    disk: int = 100
    harness_threads: int = 4
    decoding_threads: int | None = None

    @property
    def hardware(self) -> str:
        """What computes, for people."""
        if self.accelerator is None:
            return "no accelerator"
        chips = self.accelerator.chips
        return f"{self.accelerator.chip.name}{f', {chips} of them' if chips > 1 else ''}"

    @property
    def memory(self) -> str:
        """What memory the model has, for people."""
        if self.accelerator is None:
            return "the machine's"
        return f"{self.accelerator.chip.memory * self.accelerator.chips} GiB"


def _on(name: str, image: str, type: str, shape: str, purpose: str, disk: int = 100) -> Profile:
    chips = accelerator(type, shape)
    return Profile(name, purpose, chips.machines[0], image, chips, disk)


V5E, V6E = "tpu-v5-lite-podslice", "tpu-v6e-slice"

_PROFILES = (
    _on("dataflow-tpu-v5e", "tpu-v5e", V5E, "1x1", "the default for 3B models"),
    _on(
        "dataflow-tpu-v5e-2x2",
        "tpu-v5e-2x2",
        V5E,
        "2x2",
        "10B models; 3B with fewer, larger workers",
    ),
    _on("dataflow-tpu-v5e-2x4", "tpu-v5e-2x4", V5E, "2x4", "28B models", 200),
    _on("dataflow-tpu-v6e", "tpu-v6e", V6E, "1x1", "10B models on one chip; 3B at 448 and 896 px"),
    _on("dataflow-gpu-l4", GPU_IMAGE, "nvidia-l4", "1", "3B models where no TPU can be had"),
    _on(
        "dataflow-gpu-h100",
        GPU_IMAGE,
        "nvidia-h100-80gb",
        "1",
        "10B and 28B models on one GPU",
        200,
    ),
    # A process a core, each with two threads: one decodes while the other waits for storage.
    Profile(
        CPU,
        "palipipe screen; annotating with small models",
        "n2-standard-8",
        "cpu",
        disk=50,
        harness_threads=1,
        decoding_threads=2,
    ),
)

PROFILES = {profile.name: profile for profile in _PROFILES}


def profile(name: str) -> str:
    """An argument type: the name of a profile; a mistyped one is refused with the nearest."""
    if name not in PROFILES:
        raise ArgumentTypeError(f"there is no profile {name!r}{suggestion(name, PROFILES)}")
    return name


def profile_table() -> str:
    """The profiles with chip, memory, machine and purpose, as aligned text."""
    rows = [("profile", "chip", "memory", "machine", "for")]
    rows += [(p.name, p.hardware, p.memory, p.machine, p.purpose) for p in PROFILES.values()]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[-1]]))
    return "\n".join(lines)
