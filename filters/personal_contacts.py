"""Where to find a person: e-mail, IP and street address; and the passport number."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

Span = tuple[int, int]

_EMAIL = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}\s?(?:@|[\[({<]\s?(?:at|arroba|ät|chiocciola)\s?[\])}>])\s?"
    r"[\w-]{1,63}(?:\s?(?:\.|[\[({<]\s?(?:dot|punto|punkt|point|ponto)\s?[\])}>])\s?[\w-]{2,63}){1,4}",
    re.IGNORECASE,
)
_FILE_ENDING = re.compile(r"\.(?:png|jpe?g|gif|webp|svg|bmp|tiff?|mp4|avif|heic|css|js)$", re.I)
_TOP_LEVEL = re.compile(r"[^\W\d_]{2,24}$")


def emails(text: str) -> Iterator[Span]:
    """Addresses with their sign, or with "[at]" and "[dot]" against harvesters."""
    for match in _EMAIL.finditer(text):
        # A picture of double resolution is named logo@2x.png.
        if _TOP_LEVEL.search(match[0]) and not _FILE_ENDING.search(match[0]):
            yield match.span()


_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", re.IGNORECASE)
_VERSION = re.compile(
    r"(?:\bv|version|versión|versão|versione|release|firmware|section|chapter|build)[\s.:]*$", re.I
)
_FEWEST_GROUPS = 3
_NEARBY = 20


def ip_addresses(text: str) -> Iterator[Span]:
    """IPv4 and IPv6 addresses of machines elsewhere: not loopback, not a version number."""
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            # Two groups and a colon pair are an operator in a programming language.
            groups = [group for group in re.split("[:.]", match[0]) if group]
            before = text[max(0, match.start() - _NEARBY) : match.start()]
            if len(groups) < _FEWEST_GROUPS or _VERSION.search(before):
                continue
            try:
                address = ipaddress.ip_address(match[0])
            except ValueError:
                continue
            if not (address.is_loopback or address.is_unspecified):
                yield match.span()


_PASSPORT = re.compile(
    r"\b(?:passport|pasaporte|passeport|reisepass|passaporto|passaporte|paspoort|passnummer|"
    r"pass-?nr)\w*[\s:.#-]*(?:(?:no|nr|n|number|num|número|numero|numéro|nummer|is|es|é|est|ist|"
    r"lautet|do|de|titular|holder)\b[\s.:#°-]*){0,3}(?P<number>[A-Z0-9]{6,9})(?!\w)",
    re.IGNORECASE,
)
_FEWEST_PASSPORT_DIGITS = 4


def passports(text: str) -> Iterator[Span]:
    """Six to nine letters and digits after a word for a passport: most states have no checksum."""
    for match in _PASSPORT.finditer(text):
        if sum(map(str.isdecimal, match["number"])) >= _FEWEST_PASSPORT_DIGITS:
            yield match.span("number")


_NAME = r"[A-ZÀ-ÖØ-Þ0-9][\w'\u2019.-]*"
# Words inside a street's name that stay small: Calle de la Paz, rue de l'Église.
_SMALL = r"(?:d[aeiou]s?|del|dell[aeo']?|la|las|el|los|le|les|l['\u2019]|d['\u2019]|y|e|et|san|sur)"
_NAMES = rf"(?:{_SMALL}\s?['\u2019]?\s?){{0,3}}{_NAME}(?:\s(?:{_SMALL}\s?){{0,2}}{_NAME}){{0,4}}?"
# A house number from 1700 to 2099 is more likely a year, and so is one before Christ.
_NOT_A_YEAR = r"(?!(?:1[789]|20)\d\d\b|\d+\s?[ad]\.\s?C\.)"
_AFTER = (
    r",?\s(?:n\.?\s?[º°o]?\.?\s?|núm\.?\s|nr\.?\s|#\s?)?"
    rf"{_NOT_A_YEAR}\d{{1,4}}\s?[a-zA-Z]?\b(?![.,]\d)"
)
_STREETS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?<![\w.,-])\d{1,5}[A-Za-z]?(?:-\d{1,5})?\s(?:[NSEW]\.?\s|North\s|South\s|East\s|West\s)?"
        r"(?:[A-Z0-9][\w'\u2019.-]*\s){1,4}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|"
        r"Blvd|Court|Ct|Place|Pl|Square|Sq|Terrace|Way|Crescent|Close|Parkway|Pkwy|Highway|Hwy|Row|"
        r"Gardens|Mews|Circle|Trail)\b",
        rf"\b(?:[Cc]alle|C/|[Aa]venida|Avda\.?|Av\.|[Pp]laza|Pza\.?|[Pp]aseo|[Cc]arretera|Ctra\.?|"
        rf"[Cc]amino|[Rr]onda|[Tt]ravesía|[Cc]arrera|[Rr]ua|R\.|[Tt]ravessa|[Pp]raça|[Aa]lameda|"
        rf"[Rr]odovia|[Ee]strada|[Ll]argo|[Vv]ia|[Vv]iale|[Pp]iazza|[Cc]orso|[Vv]icolo|[Pp]iazzale)"
        rf"\s?{_NAMES}{_AFTER}",
        r"\b[A-ZÄÖÜ][\wäöüß.-]*(?:straße|strasse|str\.|weg|gasse|allee|platz|ring|ufer|damm)\s"
        rf"{_NOT_A_YEAR}\d{{1,4}}\s?[a-z]?\b",
        r"\b(?:[A-ZÄÖÜ][\wäöüß-]*(?:er|e|en|es)\s(?:Straße|Strasse|Str\.|Weg|Gasse|Allee|Platz|Ring|"
        r"Ufer|Damm)|(?:Am|An der|Im|Zum|Zur)\s[A-ZÄÖÜ][\wäöüß-]+)\s"
        rf"{_NOT_A_YEAR}\d{{1,3}}\s?[a-z]?\b",
        rf"(?<![\w.,-])\d{{1,4}}(?:\s?(?:bis|ter))?,?\s(?:rue|avenue|av\.|boulevard|bd|place|chemin|"
        rf"allée|impasse|quai|cours|route|square|passage)\s{_NAMES}",
        r"\b[Pp]\.?\s?[Oo]\.?\s[Bb]ox\s\d{1,6}\b",
    )
)


def street_addresses(text: str) -> Iterator[Span]:
    """A street's name, with a capital, and a house number, as six languages write them."""
    for pattern in _STREETS:
        for match in pattern.finditer(text):
            yield match.span()
