"""The carried model: it loads like any other, and annotates as well as it did when it was made."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.small_model import box_iou, mask_iou, match
from model import rle, small
from model.annotator import Annotation, Annotator, AnnotatorSpec, describe
from model.mask_codec import MaskDecoder, paste
from model.parse import parse
from model.tasks import Prompt

SCENES = Path(__file__).parents[2] / "examples" / "scenes" / "garments.tar"
LARGEST = 24_000_000

TASKS = ("caption en", "answer en {question}", "detect {detect}", "segment {segment}", "ocr")


KNOWN = {"captions": 0.875, "answers": 0.958, "tags": 1.000, "boxes": 0.874, "masks": 0.889}
"""What the carried weights reach on these scenes, see `scores`."""

# Rounding differs between processors, and may turn an answer of 24.
TOLERANCE = 0.09


def scores(answered: list[tuple[dict, dict[str, Annotation]]]) -> dict[str, float]:
    """Shares of right texts, and mean overlaps, in which what isn't found counts as 0."""
    return {
        "captions": np.mean([a["caption"].text == r["caption"] for r, a in answered]),
        "answers": np.mean([a["answer"].text == r["answer"] for r, a in answered]),
        "tags": np.mean([a["ocr"].text == r["tag"] for r, a in answered if r["tag"]]),
        "boxes": np.mean([iou for r, a in answered for iou in box_overlaps(r, a["detect"])]),
        "masks": np.mean([iou for r, a in answered for iou in mask_overlaps(r, a["segment"])]),
    }


def box_overlaps(record: dict, answer: Annotation) -> list[float]:
    wanted = parse(record["boxes"]).boxes
    overlaps = [
        [box_iou(one, other) * (one.label == other.label) for other in answer.boxes]
        for one in wanted
    ]
    return match(np.array(overlaps).reshape(len(wanted), -1))


def mask_overlaps(record: dict, answer: Annotation) -> list[float]:
    """Against the masks that the right answer's codes stand for."""
    segments = parse(record["masks"]).segments
    decoded = MaskDecoder.load(small.MASK_DECODER).decode(np.array([s.codes for s in segments]))
    height, width = record["pixels"].shape[:2]
    wanted = [
        paste(values, segment.box, height, width)
        for values, segment in zip(decoded, segments, strict=True)
    ]
    found = [rle.decode(mask.counts, mask.height, mask.width) for mask in answer.masks]
    overlaps = [[mask_iou(one, other) for other in found] for one in wanted]
    return match(np.array(overlaps).reshape(len(wanted), -1))


def records() -> list[dict]:
    """The scenes' metadata, with their pixels and captions."""
    with tarfile.open(SCENES) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}
    return [
        json.loads(members[f"{name}.json"])
        | {
            "caption": members[f"{name}.txt"].decode(),
            "pixels": np.asarray(Image.open(io.BytesIO(members[f"{name}.jpg"]))),
        }
        for name in sorted({name.split(".")[0] for name in members})
    ]


@pytest.fixture(scope="module")
def answered() -> list[tuple[dict, dict[str, Annotation]]]:
    spec = AnnotatorSpec(
        tasks=TASKS,
        checkpoint=str(small.CHECKPOINT),
        tokenizer=str(small.TOKENIZER),
        mask_decoder=str(small.MASK_DECODER),
        dtype="float32",
        batch_size=24,
        max_prompt_tokens=16,
    )
    annotator = Annotator.load(describe(spec)[0])
    asked = records()
    prompts = [
        [
            Prompt("caption en"),
            Prompt(f"answer en {record['question']}"),
            Prompt(f"detect {record['detect']}"),
            Prompt(f"segment {record['segment']}"),
            Prompt("ocr"),
        ]
        for record in asked
    ]
    pixels = np.stack([record["pixels"] for record in asked])
    rows = annotator.annotate(pixels, prompts, [pixels.shape[1:3]] * len(asked))
    names = [task.split()[0] for task in TASKS]
    return [
        (record, dict(zip(names, row, strict=True)))
        for record, row in zip(asked, rows, strict=True)
    ]


def test_all_that_is_carried_is_small():
    assert sum(path.stat().st_size for path in small.FOLDER.iterdir() if path.is_file()) < LARGEST


def test_it_annotates_as_well_as_when_it_was_made(answered):
    found = scores(answered)
    assert found == pytest.approx(KNOWN, abs=TOLERANCE)


def test_every_answer_of_a_kind_it_was_taught_is_well_formed(answered):
    statuses = Counter(answer.status for _, answers in answered for answer in answers.values())
    assert statuses["ok"] >= 0.95 * statuses.total()
