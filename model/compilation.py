"""How often JAX compiled, by thread: what must stay still once an engine is loaded."""

from __future__ import annotations

import threading

import jax

BACKEND_COMPILE = "/jax/core/compile/backend_compile_duration"
"""The event JAX reports in the compiling thread, once a program."""

_compiled = threading.local()


def _count(event: str, duration_secs: float, **_: object) -> None:
    if event == BACKEND_COMPILE:
        _compiled.programs = compilations_of_this_thread() + 1


def compilations_of_this_thread() -> int:
    """Programs compiled in the calling thread since this module was imported."""
    return getattr(_compiled, "programs", 0)


jax.monitoring.register_event_duration_secs_listener(_count)
