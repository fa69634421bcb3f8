"""Packaging of palipipe: four importable rooms, one command, and kernels for CPUs."""

import platform
from pathlib import Path

from setuptools import Extension, find_packages, setup

HERE = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """The direct dependencies listed in ``requirements/NAME.in``, without those it includes."""
    lines = (HERE / "requirements" / f"{name}.in").read_text().splitlines()
    return [line for raw in lines if (line := raw.split("#")[0].strip()) and line[0] != "-"]


def kernels() -> list[Extension]:
    """The CPU kernels; without a C++ compiler palipipe installs and runs, slower on a CPU."""
    if platform.machine().lower() not in ("x86_64", "amd64") or platform.system() == "Windows":
        return []
    from jax.ffi import include_dir

    instructions = ("f", "bw", "dq", "vl", "bf16", "vnni")
    return [
        Extension(
            "model.cpu_kernels.kernels",
            [f"model/cpu_kernels/{name}.cc" for name in ("attention", "matmul", "pack")],
            depends=["model/cpu_kernels/kernels.h"],
            include_dirs=[include_dir()],
            extra_compile_args=[
                "-std=c++17",
                "-O3",
                # GCC's partial redundancy elimination moves the sums of a tile out of registers.
                "-fno-tree-pre",
                "-Wno-attributes",
                *(f"-mavx512{name}" for name in instructions),
            ],
            language="c++",
            optional=True,
        )
    ]


setup(
    name="palipipe",
    version="0.1.0",
    description="Screen an image corpus responsibly and annotate it with PaliGemma on Apache Beam",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=["pipelines*", "transforms*", "model*", "filters*"],
    ),
    ext_modules=kernels(),
    package_data={
        "model.cpu_kernels": ["*.cc", "*.h"],
        "model.small": ["*.model", "*.npz", "README.md"],
        "model.tiny": ["*.model", "*.npz"],
        "filters": ["data/*.tsv", "data/*.npz", "data/LICENSES/*", "presets/*.yaml"],
    },
    install_requires=requirements("base"),
    extras_require={"s3": ["boto3"]},
    entry_points={"console_scripts": ["palipipe=pipelines.main:console"]},
)
