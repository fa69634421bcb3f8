"""Tasks as users write them, and the prompts of records."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.tasks import Kind, MissingFieldError, PromptError, Task, TaskError, record_fields


@pytest.mark.parametrize(
    ("text", "kind", "language", "prompt"),
    [
        ("caption en", Kind.CAPTION, "en", "caption en"),
        ("  caption   fil ", Kind.CAPTION, "fil", "caption fil"),
        ("cap de", Kind.CAP, "de", "cap de"),
        ("describe zh", Kind.DESCRIBE, "zh", "describe zh"),
        ("ocr", Kind.OCR, None, "ocr"),
        ("answer en what is it?", Kind.ANSWER, "en", "answer en what is it?"),
        ("question en a cat", Kind.QUESTION, "en", "question en a cat"),
        ("detect shoe;bag", Kind.DETECT, None, "detect shoe ; bag"),
        ("detect kid's shoe ; t-shirt", Kind.DETECT, None, "detect kid's shoe ; t-shirt"),
        ("segment cat", Kind.SEGMENT, None, "segment cat"),
        ("is there a cat?", Kind.OTHER, None, "is there a cat?"),
        ("capture the mood", Kind.OTHER, None, "capture the mood"),
        ("prompt: captoin en", Kind.OTHER, None, "captoin en"),
        ("prompt: describe the picture", Kind.OTHER, None, "describe the picture"),
        ("what is in {{braces}}?", Kind.OTHER, None, "what is in {braces}?"),
    ],
)
def test_a_task_says_its_kind_and_becomes_its_prompt(text, kind, language, prompt):
    task = Task.parse(text)
    assert (task.kind, task.language) == (kind, language)
    assert task.fields == ()
    assert task.prompt({}) == prompt
    assert task.prompt_language({}) == language


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a task is empty"),
        ("prompt:  ", "a task is empty"),
        ("captoin en", 'did you mean "caption", as in "caption en"'),
        ("Caption en", 'did you mean "caption"'),
        ("captions en", 'did you mean "caption"'),
        ("detects cat", 'did you mean "detect", as in "detect shoe ; bag"'),
        ("OCR", 'did you mean "ocr"'),
        ("caption", 'is written like "caption en"'),
        ("caption en short", 'is written like "caption en"'),
        ("caption english", '"english" is none'),
        ("answer how many cats?", '"how" is none'),
        ("answer en", 'is written like "answer en {question}"'),
        ("ocr en", 'is written like "ocr"'),
        ("detect", 'is written like "detect shoe ; bag"'),
        ("detect cat ; ; dog", "empty label"),
        ("answer en {question", "A brace that is meant is doubled"),
        ("answer en question}", "A brace that is meant is doubled"),
        ("answer en {}", "the name of a field alone"),
        ("answer en {question!r}", "the name of a field alone"),
        ("answer en {question:>10}", "the name of a field alone"),
    ],
)
def test_a_slip_is_refused_with_the_way_to_write_it(text, complaint):
    with pytest.raises(TaskError) as caught:
        Task.parse(text)
    assert complaint in str(caught.value)


def test_a_refused_task_says_how_to_send_it_all_the_same():
    with pytest.raises(TaskError) as caught:
        Task.parse("describe the picture")
    assert 'write "prompt: describe the picture"' in str(caught.value)


def test_fields_are_filled_from_metadata_text_and_language():
    fields = record_fields(
        {
            "meta": {"q": "how many"},
            "a.b": {"c.d": "cats"},
            "count": 3.0,
            "share": 0.5,
            "text": "x",
        },
        text="the text",
        language="en-GB",
    )
    task = Task.parse("answer {language} {meta.q} {a.b.c.d} {count} {share} {text}")
    assert task.fields == ("language", "meta.q", "a.b.c.d", "count", "share", "text")
    assert task.prompt(fields) == "answer en how many cats 3 0.5 the text"
    assert task.prompt_language(fields) == "en"


def test_metadata_named_text_is_used_where_the_record_has_no_text_of_its_own():
    fields = record_fields({"text": "from metadata"}, text=None, language=None)
    assert Task.parse("question en {text}").prompt(fields) == "question en from metadata"


def test_a_newline_within_a_value_does_not_end_the_prompt():
    fields = {"q": " what\r\nis\nit?\n"}
    assert Task.parse("answer en {q}").prompt(fields) == "answer en what is it?"


def test_braces_within_a_value_are_only_text():
    assert Task.parse("answer en {q}").prompt({"q": "{secret}", "secret": "no"}) == (
        "answer en {secret}"
    )


@pytest.mark.parametrize("value", [None, "", " \n ", float("nan"), float("inf")])
def test_an_empty_value_counts_as_missing(value):
    with pytest.raises(MissingFieldError):
        Task.parse("answer en {q}").prompt({"q": value})


def test_a_missing_field_names_itself_and_those_there_are():
    with pytest.raises(
        MissingFieldError, match=r"no \{question\}; its fields: answer, key"
    ) as caught:
        Task.parse("answer en {question}").prompt({"key": 1, "answer": "private words"})
    assert "private words" not in str(caught.value)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.field, copy.present) == ("question", ("answer", "key"))


@pytest.mark.parametrize("value", [True, ["a"], {"a": 1}, b"bytes"])
def test_a_value_that_is_neither_text_nor_number_is_refused(value):
    with pytest.raises(PromptError, match=type(value).__name__):
        Task.parse("answer en {q}").prompt({"q": value})


def test_a_language_that_is_none_fails_the_record_without_quoting_it():
    with pytest.raises(PromptError, match=r"\{lang\} is no language code") as caught:
        Task.parse("caption {lang}").prompt({"lang": "Klingon"})
    assert "Klingon" not in str(caught.value)


def test_captions_and_answers_are_short_and_boxes_may_be_long():
    assert Task.parse("caption en").max_new_tokens == 32
    assert Task.parse("answer en {q}").max_new_tokens == 32
    for text in ("ocr", "detect cat", "segment cat", "describe en", "hello"):
        assert Task.parse(text).max_new_tokens == 128


def test_only_detect_and_segment_find_objects():
    assert [Task.parse(text).finds_objects for text in ("detect a", "segment a", "ocr")] == [
        True,
        True,
        False,
    ]


@given(st.text(max_size=40))
def test_any_text_is_a_task_or_a_task_error(text):
    try:
        task = Task.parse(text)
    except TaskError:
        return
    try:
        assert task.prompt(dict.fromkeys(task.fields, "en")).strip()
    except PromptError:
        pytest.fail("every field had a value")


@given(st.text(alphabet="abc {}.", max_size=12), st.text(min_size=1))
def test_a_doubled_brace_returns_and_a_value_is_never_read_as_a_template(literal, value):
    escaped = literal.replace("{", "{{").replace("}", "}}")
    task = Task.parse(f"prompt: x{escaped}x {{value}}")
    if value.strip() and " ".join(value.splitlines()).strip():
        filled = " ".join(value.splitlines()).strip()
        assert task.prompt({"value": value}) == f"x{literal}x {filled}"
