from hypothesis import given
from hypothesis import strategies as st

from filters.normalise import fold, readings, visible, without_accents, words


def wide(text):
    """The fullwidth forms of ASCII, as written among Chinese characters."""
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


def all_words(text):
    return {word for reading in readings(fold(text)) for word in reading}


def test_hidden_letters_are_read():
    for disguised in (
        "h e l l o",
        "H.E.L.L.O",
        "h-e-l-l-o",
        "h_e_l_l_o",
        "he\u200bl\u00adlo",
        wide("hello"),
        "\N{CIRCLED LATIN SMALL LETTER H}ello",
        "hеllо",  # noqa: RUF001  Cyrillic е and о
        "h\u0336e\u0336l\u0336l\u0336o\u0336",
        "h3ll0",
        "he11o",
        "hellooooo",
        "#hello!",
    ):
        assert "hello" in all_words(disguised), disguised


def test_a_letter_struck_out_stands_as_a_bullet_in_the_other_readings():
    assert readings("h*llo there")[1:] == [["h•llo", "there"]]


def test_a_plain_caption_has_the_literal_reading_alone():
    assert readings(fold("A dog, running on the grass!")) == [
        ["a", "dog", "running", "on", "the", "grass"]
    ]


def test_russian_and_greek_stay_themselves():
    for text in ("собака бежит по траве", "ένας σκύλος τρέχει", "фото: Nikon, река Волга"):
        assert fold(text) == text.casefold()


def test_a_word_of_look_alikes_alone_is_folded_in_a_latin_text_only():
    assert words(fold("free сосоа for all")) == ["free", "cocoa", "for", "all"]  # noqa: RUF001
    assert "сосоа" in words(fold("какао и сосоа на столе"))  # noqa: RUF001


def test_accents_and_case_are_kept_apart_from_their_removal():
    assert fold("Señor STRASSE Straße") == "señor strasse strasse"
    assert without_accents("cabrón") == "cabron"
    assert without_accents("хлеб й") == "хлеб й"


def test_hindi_and_thai_marks_survive():
    for text in ("नमस्ते दुनिया", "สวัสดีชาวโลก"):
        assert fold(text) == visible(text)


@given(st.text())
def test_any_text_can_be_read(text):
    folded = fold(text)
    literal, *others = readings(folded)
    assert literal == words(folded)
    assert all(reading != literal for reading in others)


@given(st.text(alphabet="ab @$*!1. -", min_size=200, max_size=400))
def test_marks_without_end_are_read_too(text):
    assert readings(fold(text * 20))
