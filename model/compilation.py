"""Compiled programs: how often JAX made one, by thread, and where they are kept."""

from __future__ import annotations

import os
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


def keep_compiled_programs() -> None:
    """Let later processes of this user find what this one compiles, unless told where or not to.

    The cache is the user's own: whoever can write to it can run code in these processes.
    """
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # JAX keeps what took a second. A small model's programs take less each, and there are many.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    jax.config.update("jax_compilation_cache_dir", os.path.join(cache, "palipipe", "compiled"))


jax.monitoring.register_event_duration_secs_listener(_count)
