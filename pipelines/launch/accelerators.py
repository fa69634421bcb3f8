"""The accelerators that Dataflow's workers can have, and the machines that carry them.

Types, topologies and machines are those of Google's pages on Dataflow's TPU and GPU support;
memory is the makers' figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OPTION = "worker_accelerator="
DRIVER = "install-nvidia-driver"


@dataclass(frozen=True)
class Chip:
    """One accelerator chip. memory: in GiB. for_weights: the share of it that they may take.

    The rest is for what a batch needs, the compiled programs and the driver.
    """

    name: str
    memory: int
    for_weights: float


V5E = Chip("TPU v5e", 16, 0.85)
V6E = Chip("TPU v6e", 32, 0.85)
L4 = Chip("NVIDIA L4", 24, 0.85)
H100 = Chip("NVIDIA H100", 80, 0.85)


@dataclass(frozen=True)
class Accelerator:
    """What one worker has.

    shape: a TPU's topology, or a GPU's count. machines: that carry it; the first is the default.
    scarce: had in certain zones alone, and often by reservation.
    """

    type: str
    shape: str
    chips: int
    chip: Chip
    machines: tuple[str, ...]
    scarce: bool = False

    @property
    def is_tpu(self) -> bool:
        return self.type.startswith("tpu-")

    @property
    def option(self) -> str:
        """As Dataflow's service option has it."""
        if self.is_tpu:
            return f"{OPTION}type:{self.type};topology:{self.shape}"
        return f"{OPTION}type:{self.type};count:{self.shape};{DRIVER}:5xx"

    @property
    def for_weights(self) -> float:
        """GiB that weights may take on all the chips of a worker."""
        return self.chip.memory * self.chip.for_weights * self.chips

    def __str__(self) -> str:
        return f"{self.type} {self.shape}"


def _tpu(type: str, shape: str, chips: int, chip: Chip, machine: str) -> Accelerator:
    return Accelerator(type, shape, chips, chip, (machine,), scarce=True)


def _l4(count: int, *vcpus: int) -> Accelerator:
    machines = tuple(f"g2-standard-{n}" for n in vcpus)
    return Accelerator("nvidia-l4", str(count), count, L4, machines)


def _h100(count: int) -> Accelerator:
    machines = (f"a3-highgpu-{count}g",)
    return Accelerator("nvidia-h100-80gb", str(count), count, H100, machines, scarce=True)


ACCELERATORS = (
    _tpu("tpu-v5-lite-podslice", "1x1", 1, V5E, "ct5lp-hightpu-1t"),
    _tpu("tpu-v5-lite-podslice", "2x2", 4, V5E, "ct5lp-hightpu-4t"),
    _tpu("tpu-v5-lite-podslice", "2x4", 8, V5E, "ct5lp-hightpu-8t"),
    _tpu("tpu-v6e-slice", "1x1", 1, V6E, "ct6e-standard-1t"),
    _tpu("tpu-v6e-slice", "2x2", 4, V6E, "ct6e-standard-4t"),
    _tpu("tpu-v6e-slice", "2x4", 8, V6E, "ct6e-standard-8t"),
    _l4(1, 8, 4, 12, 16, 32),
    _l4(2, 24),
    _l4(4, 48),
    _l4(8, 96),
    _h100(1),
    _h100(2),
    _h100(4),
    _h100(8),
)


def accelerator(type: str, shape: str) -> Accelerator:
    """One of those above. Raises KeyError."""
    for each in ACCELERATORS:
        if (each.type, each.shape) == (type, shape):
            return each
    raise KeyError(f"{type} {shape}")


def parts(option: str) -> Mapping[str, str]:
    """``worker_accelerator=type:A;topology:B`` as names and values; a bare word's is ""."""
    words = option.removeprefix(OPTION).split(";")
    return {name: value for name, _, value in (word.partition(":") for word in words)}
