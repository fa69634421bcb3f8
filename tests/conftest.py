"""What all tests share: one cache of compiled programs, and no accelerator."""

import os
import signal
import sys

import pytest
import runs

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(runs.CACHE))

# A suite that is started in the background ignores Ctrl-C, and so would the commands it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_is_compiled_after_loading():
    """A model that compiles while it works is a defect, whatever the test was about."""
    yield
    loaded = sys.modules.get("transforms.inference")
    for model in loaded._annotators.values() if loaded else ():
        assert model.used.recompilations == 0
