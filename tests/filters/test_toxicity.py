import numpy as np
import pytest
from toxicity_golden import golden

from benchmarks.labelled_text import FILES, identity_captions, lines
from filters.contract import Item, Scores, Verdict
from filters.toxicity import ToxicityPolicy, thresholds_for, toxicity_filter
from filters.toxicity_model import LABELS, WINDOW, ToxicityModel, toxicity_model


@pytest.fixture(scope="module")
def screen():
    return toxicity_filter()


def decide(screen, text, language=None):
    return screen.screen([Item("1", text, language)])[0]


def dropped(screen, texts):
    items = [Item(str(index), text) for index, text in enumerate(texts)]
    return [decision.verdict is Verdict.DROP for decision in screen.screen(items)]


def test_scores_equal_those_of_the_package():
    texts, scores = golden()
    np.testing.assert_allclose(toxicity_model().score(texts), scores, rtol=0, atol=5e-5)


def test_a_text_scores_alike_alone_and_in_any_company():
    texts = golden()[0] * 3
    together = toxicity_model().score(texts[::-1])[::-1]
    alone = np.concatenate([toxicity_model().score([text]) for text in texts[:8]])
    np.testing.assert_allclose(together[:8], alone, rtol=0, atol=1e-5)


def test_what_comes_before_the_last_window_counts():
    text = "you stupid idiot " + "and then we walked along the river " * 20
    assert len(text.split()) > WINDOW
    assert toxicity_model().score([text])[0, LABELS.index("insult")] > 0.5


def test_no_texts_have_no_scores():
    assert toxicity_model().score([]).shape == (0, len(LABELS))


def test_other_weights_have_another_digest_and_no_thresholds(tmp_path):
    model = toxicity_model()
    arrays = dict(model._arrays)
    arrays["dense_1_bias"] = arrays["dense_1_bias"] + np.float32(0.5)
    arrays["vocabulary"] = np.frombuffer("\n".join(model.vocabulary).encode(), np.uint8)
    np.savez(tmp_path / "other.npz", **arrays)
    other = ToxicityModel(tmp_path / "other.npz")
    assert other.digest != model.digest
    assert (other.score(["a dog"]) > model.score(["a dog"])).all()
    with pytest.raises(ValueError, match="no thresholds were chosen"):
        thresholds_for(other.digest)


def test_english_recall_and_false_positives_reach_their_goals(screen):
    positive = [one for one in lines("toxicity", "test") if one.label and one.language == "en"]
    benign = {
        one.text
        for name in FILES
        for one in lines(name, "test")
        if not one.label and one.language == "en"
    }
    assert sum(dropped(screen, [one.text for one in positive])) >= 0.85 * len(positive)
    assert sum(dropped(screen, sorted(benign))) <= 0.02 * len(benign)


@pytest.mark.parametrize("language", ["es", "de", "fr", "pt", "it"])
def test_recall_in_other_languages_reaches_its_goal(screen, language):
    some = [one for one in lines("toxicity", "test") if one.label and one.language == language]
    assert sum(dropped(screen, [one.text for one in some])) >= 0.7 * len(some)


def test_no_group_that_is_named_raises_the_drop_rate(screen):
    assert not any(dropped(screen, [caption.text for caption in identity_captions()]))


def test_the_network_is_asked_about_english_alone(screen):
    assert set(LABELS) <= set(decide(screen, "a dog running on the grass").scores)
    assert not set(LABELS) & set(decide(screen, "ein Hund läuft über die Wiese").scores)
    assert not set(LABELS) & set(decide(screen, "a dog running on the grass", "de").scores)


def test_a_word_with_an_innocent_meaning_counts_where_somebody_is_addressed(screen):
    assert decide(screen, "a calf sucking milk from its mother").verdict is Verdict.KEEP
    assert decide(screen, "you suck, and so does your dog").verdict is Verdict.DROP


def test_disguised_words_reach_the_network(screen):
    plain, disguised = decide(screen, "you stupid thing"), decide(screen, "you stup1d thing")
    assert disguised.scores["insult"] == pytest.approx(plain.scores["insult"], abs=1e-4)


def test_a_language_without_a_list_has_no_verdict(screen):
    assert decide(screen, "mbwa anakimbia kwenye nyasi", "sw").verdict is Verdict.NO_VERDICT
    assert decide(screen, None).verdict is Verdict.NO_VERDICT


def test_where_the_network_was_asked_it_has_to_have_answered_all():
    policy = ToxicityPolicy({"insult": 0.5, "threat": 0.1}, {"insult_terms": 1.0})
    half = Scores({"insult_terms": 0.0, "insult": 0.1})
    assert policy.decide(half)[0] is Verdict.NO_VERDICT
    assert policy.decide(Scores({"insult_terms": 0.0}))[0] is Verdict.KEEP


def test_unknown_labels_and_tiers_are_refused():
    with pytest.raises(ValueError, match="rudeness"):
        toxicity_filter(thresholds={"rudeness": 0.5})
    with pytest.raises(ValueError, match="mild"):
        toxicity_filter(tiers=("mild",))
