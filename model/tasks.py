"""What to ask about each picture: a task as the user writes it, and the prompt of one record.

    caption en                  describe en                 detect shoe ; bag
    caption {language}          ocr                         segment cat
    answer en {question}        question en {answer}        prompt: anything else

`{name}` is filled from a record: `{text}` and `{language}` are its own, any other name is looked up
in its metadata, with dots for what is nested (`{meta.question}`). `{{` and `}}` are braces.

Behind `=>` may stand what the answer is bound to: `answer en is it day? => yes | no` lets the model
write one of these, `detect shoe => objects` nothing but well-formed boxes.
"""

from __future__ import annotations

import difflib
import math
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any

from model.errors import ModelError
from model.languages import LANGUAGES


class Kind(StrEnum):
    """The verbs PaliGemma was trained with; OTHER is for models fine-tuned on prompts of their own.

    Mix checkpoints know caption, answer, detect and segment; the rest is for pretrained ones.
    """

    CAPTION = "caption"
    CAP = "cap"
    DESCRIBE = "describe"
    OCR = "ocr"
    ANSWER = "answer"
    QUESTION = "question"
    DETECT = "detect"
    SEGMENT = "segment"
    OTHER = "other"


VERBATIM = "prompt:"
"""What stands before a prompt that is to be taken as it is."""

BOUND = "=>"
"""What stands before the answers that a task is bound to."""

OBJECTS = "objects"
"""Stands behind `=>` for answers of well-formed boxes, or boxes with masks, and nothing else."""

# Of the benchmarks with captions and short answers nearly all decode 32 tokens. The others are
# open-ended: 128 tokens are what the model saw as one text when it was pretrained at 224 px, and
# room for some 16 boxes (four locations, label, separator) or 5 masks (sixteen more).
_NEW_TOKENS = {Kind.CAPTION: 32, Kind.CAP: 32, Kind.ANSWER: 32, Kind.QUESTION: 32}
_MOST_NEW_TOKENS = 128

# About how many come, for telling long answers from short ones before they are written: a caption
# of COCO has a dozen, an object four locations, a label and a separator, sixteen codes more with a
# mask. Of detect and segment for each thing asked for.
_EXPECTED_TOKENS = {
    Kind.CAPTION: 12,
    Kind.CAP: 12,
    Kind.DESCRIBE: 60,
    Kind.OCR: 24,
    Kind.ANSWER: 3,
    Kind.QUESTION: 10,
    Kind.DETECT: 7,
    Kind.SEGMENT: 23,
    Kind.OTHER: 16,
}

_LANGUAGE = r"(?P<language>\{[^{}]+\}|[^\s{}]+)"
_GRAMMAR = {
    Kind.CAPTION: (_LANGUAGE, "caption en"),
    Kind.CAP: (_LANGUAGE, "cap en"),
    Kind.DESCRIBE: (_LANGUAGE, "describe en"),
    Kind.OCR: ("", "ocr"),
    Kind.ANSWER: (_LANGUAGE + r"\s+\S.*", "answer en {question}"),
    Kind.QUESTION: (_LANGUAGE + r"\s+\S.*", "question en {answer}"),
    Kind.DETECT: (r"\S.*", "detect shoe ; bag"),
    Kind.SEGMENT: (r"\S.*", "segment cat"),
}
_VERBS = tuple(kind.value for kind in _GRAMMAR)

# Lets through "capture" and "ocean", stops "captoin", "captions", "detects" and "OCR".
_TYPO_CUTOFF = 0.75


class TaskError(ModelError):
    """A task that can't be what the user meant; the message says how to write it."""


class PromptError(ValueError):
    """One record that a task's prompt can't be made for; never quotes the record's values."""


