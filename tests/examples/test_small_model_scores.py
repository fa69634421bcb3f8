"""The scores of the small model: full marks for the truth, and what each mistake costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from garments_data import write_dataset

from benchmarks.small_model import TASKS, box_iou, draw, mask_iou, match, measure
from examples.garments.corpus import Example, corpus
from examples.garments.fashion import load
from examples.garments.outlines import Outlines
from examples.garments.scenes import SIZE, Studio
from model import rle, small
from model.annotator import Annotation, Mask
from model.boxes import Box
from model.parse import parse
from model.tasks import Prompt

NAMES = ("captions", "garments", "answers", "boxes", "recall", "masks", "tags")


@pytest.fixture(scope="module")
def examples(tmp_path_factory) -> list[Example]:
    studio = Studio(load(write_dataset(tmp_path_factory.mktemp("data")), "test"))
    return list(corpus(studio, Outlines.load(small.OUTLINES, small.MASK_CODEC), 1, 12, answers=1))


def truth(example: Example) -> dict[str, Annotation]:
    """What a perfect model would answer."""
    pairs = {pair.task: pair for pair in example.pairs}
    answers = {}
    for task in TASKS:
        prefix, suffix = (pairs[task].prefix, pairs[task].suffix) if task in pairs else ("ocr", "")
        parsed = parse(suffix)
        answers[task] = Annotation(task, Prompt(prefix), parsed.text, suffix, 0.0, "ok")
        answers[task] = replace(answers[task], boxes=parsed.boxes)
    kind = pairs["segment"].prefix.removeprefix("segment ")
    masks = tuple(
        Mask(kind, SIZE, SIZE, rle.encode(garment.mask))
        for garment in example.scene.garments
        if garment.kind == kind
    )
    answers["segment"] = replace(answers["segment"], masks=masks)
    return answers


def scores(examples: list[Example], answers: list[dict[str, Annotation]]) -> dict[str, float]:
    values = [each.value for each in measure(examples, answers)]
    return dict(zip(NAMES, values, strict=True))


def test_the_truth_gets_full_marks(examples):
    found = scores(examples, [truth(example) for example in examples])
    assert found.pop("boxes") > 0.99  # locations are rounded to 1/1023
    assert set(found.values()) == {1.0}


def test_answers_without_anything_get_none(examples):
    empty = [
        {name: Annotation(name, a.prompt, "", "", 0.0, "empty") for name, a in truth(e).items()}
        for e in examples
    ]
    found = scores(examples, empty)
    assert np.isnan(found.pop("boxes"))
    assert set(found.values()) == {0.0}


def test_one_wrong_colour_costs_the_caption_and_its_garment(examples):
    answers = [truth(example) for example in examples]
    place = next(n for n, e in enumerate(examples) if len(e.scene.garments) == 3)
    wrong = answers[place]["caption"].text.replace(
        examples[place].scene.garments[1].colour, "brown", 1
    )
    answers[place]["caption"] = replace(answers[place]["caption"], text=wrong)
    found = scores(examples, answers)
    assert found["captions"] == pytest.approx(11 / 12)
    assert 11 / 12 < found["garments"] < 1


def test_boxes_with_another_label_are_not_matched(examples):
    answers = [truth(example) for example in examples]
    for answer in answers:
        boxes = tuple(replace(box, label="hat") for box in answer["detect"].boxes)
        answer["detect"] = replace(answer["detect"], boxes=boxes)
    assert scores(examples, answers)["recall"] == 0


def test_each_is_matched_once_the_best_first():
    assert match(np.array([[0.9, 0.8], [0.8, 0.1]])) == [0.9, 0.1]
    assert match(np.array([[0.6], [0.7]])) == [0.0, 0.7]
    assert match(np.zeros((2, 0))) == [0.0, 0.0]


def test_overlaps_are_intersection_over_union():
    assert box_iou(Box(0, 0, 1, 0.5), Box(0, 0.25, 1, 0.75)) == pytest.approx(1 / 3)
    assert box_iou(Box(0, 0, 0.5, 0.5), Box(0.5, 0.5, 1, 1)) == 0
    assert box_iou(Box(0.5, 0.5, 0.5, 0.5), Box(0.5, 0.5, 0.5, 0.5)) == 0
    one = np.array([[True, True, False]])
    assert mask_iou(one, ~one) == 0
    assert mask_iou(one, np.array([[True, False, False]])) == 0.5


def test_a_drawing_shows_boxes_and_masks_where_they_are(examples):
    answers = truth(examples[0])
    plain = draw(examples[0], {n: replace(a, boxes=(), masks=()) for n, a in answers.items()})
    drawn = draw(examples[0], answers)
    changed = np.any(np.asarray(plain) != np.asarray(drawn), axis=-1)
    assert changed.any()
    mask = rle.decode(answers["segment"].masks[0].counts, SIZE, SIZE)
    zoom = drawn.width // SIZE
    assert changed[: drawn.width][np.kron(mask, np.ones((zoom, zoom), bool))].mean() > 0.9
