import codecs

import pytest

from filters.lexicon import DECISIVE, Lexicon, lexicon

ROWS = (
    ("en", "vulgar", "anywhere", "own", "frobnicate*"),
    ("en", "slur", "anywhere", "own", "gleeb"),
    ("en", "threat", "anywhere", "own", "will zork you"),
    ("en", "explicit", "anywhere", "own", "*florp*"),
    ("fr", "vulgar", "bound", "own", "chat"),
    ("zh", "explicit", "anywhere", "own", "*猫狗*"),
    ("en", "mild", "bound", "own", "smurf"),
)


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "lexicon.tsv"
    rows = ("\t".join((*head, codecs.encode(term, "rot13"))) for *head, term in ROWS)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return Lexicon(path)


def labels(lists, text, language="en"):
    return {hit.tag.label for hits in lists.find(text, language) for hit in hits}


def test_words_phrases_prefixes_and_parts_are_found(small):
    assert labels(small, "they are frobnicated") == {"own:en:vulgar"}
    assert labels(small, "a GLEEB, he said") == {"own:en:slur"}
    assert labels(small, "I will zork you!") == {"own:en:threat"}
    assert labels(small, "superflorping") == {"own:en:explicit"}


def test_a_term_inside_another_word_is_not_found(small):
    assert labels(small, "gleebing agleeb unfrobnicate will zork") == set()


def test_scripts_without_spaces_are_searched_inside(small):
    assert labels(small, "一只猫狗在跑", "zh") == {"own:zh:explicit"}


def test_a_bound_term_counts_in_its_language_alone(small):
    assert labels(small, "un chat", "fr") == {"own:fr:vulgar"}
    assert labels(small, "a chat", "en") == set()
    assert labels(small, "chat", "und") == set()


def test_disguises_reach_terms_that_decide_and_no_others(small):
    assert labels(small, "g1eeb g*eeb") == {"own:en:slur"}
    assert labels(small, "gleeeeeb") == {"own:en:slur"}
    assert labels(small, "5murf") == set()
    assert labels(small, "smurf") == {"own:en:mild"}


def test_coverage_is_of_languages_with_terms_that_decide(small):
    assert small.covers("fr")
    assert small.covers("und")
    assert not small.covers("sw")


def test_the_carried_lists_cover_the_languages_of_the_labelled_lines():
    assert {"en", "es", "de", "fr", "pt", "it", "ru", "zh", "ja"} <= lexicon().languages


def test_identity_terms_are_in_no_tier_that_decides():
    lists = lexicon()
    terms = "gay lesbian bisexual transgender queer black muslim jewish arab asian roma disabled"
    for term in terms.split():
        for language in ("en", "und"):
            hits = [hit for found in lists.find(f"a {term} person", language) for hit in found]
            assert not [hit for hit in hits if hit.tag.tier in DECISIVE], term
