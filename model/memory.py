"""How much memory compiled programs need, and how much a device or this machine has left."""

from __future__ import annotations

import os
from collections.abc import Iterator
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

import jax

from model.programs import Programs

GIB = 1 << 30

GPU_SHARE = "0.92"
"""Of a GPU's memory that JAX takes at its start. Its own default is 0.75; an engine has the GPU to
itself, but for what CUDA keeps beside the allocator: its context, and its libraries' workspaces."""


def take_the_gpu() -> None:
    """Sets JAX's share of a GPU, unless the user has; before JAX first looks for devices.

    Taken in one piece at the start, memory neither fragments nor goes to another process after
    the check that everything fits.
    """
    if os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "true").lower() in ("true", "1"):
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", GPU_SHARE)


def needed(programs: Programs) -> int:
    """Bytes that each device must hold: weights and inputs, code, and the most any call adds."""
    encode = _sizes(programs.encode)
    generate = [_sizes(program) for program in programs.generate.values()]
    every = [encode, *generate]
    return (
        # The weights of both are on the device throughout, and they share none.
        encode.argument_size_in_bytes
        + max(sizes.argument_size_in_bytes for sizes in generate)
        + sum(sizes.generated_code_size_in_bytes for sizes in every)
        + max(
            sizes.temp_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
            for sizes in every
        )
    )


def _sizes(program: jax.stages.Compiled) -> Any:
    sizes = program.memory_analysis()
    if sizes is None:
        raise NotImplementedError("this backend of JAX doesn't say what a program needs")
    return sizes


def bytes_on_each(shapes: dict) -> int:
    """Bytes of a tree of shapes that know their places, on one device."""
    return sum(
        prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(shapes)
    )


def capacity(device: jax.Device) -> int | None:
    """Bytes that an engine may take of a device; None where nobody says.

    A CPU's is what the machine, or the container around this process, has left.
    """
    if device.platform == "cpu":
        return host_memory()
    return (device.memory_stats() or {}).get("bytes_limit")


def host_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes this process may still take: the machine's, and every control group's above it.

    None off Linux. Pages of files that could be dropped count as left.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines)
    left = int(fields["MemAvailable"].split()[0]) * 1024
    return min([left, *_left_in_groups(proc, cgroups)])


def _left_in_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """Of version 2 (one hierarchy), and of version 1 (one for memory).

    https://docs.kernel.org/admin-guide/cgroup-v2.html, "Memory"; and cgroup-v1/memory.html.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, names = cgroups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            folder = cgroups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = PurePosixPath(path.lstrip("/"))
        for group in {folder, *(folder / part for part in (own, *own.parents))}:
            left = _left_in_group(group, *names)
            if left is not None:
                yield left


def _left_in_group(group: Path, limit: str, usage: str, droppable: str) -> int | None:
    """None where a group has no limit, or is out of this container's sight."""
    try:
        allowed = (group / limit).read_text().strip()
        used = int((group / usage).read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    if allowed == "max":
        return None
    return int(allowed) - used + int(statistics.get(droppable, 0))
