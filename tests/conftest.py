"""What all tests share: one cache of compiled programs, and no accelerator."""

import os

import runs

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(runs.CACHE))
