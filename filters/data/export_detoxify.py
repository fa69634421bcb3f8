"""Makes of a Detoxify checkpoint the two files that the backend `detoxify` reads.

A checkpoint is a pickle, which can run any code when it is read, and needs PyTorch. So this runs
once, in an environment of its own, on a checkpoint whose origin is known; nothing here is imported
by the project::

    pip install detoxify==0.5.4 transformers==5.23.0 torch==2.13.0 onnx onnxscript onnxruntime
    python filters/data/export_detoxify.py toxic_original-c1212f89.ckpt FOLDER
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from detoxify import Detoxify

# Of different lengths, so that an export for one length alone doesn't pass.
PROBES = ("a dog", "a longer line about two dogs that run over a wet meadow in the morning sun")
TOLERANCE = 1e-4


def export(checkpoint: Path, folder: Path) -> tuple[Path, Path]:
    """Writes model.onnx (logits) and tokenizer.json, and compares the scores of the two models."""
    folder.mkdir(parents=True, exist_ok=True)
    detoxify = Detoxify(checkpoint=str(checkpoint))
    model, tokenizer = detoxify.model.eval(), detoxify.tokenizer
    paths = folder / "model.onnx", folder / "tokenizer.json"
    inputs = dict(tokenizer(list(PROBES), return_tensors="pt", padding=True))
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    torch.onnx.export(
        model,
        (),
        paths[0],
        kwargs=inputs,
        input_names=list(inputs),
        output_names=["logits"],
        dynamic_shapes=dict.fromkeys(inputs, any_size),
        # One file: its digest has to speak for the weights.
        external_data=False,
    )
    without_traces(paths[0])
    tokenizer.backend_tokenizer.save(str(paths[1]))
    compare(detoxify, paths[0])
    return paths


def without_traces(path: Path) -> None:
    """Leaves out where each node came from, so that a checkpoint has one digest everywhere."""
    model = onnx.load(path)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        part.ClearField("metadata_props")
    onnx.save(model, path)


def compare(detoxify: Detoxify, path: Path) -> None:
    """Exits where the exported model scores otherwise than the checkpoint does."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for text in PROBES:
        inputs = dict(detoxify.tokenizer([text], return_tensors="np"))
        logits = session.run(["logits"], inputs)[0][0]
        expected = list(detoxify.predict(text).values())
        scores = 1 / (1 + np.exp(-logits[: len(expected)]))
        if not np.allclose(scores, expected, rtol=0, atol=TOLERANCE):
            sys.exit(f"{path}: scores {scores} where the checkpoint gives {expected}")


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: export_detoxify.py CHECKPOINT FOLDER")
    for path in export(Path(sys.argv[1]), Path(sys.argv[2])):
        print(f"{path}  sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
