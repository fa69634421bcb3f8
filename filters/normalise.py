"""A shadow copy of a text for matching, with the usual ways of hiding a word undone.

The text itself is never changed: what is stored or trained on stays as the author wrote it.
"""

from __future__ import annotations

import re
import unicodedata

# Cyrillic and Greek letters drawn like Latin ones, in lower case. A subset of the confusables of
# Unicode Technical Standard 39 that fonts render alike.
_LOOK_ALIKES = str.maketrans(
    "авекмнорстухѕіјԁɡһԛԝѵαβεηικνορτυχωϲϳ",
    "abekmhopctyxsijdghqwvabenikvoptuxwcj",
)
_LOOK_ALIKE_LETTERS = frozenset(map(chr, _LOOK_ALIKES))
_CYRILLIC_GREEK = re.compile("[\u0370-\u03ff\u0400-\u052f]")
_LATIN = re.compile("[a-z\u00df-\u024f]")

# Zero-width and direction marks, soft hyphen, variation selectors, invisible operators.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\ufe00-\ufe0f\ufeff\U000e0000-\U000e01ef]"
)
# Combining marks that NFKC could not compose, on Latin letters: decoration, not spelling.
_LOOSE_MARKS = re.compile("[\u0300-\u036f\u0489\u20d0-\u20f0]+")

# Three or more single letters, each set apart by one and the same mark: "f u c k", "f.u.c.k".
_SPACED = re.compile(r"(?<![^\W_])[^\W\d_](?:([ .\-_*·/|,])[^\W\d_])(?:\1[^\W\d_])+(?![^\W_])")

_WORD = re.compile(r"[^\W_]+")
# A word that digits or symbols stand in, or that has letters struck out.
_LEET_WORD = re.compile(r"(?:[^\W_]|[@$!*#+|¢€])+")
_PUNCTUATION = "!+|#"
_LEET_SIGN = re.compile(r"[^\W\d_][0-9@$!*#+|¢€]|[0-9@$!*#+|¢€][^\W\d_]")
# Stands for a letter struck out ("f*ck") in all readings but the literal one.
STRUCK = "\N{BULLET}"
_STRIKES = "*#"
_LEET = dict(zip("023456789@$!+€¢|", "ozeasgtbgasiteci", strict=True)) | dict.fromkeys(
    _STRIKES, STRUCK
)
_LEET_AS_I = str.maketrans(_LEET | {"1": "i"})
_LEET_AS_L = str.maketrans(_LEET | {"1": "l", "!": "l", "|": "l"})

_STRETCHED = re.compile(r"([^\W\d_])\1\1|([aiu])\2")
_RUN_OF_THREE = re.compile(r"([^\W\d_])\1{2,}")
_DOUBLE_VOWEL = re.compile(r"([aiu])\1+")
_VOWEL_RUN = re.compile(r"([aeiou])\1{2,}")


def visible(text: str) -> str:
    """NFKC, and no character that nobody sees."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))


def fold(text: str) -> str:
    """`text` in one case and one script a word, spaced letters joined; accents stay.

    Letters of Cyrillic and Greek become Latin only in words that mix the scripts, or that have
    nothing but look-alikes in a text which is otherwise Latin: real Russian stays Russian.
    """
    text = visible(text).casefold()
    if not text.isascii():
        # casefold undoes the composition of a few letters.
        text = _LOOSE_MARKS.sub("", unicodedata.normalize("NFC", text))
        if _CYRILLIC_GREEK.search(text) and _LATIN.search(text):
            mostly_latin = len(_LATIN.findall(text)) > len(_CYRILLIC_GREEK.findall(text))
            text = _WORD.sub(lambda word: _one_script(word[0], mostly_latin), text)
    return _SPACED.sub(lambda run: run[0].replace(run[1], ""), text)


def _one_script(word: str, mostly_latin: bool) -> str:
    if not _CYRILLIC_GREEK.search(word):
        return word
    mixed = _LATIN.search(word) is not None
    if mixed or (mostly_latin and len(word) > 1 and _LOOK_ALIKE_LETTERS.issuperset(word)):
        return word.translate(_LOOK_ALIKES)
    return word


def words(folded: str) -> list[str]:
    """The words of a folded text; a run of letters and digits is one."""
    return _WORD.findall(folded)


def readings(folded: str) -> list[list[str]]:
    """The ways to read a folded text as words, the literal one first.

    The others read digits and symbols as letters ("1" as i and as l), an asterisk as a letter
    struck out, and shorten stretched letters. Most texts have the literal reading alone.
    """
    literal = words(folded)
    leet = _LEET_SIGN.search(folded) is not None
    if not leet and not _STRETCHED.search(folded):
        return [literal]
    tokens = _leet_words(folded) if leet else literal
    found = [literal]
    ways = ((_LEET_AS_I, _shortest), (_LEET_AS_L, _double_consonants), (_LEET_AS_I, _doubled))
    for table, shorten in ways:
        reading = [shorten(_letters(token, table)) for token in tokens]
        if reading not in found:
            found.append(reading)
    return found


def _leet_words(folded: str) -> list[str]:
    stripped = (token.strip(_PUNCTUATION).lstrip(_STRIKES) for token in _LEET_WORD.findall(folded))
    return [token for token in stripped if token]


def _letters(token: str, table: dict[int, str]) -> str:
    has_letter = any(character.isalpha() for character in token)
    return token.translate(table) if has_letter and not token.isalpha() else token


def _shortest(word: str) -> str:
    """fuuuuck, shiit: every run of three once, doubled a, i, u once."""
    return _DOUBLE_VOWEL.sub(r"\1", _RUN_OF_THREE.sub(r"\1", word))


def _double_consonants(word: str) -> str:
    """asssshooole: a run of three or more stands for two consonants, and for one vowel."""
    return _doubled(_VOWEL_RUN.sub(r"\1", word))


def _doubled(word: str) -> str:
    """boooobs: every run of three or more stands for two."""
    return _RUN_OF_THREE.sub(r"\1\1", word)


def without_accents(word: str) -> str:
    """Latin letters without their accents, as people type in a hurry."""
    if word.isascii() or not _LATIN.search(word):
        return word
    decomposed = unicodedata.normalize("NFD", word)
    return unicodedata.normalize("NFC", _LOOSE_MARKS.sub("", decomposed))