class MissingFieldError(PromptError):
    """A record without a value for one of the prompt's fields.

    field: the name within braces. present: the names the record does have.
    """

    def __init__(self, field: str, present: tuple[str, ...]):
        there = ", ".join(present) or "none"
        super().__init__(f"the record has no {{{field}}}; its fields: {there}")
        self.field = field
        self.present = present

    def __reduce__(self):
        return MissingFieldError, (self.field, self.present)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one picture is asked: the prefix, without its newline, and the language it names."""

    text: str
    language: str | None = None


@dataclass(frozen=True)
class Task:
    """One question that is put to every picture. Made by `Task.parse`.

    template: the prompt with its `{fields}`, spaces and separators as the model expects them.
    language: the code, or the field in braces, at the place where the verb takes one; else None.
    choices: the only answers there may be, none where the model is free.
    only_objects: the answer may be nothing but well-formed objects.
    """

    kind: Kind
    template: str
    language: str | None = None
    choices: tuple[str, ...] = ()
    only_objects: bool = False

    @classmethod
    def parse(cls, text: str) -> Task:
        """Reads a task as given with `--task`.

        Raises TaskError for a verb without what it takes, an unknown language, a likely slip of
        the pen and unbalanced braces. "prompt: ..." skips all but the last.
        """
        stripped = text.strip()
        if stripped.startswith(VERBATIM):
            return cls(Kind.OTHER, stripped.removeprefix(VERBATIM).strip())
        asked, bound, answers = stripped.partition(f" {BOUND} ")
        task = _parse_verb(asked.strip() if bound else stripped)
        return _bound(task, stripped, answers) if bound else task

    def __post_init__(self):
        if not self.template:
            raise TaskError('a task is empty; write for example "caption en"')
        _parts(self.template)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names within braces, each once, in order."""
        return tuple(dict.fromkeys(name for _, name in _parts(self.template) if name is not None))

    @property
    def max_new_tokens(self) -> int:
        """How long an answer of this kind may get, unless the user says otherwise."""
        return _NEW_TOKENS.get(self.kind, _MOST_NEW_TOKENS)

    @property
    def finds_objects(self) -> bool:
        """Whether the answer should be boxes (and masks) rather than text."""
        return self.kind in (Kind.DETECT, Kind.SEGMENT)

    @property
    def is_bound(self) -> bool:
        """Whether there are answers that it doesn't permit."""
        return bool(self.choices) or self.only_objects

    def prompt(self, fields: Mapping[str, Any]) -> str:
        """The prefix for one record.

        fields: of the record, see `record_fields`. A newline within a value becomes a space, since
        to the model it is the end of the prompt; space around a value is dropped.
        Raises MissingFieldError, or PromptError for a value that is neither text nor a number.
        """
        return "".join(
            literal + ("" if name is None else self._value(fields, name))
            for literal, name in _parts(self.template)
        )

    def answer(self, fields: Mapping[str, Any]) -> str:
        """The suffix for one record, for training: values as they are, lines and all.

        An empty text is an answer too (nothing was found). Raises as `prompt` does.
        """
        return "".join(
            literal + ("" if name is None else _verbatim(name, _look_up(fields, name), fields))
            for literal, name in _parts(self.template)
        )

    def prompt_language(self, fields: Mapping[str, Any]) -> str | None:
        """The language code in the prompt of a record; None where the verb takes none."""
        if self.language is None or not self.language.startswith("{"):
            return self.language
        return self._value(fields, self.language[1:-1])

    def _value(self, fields: Mapping[str, Any], name: str) -> str:
        value = _as_text(name, _look_up(fields, name), fields)
        return _primary_language(name, value) if self.language == f"{{{name}}}" else value


def expected_tokens(prompt: str) -> int:
    """A rough guess of how long the answer to a prompt gets, from its verb and its labels."""
    verb = prompt.split(maxsplit=1)[0] if prompt.strip() else ""
    kind = Kind(verb) if verb in _VERBS else Kind.OTHER
    things = prompt.count(";") + 1 if kind in (Kind.DETECT, Kind.SEGMENT) else 1
    return _EXPECTED_TOKENS[kind] * things


def record_fields(
    metadata: Mapping[str, Any], text: str | None, language: str | None
) -> dict[str, Any]:
    """What a prompt's fields are looked up in; the record's own text and language come first."""
    own = {"text": text, "language": language}
    return {**metadata, **{name: value for name, value in own.items() if value is not None}}


