"""The real TPU compiler on a machine without a TPU: chips to compile for, and what it estimates.

Needs libtpu, which `make test` puts beside this environment: where Python can import it, jax looks
for a chip at each start. TPU_LIBRARY_PATH may name another libtpu.so.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

BESIDE = Path(sys.prefix) / "tpu" / "libtpu" / "libtpu.so"

ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    # No metadata server is asked which machine this is, and no chip is locked.
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
WITHOUT_PREFETCH = {"xla_msa_enable": "false"}
"""Compiler option for `optimal_seconds`. The cost analysis counts a byte that is fetched ahead to
fast memory three times, and each ConcatBitcast that comes with it as minus one second."""


@dataclass(frozen=True)
class Chip:
    """Peaks of one chip, from Google's pages, and the memory that the compiler lets programs use.

    flops: bfloat16, a second. bandwidth: bytes a second. memory: bytes. clock: cycles a second, the
    one at which the multipliers (four of 128 x 128, or two of 256 x 256) reach `flops`.
    """

    name: str
    flops: float
    bandwidth: float
    memory: float
    clock: float


V5E = Chip("v5e", 197e12, 819e9, 15.75 * 2**30, 1.5e9)
V6E = Chip("v6e", 918e12, 1640e9, 31.25 * 2**30, 1.75e9)
CHIPS = {chip.name: chip for chip in (V5E, V6E)}


def environment() -> dict[str, str] | None:
    """Variables to be set before jax is imported; None where there is no compiler."""
    library = os.environ.get("TPU_LIBRARY_PATH", str(BESIDE))
    if Path(library).exists():
        return ENVIRONMENT | {"TPU_LIBRARY_PATH": library}
    return ENVIRONMENT if importlib.util.find_spec("libtpu") else None


def devices(topology: str) -> list:
    """Chips that needn't exist: of `v5e:2x2` four."""
    from jax.experimental import topologies

    sides = [int(side) for side in topology.split(":")[1].split("x")]
    return topologies.get_topology_desc(
        platform="tpu", topology_name=topology, chips_per_host_bounds=[*sides, 1]
    ).devices


def scheduled_seconds(hlo: str, chip: Chip, steps: int) -> float:
    """The schedule's own cycles, loops multiplied out, and of branches the longest.

    hlo: `Compiled.as_text()`. steps: rounds of a loop whose end isn't a constant (decoding).
    """
    computations, entry = _computations(hlo)

    def cycles(name: str) -> int:
        total = 0
        for line in computations[name]:
            if loop := re.search(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)", line):
                total += _rounds(computations[loop[1]], steps) * cycles(loop[2])
            elif " conditional(" in line:
                total += max(map(cycles, _branches(line)))
            elif own := re.search(r'"estimated_cycles":"(\d+)"', line):
                total += int(own[1])
        return total

    return cycles(entry) / chip.clock


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    """Lines of every computation by name, and the entry's name."""
    computations: dict[str, list[str]] = {}
    lines: list[str] = []
    entry = ""
    for line in hlo.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line):
            lines = computations[head[2]] = []
            entry = head[2] if head[1] else entry
        else:
            lines.append(line)
    return computations, entry


def _branches(conditional: str) -> list[str]:
    """The computations of which one runs."""
    if several := re.search(r"branch_computations=\{([^}]*)\}", conditional):
        return re.findall(r"[\w.\-]+", several[1])
    return re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", conditional)


def _rounds(condition: list[str], otherwise: int) -> int:
    limits = [
        int(n) for line in condition for n in re.findall(r"s32\[\]\S* constant\((\d+)\)", line)
    ]
    return limits[0] if len(limits) == 1 else otherwise
