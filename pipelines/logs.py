"""What of the libraries' logging reaches a person."""

from __future__ import annotations

import logging

# Beam says this at every load of a model on Linux, for a metric that isn't used here.
_NOISE = ("Resource module is not available",)


def quiet() -> None:
    """Warnings and errors to standard error, one line each, known noise left out."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("palipipe: %(message)s"))
    handler.addFilter(lambda record: not record.getMessage().startswith(_NOISE))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