def _parse_verb(text: str) -> Task:
    verb, rest = (*text.split(maxsplit=1), "", "")[:2]
    if verb not in _VERBS:
        _refuse_slip(verb, text)
        return Task(Kind.OTHER, text)
    kind = Kind(verb)
    pattern, example = _GRAMMAR[kind]
    match = re.fullmatch(pattern, rest)
    if match is None:
        raise TaskError(_misuse(text, f'"{verb}" is written like "{example}"'))
    language = match.groupdict().get("language")
    if language is not None and not language.startswith("{") and language not in LANGUAGES:
        raise TaskError(
            _misuse(
                text, f'"{verb}" takes a language first, like "{example}"; "{language}" is none'
            )
        )
    if kind in (Kind.DETECT, Kind.SEGMENT):
        rest = _join_labels(text, rest)
    return Task(kind, f"{verb} {rest}".strip(), language)


def _bound(task: Task, text: str, answers: str) -> Task:
    """The task, bound to what stands behind its `=>`."""
    if task.finds_objects:
        if answers.strip() != OBJECTS:
            raise TaskError(
                _misuse(text, f'what it finds can be bound to "{BOUND} {OBJECTS}" and nothing else')
            )
        return replace(task, only_objects=True)
    choices = tuple(choice.strip() for choice in answers.split("|"))
    if len(choices) < 2 or not all(choices) or len(set(choices)) < len(choices):
        raise TaskError(
            _misuse(text, f'behind "{BOUND}" stand two or more different answers: "yes | no"')
        )
    if "{" in answers or "}" in answers:
        raise TaskError(_misuse(text, "the answers to choose from are the same for every record"))
    return replace(task, choices=choices)


@cache
def _parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """(literal text, name of the field after it or None), in order."""
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise TaskError(
            f'task "{template}": {error}. A brace that is meant is doubled: {{{{ or }}}}.'
        ) from error
    for _, name, specification, conversion in parsed:
        if name is not None and (not name.strip() or specification or conversion):
            raise TaskError(
                f'task "{template}": between braces stands the name of a field alone, '
                f"for example {{question}}."
            )
    return tuple((literal, name) for literal, name, _, _ in parsed)


def _join_labels(text: str, labels: str) -> str:
    """The labels with the separator the model was trained with, spaces on both sides."""
    each = [label.strip() for label in labels.split(";")]
    if not all(each):
        raise TaskError(_misuse(text, "there is an empty label between its semicolons"))
    return " ; ".join(each)


def _refuse_slip(verb: str, text: str) -> None:
    nearest = difflib.get_close_matches(verb.lower(), _VERBS, n=1, cutoff=_TYPO_CUTOFF)
    if nearest:
        example = _GRAMMAR[Kind(nearest[0])][1]
        raise TaskError(_misuse(text, f'did you mean "{nearest[0]}", as in "{example}"?'))


def _misuse(text: str, problem: str) -> str:
    return f'task "{text}": {problem} (to send it as it is, write "{VERBATIM} {text}")'


def _look_up(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a name, which may itself contain dots at any level; None if there is none."""
    if name in fields:
        return fields[name]
    for dot in (position for position, letter in enumerate(name) if letter == "."):
        inner = fields.get(name[:dot])
        if isinstance(inner, Mapping) and (value := _look_up(inner, name[dot + 1 :])) is not None:
            return value
    return None


def _verbatim(name: str, value: Any, fields: Mapping[str, Any]) -> str:
    return value if isinstance(value, str) else _as_text(name, value, fields)


def _as_text(name: str, value: Any, fields: Mapping[str, Any]) -> str:
    """Text or number on one line. An empty text, null, NaN and infinity count as missing."""
    if isinstance(value, float) and value.is_integer():
        # JSON and data frames write whole numbers as 3.0 where a column has gaps.
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise PromptError(f"{{{name}}} is a {type(value).__name__}, not text or a number")
    if isinstance(value, str):
        value = " ".join(value.splitlines()).strip()
    if value in (None, "") or (isinstance(value, float) and not math.isfinite(value)):
        raise MissingFieldError(name, tuple(sorted(map(str, fields))))
    return str(value)


def _primary_language(name: str, tag: str) -> str:
    """`en` of `en-GB`: prompts have the primary subtag alone."""
    primary = re.split("[-_]", tag.lower())[0]
    if primary not in LANGUAGES:
        raise PromptError(f"{{{name}}} is no language code (two letters as a rule)")
    return primary
