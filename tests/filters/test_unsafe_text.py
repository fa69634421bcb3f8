import pytest

from benchmarks.labelled_text import identity_captions, lines
from filters.contract import Item, Verdict
from filters.unsafe_text import unsafe_text_filter


@pytest.fixture(scope="module")
def screen():
    return unsafe_text_filter()


def decide(screen, text, language=None):
    return screen.screen([Item("1", text, language)])[0]


def dropped(screen, some):
    return [
        decision.verdict is Verdict.DROP
        for decision in screen.screen([Item(str(i), line.text) for i, line in enumerate(some)])
    ]


def test_english_recall_and_false_positives_reach_their_goals(screen):
    english = [line for line in lines("unsafe_text", "test") if line.language == "en"]
    recall = dropped(screen, [line for line in english if line.label])
    mistakes = dropped(screen, [line for line in english if not line.label])
    assert sum(recall) >= 0.85 * len(recall)
    assert sum(mistakes) <= 0.02 * len(mistakes)


@pytest.mark.parametrize("language", ["es", "de", "fr", "pt", "it"])
def test_recall_in_other_languages_reaches_its_goal(screen, language):
    some = [line for line in lines("unsafe_text", "test") if line.language == language]
    recall = dropped(screen, [line for line in some if line.label])
    assert sum(recall) >= 0.7 * len(recall)


def test_no_group_that_is_named_raises_the_drop_rate(screen):
    assert not any(dropped(screen, list(identity_captions())))


def test_words_with_an_innocent_meaning_need_company(screen):
    assert decide(screen, "a great tit on a branch").verdict is Verdict.KEEP
    assert decide(screen, "Dick and Jane went up the hill").verdict is Verdict.KEEP
    assert decide(screen, "naked woman, uncensored tits").verdict is Verdict.DROP


def test_sexual_words_near_a_minor_are_named_as_such(screen):
    for text in ("sex with a minor", "porn, 13 years old", "sexo con menores"):
        assert decide(screen, text).reason == "csai", text


def test_protection_art_and_distance_clear_a_minor(screen):
    for text in (
        "sex education for children",
        "campaign against sexual abuse of children",
        "fresco of a naked child with wings",
        "a child plays in the park while far away on a wall a poster about sex hangs",
        "a woman of 31 years old, sexy dress",
    ):
        assert decide(screen, text).reason != "csai", text


def test_labels_name_list_language_and_tier(screen):
    decision = decide(screen, "what the fuck")
    assert decision.reason == "vulgar"
    assert "ldnoobw:en:vulgar" in decision.labels or "own:en:vulgar" in decision.labels
    assert all(label.count(":") == 2 for label in decision.labels)


def test_a_language_without_a_list_has_no_verdict_unless_a_term_stands_in_it(screen):
    assert decide(screen, "mbwa anakimbia kwenye nyasi", "sw").verdict is Verdict.NO_VERDICT
    assert decide(screen, "mbwa anasema fuck", "sw-KE").verdict is Verdict.DROP


def test_no_text_has_no_verdict_and_an_empty_one_is_kept(screen):
    assert decide(screen, None).verdict is Verdict.NO_VERDICT
    assert decide(screen, "").verdict is Verdict.KEEP


def test_tiers_can_be_chosen_and_a_wrong_one_is_refused():
    assert decide(unsafe_text_filter(tiers=("csai",)), "what the fuck").verdict is Verdict.KEEP
    assert decide(unsafe_text_filter(tiers=("mild",)), "a nude statue").verdict is Verdict.DROP
    with pytest.raises(ValueError, match="unknown tiers"):
        unsafe_text_filter(tiers=("rude",))
