"""What of the libraries' logging reaches a person."""

from __future__ import annotations

import logging

from transforms.errors import WorkError

_NOISE = (
    # Beam says this at every load of a model on Linux, for a metric that isn't used here.
    "Resource module is not available",
    # And these, with a traceback, of what it raises as well: a command words that.
    "Error in _start_upload while inserting file",
    "HTTP error while requesting file",
    "HTTP error while deleting file",
)


def _is_news(record: logging.LogRecord) -> bool:
    """Not noise, and not a failure that the command itself is going to word."""
    raised = record.exc_info[1] if record.exc_info else None
    foreseen = isinstance(raised, WorkError | KeyboardInterrupt)
    return not foreseen and not record.getMessage().startswith(_NOISE)


def quiet() -> None:
    """Warnings and errors to standard error, one line each, known noise left out."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("palipipe: %(message)s"))
    handler.addFilter(_is_news)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
