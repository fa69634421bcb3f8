"""The process's filters: one set for a configuration.

Rate limits and circuit breakers count calls of the whole process, so the steps of every pipeline
that runs in it have to share the backends that hold them.
"""

from __future__ import annotations

import json
import threading

from filters.config import ScreeningConfig
from filters.screening import Screening

_screenings: dict[str, Screening] = {}
_lock = threading.Lock()


def screening_of(config: ScreeningConfig) -> Screening:
    """The filters of a configuration, made at the first call.

    Raises:
        FilterConfigError: one of them can't be made.
    """
    key = json.dumps(config.plain(), sort_keys=True, default=str)
    with _lock:
        if key not in _screenings:
            _screenings[key] = config.build()
        return _screenings[key]
