"""The GPU compiler of JAX on a machine without a GPU: an H100 to compile for, and what moves.

Without a GPU nothing can be tried out, as XLA does with its own products when it compiles, so that
all are left to cuBLAS here.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

if TYPE_CHECKING:  # it may import jax, before `environment` is set
    from model.target import Target

BESIDE = Path(sys.prefix) / "gpu"
PLUGIN = BESIDE / "jax_plugins" / "xla_cuda12" / "xla_cuda_plugin.so"
ASSEMBLER = BESIDE / "nvidia" / "cuda_nvcc"

FLOPS, BANDWIDTH = 989e12, 3.35e12
"""Of an H100 SXM, from NVIDIA's data sheet: bfloat16 a second, bytes a second."""

H100 = """
gpu_device_info {
  name: "NVIDIA H100 80GB HBM3"
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 3350000000000
  device_memory_size: 84942979072
  l2_cache_size: 52428800
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  device_address_bits: 64
  driver_version: "13.0.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0"
  dnn_version: "9.10.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


def environment() -> dict[str, str] | None:
    """Variables to be set before jax is imported; None where there is no compiler."""
    if not PLUGIN.exists() or not ASSEMBLER.exists():
        return None
    flags = (
        *os.environ.get("XLA_FLAGS", "").split(),
        f"--xla_gpu_cuda_data_dir={ASSEMBLER}",
        "--xla_gpu_enable_triton_gemm=false",
    )
    return {
        "JAX_PLATFORMS": "cpu",
        "PATH": f"{ASSEMBLER / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "XLA_FLAGS": " ".join(flags),
        "TF_CPP_MIN_LOG_LEVEL": "2",  # it says at length that there is no driver
    }


def devices(number: int) -> list:
    """H100s of one host, which needn't exist."""
    from jax._src import xla_bridge  # JAX's own way to the plugin asks for a driver first
    from jax.experimental import topologies

    xla_bridge.register_plugin("cuda", library_path=str(PLUGIN))
    return topologies.get_topology_desc(
        "H100", "cuda", target_config=H100, topology=f"1x1x{number}"
    ).devices


@contextmanager
def traced_for_gpus(target: Target) -> Iterator[None]:
    """Programs compiled within are for this target; JAX finds the cuDNN that isn't here."""
    cudnn = "jax._src.cudnn.fused_attention_stablehlo"
    with (
        mock.patch("model.programs.target_of", return_value=target),
        mock.patch(f"{cudnn}.check_cudnn_version", return_value=91000),
        mock.patch(f"{cudnn}.check_compute_capability", return_value=True),
        mock.patch(f"{cudnn}.is_cuda_compute_capability_equal", return_value=False),
    ):
        yield


@dataclass(frozen=True)
class Moved:
    """Bytes that a program's kernels read and write. a_round: of a loop whose end isn't known."""

    once: int
    a_round: int


def moved(hlo: str) -> Moved:
    """hlo: `Compiled.as_text()`. What a kernel only cuts from or writes into counts in part."""
    computations, entry = _computations(hlo)
    rounds = [0]
    return Moved(_bytes(computations, entry, rounds), sum(rounds))


BYTES = {
    **dict.fromkeys(("pred", "s8", "u8"), 1),
    **dict.fromkeys(("bf16", "f16", "s16", "u16"), 2),
    **dict.fromkeys(("f32", "s32", "u32"), 4),
    **dict.fromkeys(("f64", "s64", "u64"), 8),
}
FREE = ("parameter", "get-tuple-element", "bitcast", "constant", "tuple")
CUTS = ("slice", "dynamic-slice", "gather")


@dataclass(frozen=True)
class _Line:
    name: str
    shape: str
    operation: str
    operands: list[str]
    rest: str


def _computations(hlo: str) -> tuple[dict[str, list[_Line]], str]:
    """Every computation's lines by name, and the entry's name."""
    computations: dict[str, list[_Line]] = {}
    lines: list[_Line] = []
    entry = ""
    for text in hlo.splitlines():
        if head := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\{\s*$", text):
            lines = computations[head[2]] = []
            entry = head[2] if head[1] else entry
        elif line := re.match(
            r"\s*(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*?)\)(.*)", text
        ):
            operands = re.findall(r"%([\w.\-]+)", line[4])
            lines.append(_Line(line[1], line[2], line[3], operands, line[5]))
    return computations, entry


def _size(shape: str) -> int:
    """Bytes of `bf16[2,3]{1,0}`, or of a tuple."""
    total = 0
    for kind, sides in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", shape):
        number = 1
        for side in sides.split(","):
            number *= int(side) if side else 1
        total += number * BYTES[kind]
    return total


def _bytes(computations: dict[str, list[_Line]], name: str, rounds: list[int]) -> int:
    shapes = {line.name: line.shape for line in computations[name]}
    total = 0
    for line in computations[name]:
        called = re.findall(r"(?:body|calls|to_apply)=%?([\w.\-]+)", line.rest)
        if line.operation in FREE:
            continue
        if line.operation == "while":
            inside = _bytes(computations, called[0], rounds)
            if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', line.rest):
                total += int(known[1]) * inside
            else:
                rounds.append(inside)
        elif line.operation == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", line.rest)
            names = branches[1] if branches else line.rest
            total += max(
                _bytes(computations, each, rounds)
                for each in re.findall(r"%([\w.\-]+)", names)
                if each in computations
            )
        elif line.operation == "call":
            total += _bytes(computations, called[0], rounds)
        elif line.operation == "fusion":
            total += _of_fusion(computations[called[0]], _size(line.shape))
        else:
            scratch = sum(map(int, re.findall(r"s8\[(\d+)\]", line.shape)))
            total += _size(line.shape) - scratch
            total += sum(_size(shapes.get(operand, "")) for operand in line.operands)
    return total


def _of_fusion(lines: list[_Line], written: int) -> int:
    by_name = {line.name: line for line in lines}

    def users(name: str) -> list[_Line]:
        found = []
        for line in lines:
            if name in line.operands:
                found += users(line.name) if line.operation == "bitcast" else [line]
        return found

    def source(name: str) -> str:
        line = by_name[name]
        return source(line.operands[0]) if line.operation == "bitcast" else name

    read = 0
    for parameter in (line for line in lines if line.operation == "parameter"):
        whole, parts = _size(parameter.shape), 0
        for user in users(parameter.name):
            if user.operation in CUTS:
                parts += _size(user.shape)
            elif (
                user.operation != "dynamic-update-slice"
                or source(user.operands[0]) != parameter.name
            ):
                parts += whole
        read += min(whole, parts)
    for line in lines:
        if line.operation == "dynamic-update-slice":
            written += _size(by_name[line.operands[1]].shape) - _size(line.shape)
    return read + max(0, written)
