"""Length and repetition of captions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.contract import Item, Subject, Verdict
from filters.text_quality import (
    DATACOMP_MIN_CHARACTERS,
    DATACOMP_MIN_WORDS,
    repetition,
    text_quality_filter,
    words,
)

DATACOMP = text_quality_filter(min_words=DATACOMP_MIN_WORDS, min_characters=DATACOMP_MIN_CHARACTERS)


def decide(text, one_filter=DATACOMP):
    return one_filter.screen([Item("a", text=text)])[0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a dog running", None),
        ("a dog", "too_few_words"),
        ("IMG_1234.JPG", "too_few_words"),
        ("- — … !", "too_few_words"),
        ("", "too_few_words"),
        ("a b c", "too_short"),
        ("   a b c   ", "too_short"),
        ("एक लाल बस", None),
        ("草地上奔跑的狗", None),
        ("สุนัขวิ่งบนหญ้า", None),
        ("犬", "too_few_words"),
    ],
)
def test_datacomp_lengths_in_several_scripts(text, reason):
    assert decide(text).reason == reason


def test_upper_limits_have_their_own_reasons():
    assert decide("one two three", text_quality_filter(max_words=2)).reason == "too_many_words"
    assert decide("one two three", text_quality_filter(max_characters=5)).reason == "too_long"


def test_a_caption_that_repeats_itself_is_dropped_and_a_parallel_one_is_kept():
    repetitive = text_quality_filter(max_repetition=0.3)
    assert decide("buy now " * 10, repetitive).reason == "repetitive"
    parallel = "a man in a red hat and a woman in a red dress"
    assert decide(parallel, repetitive).verdict is Verdict.KEEP


def test_the_same_filter_screens_what_the_model_writes():
    output = text_quality_filter(max_repetition=0.5, subject=Subject.OUTPUT)
    assert decide("the the the the the", output).subject == "output"


def test_a_record_without_text_gets_no_verdict():
    decision = decide(None)
    assert (decision.verdict, decision.reason) == (
        Verdict.NO_VERDICT,
        "text_quality:no_verdict:no_text",
    )


@given(st.text())
def test_measurements_stay_in_their_range(text):
    scores = decide(text).scores
    assert 0 <= scores["words"] <= scores["characters"] + 1
    assert 0 <= scores["repetition"] < 1


@given(st.lists(st.sampled_from("ab"), min_size=3))
def test_repetition_is_zero_only_when_no_run_of_three_comes_twice(tokens):
    runs = [tuple(tokens[i : i + 3]) for i in range(len(tokens) - 2)]
    assert (repetition(tokens) == 0) == (len(set(runs)) == len(runs))


def test_words_are_lower_case_and_scripts_may_mix():
    assert words("Tokyo 東京 Tower-2") == ["tokyo", "東", "京", "tower-2"]
