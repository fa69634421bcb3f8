"""What a pipeline's graph carries of the launcher."""

from __future__ import annotations

import base64
import bz2
import zlib
from typing import Any

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from pipelines.launch import preview

PARDO = "beam:transform:pardo:v1"


@pytest.fixture
def graphs(monkeypatch):
    """The graphs of the jobs that the test has described."""
    found = []
    whole = preview.describe

    def kept(*arguments):
        description = whole(*arguments)
        found.append(description.graph)
        return description

    monkeypatch.setattr(preview, "describe", kept)
    return found


def functions(graph: Any) -> dict[str, bytes]:
    """The functions of a graph as they are pickled, by their steps."""
    return {
        step.unique_name: _unpacked(_function(step).payload)
        for step in graph.components.transforms.values()
        if step.spec.urn == PARDO
    }


def _function(step: Any) -> Any:
    return beam_runner_api_pb2.ParDoPayload.FromString(step.spec.payload).do_fn


def _unpacked(payload: bytes) -> bytes:
    packed = base64.b64decode(payload)
    return bz2.decompress(packed) if packed.startswith(b"BZh") else zlib.decompress(packed)
