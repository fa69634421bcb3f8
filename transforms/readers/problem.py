"""What costs one record, as readers pass it on among themselves."""

from __future__ import annotations


class ProblemError(Exception):
    """A record that can't be had. kind: a stable word; message: for people, without its content."""

    def __init__(self, kind: str, message: str):
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
