"""Tasks that say what their answers may be."""

import numpy as np
import pytest

from model.annotator import Annotator, AnnotatorSpec, describe
from model.tasks import Kind, Prompt, Task, TaskError


def test_what_stands_behind_the_arrow_is_not_asked():
    task = Task.parse("answer en is it {what}? => yes | no |  can't tell")
    assert task.kind is Kind.ANSWER
    assert task.prompt({"what": "day"}) == "answer en is it day?"
    assert task.choices == ("yes", "no", "can't tell")
    assert Task.parse("detect a;b => objects").template == "detect a ; b"
    assert Task.parse("detect a;b => objects").only_objects
    assert Task.parse("day or night => day | night").choices == ("day", "night")


def test_a_free_task_is_not_bound_and_a_verbatim_prompt_keeps_its_arrow():
    assert not Task.parse("caption en").is_bound
    task = Task.parse("prompt: a => b | c")
    assert (task.template, task.is_bound) == ("a => b | c", False)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("answer en is it day? => yes", "two or more different answers"),
        ("answer en is it day? => yes | yes", "two or more different answers"),
        ("answer en is it day? => yes | ", "two or more different answers"),
        ("answer en is it day? => {a} | {b}", "the same for every record"),
        ("detect cat => cat | dog", 'bound to "=> objects" and nothing else'),
        ("caption english => a | b", "takes a language first"),
    ],
)
def test_what_an_answer_cannot_be_bound_to_is_refused(text, complaint):
    with pytest.raises(TaskError, match=complaint):
        Task.parse(text)


TASKS = (
    "caption en",
    "answer en is there a shoe? => yes of course | not at all",
    "detect shoe => objects",
    "segment shoe => objects",
)


def annotations(tasks, limit):
    spec, _ = describe(AnnotatorSpec(tasks=tasks, batch_size=3, max_new_tokens=limit))
    annotator = Annotator.load(spec)
    size = annotator.engine.image_size
    pixels = np.random.default_rng(3).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    prompts = [[Prompt(Task.parse(task).prompt({})) for task in tasks]] * 3
    answers = annotator.annotate(pixels, prompts, [(60, 80)] * 3)
    assert annotator.used.recompilations == 0
    return answers


def test_bound_answers_are_of_their_kind_and_free_ones_as_ever():
    bound, free = annotations(TASKS, 24), annotations(TASKS[:1], 24)
    for row, alone in zip(bound, free, strict=True):
        caption, choice, boxes, masks = row
        assert caption == alone[0]
        assert choice.text in ("yes of course", "not at all")
        assert choice.status == "ok"
        assert np.isfinite(choice.log_probability)
        for found in (boxes, masks):
            assert found.status in ("ok", "empty", "inverted", "truncated")
            assert not found.text


def test_a_choice_is_whole_whatever_the_limit():
    for (choice,) in annotations(TASKS[1:2], 2):
        assert choice.text in ("yes of course", "not at all")
        assert choice.status == "ok"
