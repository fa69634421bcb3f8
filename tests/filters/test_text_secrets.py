"""Nothing of a text may leave a text filter: planted marks are looked for in all it gives."""

import logging

import pytest

from filters.contract import Item, Verdict
from filters.language import language_filter
from filters.lexicon import lexicon
from filters.personal import personal_information_filter, redact
from filters.toxicity import toxicity_filter
from filters.unsafe_text import unsafe_text_filter

MARKS = (
    "quixotryl",
    "jane.marker@example.com",
    "4111 1111 1111 1111",
    "motherfucker",
    "536-90-0399",
)
TEXT = "quixotryl you motherfucker, " + ", ".join(MARKS) + " in Oak Street"
FILTERS = (
    unsafe_text_filter(),
    toxicity_filter(),
    personal_information_filter(),
    language_filter(["de"]),
)


def marks_in(thing):
    said = repr(thing).casefold()
    return [mark for mark in MARKS if mark.casefold() in said]


@pytest.mark.parametrize("screen", FILTERS, ids=lambda screen: screen.name)
def test_decisions_scores_and_logs_hold_no_mark(screen, caplog):
    caplog.set_level(logging.DEBUG)
    items = [Item("1", TEXT), Item("2", TEXT, "en"), Item("3", TEXT, "xx")]
    decisions = screen.screen(items)
    assert not marks_in((decisions, screen.scorer.score(items), caplog.text))
    assert all(decision.verdict is not Verdict.KEEP for decision in decisions)


@pytest.mark.parametrize("screen", FILTERS, ids=lambda screen: screen.name)
def test_a_scorer_that_breaks_says_no_more_than_how(screen, monkeypatch):
    def breaks(self, items):
        raise RuntimeError(f"can't read {items[0].text}")

    monkeypatch.setattr(type(screen.scorer), "score", breaks)
    decision = screen.screen([Item("1", TEXT)])[0]
    assert decision.verdict is Verdict.ERROR
    assert not marks_in(decision)


@pytest.mark.parametrize("screen", FILTERS, ids=lambda screen: screen.name)
@pytest.mark.parametrize(
    "text", ["\ud800 broken", "\x00", "a" * 100_000, "@" * 20_000, "1 " * 5000]
)
def test_odd_texts_have_a_decision(screen, text):
    assert screen.screen([Item("1", text)])[0].verdict is not Verdict.ERROR


def test_redaction_gives_kinds_and_counts():
    text, counts = redact(TEXT)
    assert not marks_in(counts)
    assert not {"jane.marker@example.com", "4111 1111 1111 1111"} & set(marks_in(text))


def test_no_listed_word_is_readable_in_the_carried_list():
    from filters.lexicon import LEXICON

    assert "motherfucker" not in LEXICON.read_text(encoding="utf-8")
    assert lexicon().find("motherfucker", "en")[0]
