import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.labelled_text import FILES, lines
from filters.contract import Item, Verdict
from filters.personal import INFO_TYPES, personal_information_filter, redact


@pytest.fixture(scope="module")
def screen():
    return personal_information_filter()


def decide(screen, text, language=None):
    return screen.screen([Item("1", text, language)])[0]


def found(text, language="und"):
    return dict(redact(text, language)[1])


def test_recall_and_false_positives_reach_their_goals(screen):
    def dropped(some):
        return [decide(screen, one.text).verdict is Verdict.DROP for one in some]

    recall = dropped(one for one in lines("personal", "test") if one.label)
    benign = dropped(one for name in FILES for one in lines(name, "test") if not one.label)
    assert sum(recall) >= 0.95 * len(recall)
    assert sum(benign) <= 0.02 * len(benign)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("mail jane@example.com", "EMAIL_ADDRESS"),
        ("mail jane [at] example [dot] com", "EMAIL_ADDRESS"),
        ("from 203.0.113.9", "IP_ADDRESS"),
        ("from 2001:db8:85a3::8a2e:370:7334", "IP_ADDRESS"),
        ("card 4111 1111 1111 1111", "CREDIT_CARD_NUMBER"),
        ("IBAN DE89 3704 0044 0532 0130 00", "IBAN_CODE"),
        ("DNI 12345678Z", "SPAIN_NIF_NUMBER"),
        ("NIE X1234567L", "SPAIN_NIE_NUMBER"),
        ("CPF 529.982.247-25", "BRAZIL_CPF_NUMBER"),
        ("NI no. AB 12 34 56 C", "UK_NATIONAL_INSURANCE_NUMBER"),
        ("CF RSSMRA85T10A562S", "ITALY_FISCAL_CODE"),
        ("PESEL 44051401359", "POLAND_PESEL_NUMBER"),
        ("BSN 111222333", "NETHERLANDS_BSN_NUMBER"),
        ("AHV 756.9217.0769.85", "SWITZERLAND_SOCIAL_SECURITY_NUMBER"),
        ("passport no. 533401728", "PASSPORT"),
        ("call (212) 555-2368", "PHONE_NUMBER"),
        ("+44 20 7946 0958", "PHONE_NUMBER"),
        ("lives at 12 Oak Street", "STREET_ADDRESS"),
        ("Lindenweg 5, München", "STREET_ADDRESS"),
    ],
)
def test_each_kind_is_named(text, kind):
    assert found(text) == {kind: 1}


@pytest.mark.parametrize(
    "text",
    [
        "card 4111 1111 1111 1112",
        "IBAN DE89 3704 0044 0532 0130 01",
        "DNI 12345678A",
        "123456789",
        "44051401359",
        "photo of 2021-06-15 12:30:45",
        "banner@2x.png",
        "version 10.4.2.1",
        "127.0.0.1",
        "std::vector<int>",
        "ISBN 978-3-16-148410-0",
        "912 345 678 euros",
        "Via Roma nel 1900",
        "Plaza Mayor 1808",
    ],
)
def test_wrong_checksums_and_other_numbers_are_left_alone(text):
    assert found(text) == {}


def test_nine_digits_are_a_social_security_number_beside_a_word_that_says_so():
    assert found("536900399") == {}
    assert found("SSN 536900399") == {"US_SOCIAL_SECURITY_NUMBER": 1}


def test_redaction_replaces_each_finding_and_nothing_else():
    text, counts = redact("write jane@example.com or joe@example.org, card 4111-1111-1111-1111!")
    assert text == "write [EMAIL_ADDRESS] or [EMAIL_ADDRESS], card [CREDIT_CARD_NUMBER]!"
    assert counts == {"EMAIL_ADDRESS": 2, "CREDIT_CARD_NUMBER": 1}


def test_redaction_sees_through_invisible_characters_and_wide_digits():
    assert redact("jane@exa\u200bmple.com")[0] == "[EMAIL_ADDRESS]"
    wide = "4111 1111 1111 1111".translate({ord(d): ord(d) + 0xFEE0 for d in "0123456789"})
    assert redact(f"card {wide}")[0] == "card [CREDIT_CARD_NUMBER]"


@given(st.text())
def test_redacting_twice_changes_nothing_more(text):
    once, counts = redact(text)
    assert redact(once) == (once, {})
    assert counts or once == text


def test_counts_by_kind_and_in_all_are_the_scores(screen):
    decision = decide(screen, "a@example.com b@example.com from 203.0.113.9")
    assert decision.scores == {"findings": 3.0, "EMAIL_ADDRESS": 2.0, "IP_ADDRESS": 1.0}
    assert decision.labels == ("EMAIL_ADDRESS", "IP_ADDRESS")
    assert (decision.reason, decision.score, decision.threshold) == ("personal_information", 3, 0)


def test_kinds_can_be_chosen_and_a_wrong_one_is_refused():
    only_cards = personal_information_filter(info_types=("CREDIT_CARD_NUMBER",))
    assert decide(only_cards, "a@example.com").verdict is Verdict.KEEP
    with pytest.raises(ValueError, match="unknown info types"):
        personal_information_filter(info_types=("PERSON",))


def test_names_of_people_are_no_personal_information(screen):
    assert not [kind for kind in INFO_TYPES if "PERSON_NAME" in kind]
    assert decide(screen, "Marie Curie in her laboratory").verdict is Verdict.KEEP
