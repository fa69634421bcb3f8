"""A job service and two workers in processes of their own, which know the project as a wheel alone.

The service is Beam's portable one in Python: its runners for Flink and Spark need jars, and Prism a
binary, that come from no registry of packages. It has no retries: a bundle that fails ends its job.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import job_service
import runs
import worker_boot

ROOT = Path(__file__).parent.parent
PACKAGES = ("filters", "model", "pipelines", "transforms")
LIBRARIES = sysconfig.get_path("purelib")
# Without -S the sources would be found where they are being developed.
PYTHON = (sys.executable, "-S")


def path_of(site: Path) -> str:
    """PYTHONPATH of a process that has the project from there and all else from where it is."""
    return f"{site}:{LIBRARIES}"


def install_wheel(folder: Path) -> Path:
    """Build the project's wheel from a copy of its sources, and install it alone into a folder.

    Kernels that were built in place are left out, like all that isn't source.
    """
    source, site = folder / "source", folder / "site"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    left_out = shutil.ignore_patterns("__pycache__", "*.so")
    for name in (*PACKAGES, "requirements"):
        shutil.copytree(ROOT / name, source / name, ignore=left_out)
    command = [sys.executable, "setup.py", "--quiet", "bdist_wheel", "--dist-dir", str(folder)]
    # Without its kernels, as where there is no compiler: a minute less, and the same for all here.
    without = {**os.environ, "CC": "false", "CXX": "false"}
    subprocess.run(command, cwd=source, env=without, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # which is all that installing a wheel of pure Python is
    shutil.rmtree(source)
    return site


@dataclass(frozen=True)
class Cluster:
    """endpoint: of the job service. pool: of the workers. logs: one of each worker that was."""

    endpoint: str
    pool: str
    logs: Path

    @property
    def options(self) -> tuple[str, ...]:
        """Beam's options for a job on it."""
        return (
            *("--runner", "PortableRunner", "--job_endpoint", self.endpoint),
            *("--environment_type", "EXTERNAL", "--environment_config", self.pool),
            *("--direct_num_workers", "2"),
        )

    def told(self) -> dict[int, str]:
        """Process id to what the worker logged."""
        return {int(log.stem): log.read_text() for log in self.logs.glob("*.log")}


def matches(logs: Mapping[int, str], pattern: str) -> dict[int, list[str]]:
    """Process id to what a pattern finds in its log."""
    return {pid: re.findall(pattern, log) for pid, log in logs.items()}


@contextlib.contextmanager
def cluster(folder: Path, site: Path, environment: Mapping[str, str] = {}) -> Iterator[Cluster]:
    """Start both. environment: what workers have beside what they can't do without."""
    logs, elsewhere = folder / "logs", folder / "elsewhere"
    logs.mkdir(parents=True)
    elsewhere.mkdir()
    clean = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(elsewhere)}
    workers = {
        **clean,
        "PYTHONPATH": path_of(site),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(runs.CACHE),
        "WORKER_LOGS": str(logs),
        **environment,
    }
    boot = folder / "boot"
    boot.write_text(f'#!/bin/sh\nexec {" ".join(PYTHON)} {worker_boot.__file__} "$@"\n')
    boot.chmod(0o755)
    port_file, pool_port = folder / "port", _free_port()
    with (
        _process(
            [job_service.__file__, str(port_file)],
            {**clean, "PYTHONPATH": LIBRARIES},
            elsewhere,
            folder / "service.log",
        ),
        _process(
            [
                *("-m", "apache_beam.runners.worker.worker_pool_main"),
                *("--service_port", str(pool_port)),
                *("--container_executable", str(boot)),
            ],
            workers,
            elsewhere,
            folder / "pool.log",
        ),
    ):
        _await(port_file.exists)
        _await(lambda: _is_listening(pool_port))
        port = port_file.read_text()
        yield Cluster(f"localhost:{port}", f"localhost:{pool_port}", logs)


@contextlib.contextmanager
def _process(
    words: list[str], environment: Mapping[str, str], folder: Path, log: Path
) -> Iterator[subprocess.Popen]:
    """Python in a clean environment; it and what it started are killed in the end."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*PYTHON, *words],
            env=dict(environment),
            cwd=folder,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return server.getsockname()[1]


def _is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("localhost", port)) == 0


def _await(done, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < until, "a server didn't start"
        time.sleep(0.05)
