import pytest

from filters.contract import Item, Verdict
from filters.language import identify, language_filter, language_of


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("a dog running on the grass", "en"),
        ("un perro corriendo por el parque", "es"),
        ("ein Hund läuft über die Wiese", "de"),
        ("une femme dans une robe rouge", "fr"),
        ("um cachorro correndo na grama do parque", "pt"),
        ("un gatto nero che dorme sul divano", "it"),
        ("二匹の犬が走る", "ja"),
    ],
)
def test_captions_are_told_apart(text, language):
    assert identify(text)[0] == language


@pytest.mark.parametrize("text", ["", "sunset", "IMG_2034.jpg", "12345", "Essex"])
def test_what_is_too_short_to_tell_is_undetermined(text):
    assert identify(text)[0] == "und"


def test_a_language_that_came_with_the_item_goes_first():
    assert language_of(Item("1", "a dog running on the grass", "pt_BR")) == "pt"


def test_other_languages_are_dropped_and_a_guess_is_no_verdict():
    screen = language_filter(["en", "de"])
    texts = ("a dog running on the grass", "une femme dans une robe rouge", "sunset")
    decisions = screen.screen([Item(text, text) for text in texts])
    assert [decision.verdict for decision in decisions] == [
        Verdict.KEEP,
        Verdict.DROP,
        Verdict.NO_VERDICT,
    ]
    assert decisions[1].labels == ("fr",)


def test_a_language_that_cannot_be_identified_is_refused():
    with pytest.raises(ValueError, match="tlh"):
        language_filter(["tlh"])
