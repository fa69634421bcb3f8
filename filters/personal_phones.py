"""Telephone numbers: valid in the numbering plan of a country, and written as such."""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

_CANDIDATE = re.compile(
    r"(?<![\w.,:/#$€£+-])(?:\+|00)?\s?\(?\d(?:[ ()./\-\u2013\u00a0]{0,3}\d){6,15}(?![\w/]|[.,:-]\d)"
)
_SAYS_SO = re.compile(
    r"(?<!\w)(?:tel|tél|telephone|phone|call|text|mobile|cell|whatsapp|fax|dial|ring|hotline|contact"
    r"|teléfono|telefono|móvil|movil|llama|llamar|llámame|contacto|telefon|handy|anruf|anrufen|ruf"
    r"|mobil|téléphone|portable|appelez|appeler|appelle|telefone|celular|telemóvel|ligue|ligar|liga"
    r"|cellulare|cell|chiama|chiamare|chiamami|numero|número|numéro|rufnummer|nummer)\b[^\d]{0,20}$",
    re.IGNORECASE,
)
_SAYS_OTHERWISE = re.compile(
    r"(?<!\w)(?:isbn|issn|sku|upc|ean|doi|order|invoice|serial|model|part|lot|ref|item|patent|catalog"
    r"|tracking|factura|pedido|rechnung|bestellung|facture|commande|fattura|ordine|fatura|patente"
    r"|barcode|code|código|codice|artikel|article|isrc|lat|lon|population|población|einwohner"
    r"|version|build|file|img|dsc)\w*\b[^\d]{0,14}$",
    re.IGNORECASE,
)
_MONEY_AFTER = re.compile(
    r"\s?(?:€|\$|£|euros?\b|eur\b|usd\b|dollars?\b|reais\b|km\b|m²|people\b)", re.IGNORECASE
)
_DATE = re.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}.*|\d{1,2}[-./]\d{1,2}[-./]\d{4}.*|\d{4}-\d{4}")

# How a national number is written where no word says what it is. Spain, Portugal and the United
# States have no leading 0 to tell by, hence the groups of each.
_NATIONAL_SHAPES = {
    "US": r"\(\d{3}\) ?\d{3}[-. ]\d{4}|\d{3}([-.])\d{3}\1\d{4}|1[-. ]\d{3}([-. ])\d{3}\2\d{4}",
    "GB": r"\(?0\d{2,4}\)? \d{3,4} ?\d{3,4}",
    "FR": r"0\d(?:([ .-]?)\d{2})(?:\1\d{2}){3}",
    "DE": r"\(?0\d{2,4}\)?[ /-]{1,3}\d{3,9}(?:[ -]\d{1,5}){0,3}",
    "ES": r"[6-9]\d{2}([ .-])\d{3}\1\d{3}|[6-9]\d{2}([ .-])\d{2}\2\d{2}\2\d{2}",
    "IT": r"0\d{1,3}[ /-]\d{5,8}|3\d{2}[ /-]\d{6,7}|3\d{2} \d{3} \d{3,4}|0\d{1,3} \d{3,4} \d{3,4}",
    "PT": r"(?:9[1236]|2\d)\d ?\d{3} \d{3}",
    "BR": r"\(0?\d{2}\) ?9?\d{4}[- ]?\d{4}",
}
_SHAPES = {region: re.compile(shape) for region, shape in _NATIONAL_SHAPES.items()}
_LANGUAGE_REGIONS = {
    "en": ("US", "GB"),
    "es": ("ES",),
    "de": ("DE",),
    "fr": ("FR",),
    "it": ("IT",),
    "pt": ("BR", "PT"),
}
# E.164: no number is longer than 15 digits; a subscriber's alone has 7.
_FEWEST_DIGITS, _MOST_DIGITS = 7, 15


def phone_numbers(text: str, language: str) -> Iterator[Span]:
    """International numbers, national ones in their country's usual writing, and what a word names.

    language: whose countries' plans go first; the others are tried after.
    """
    for match in _CANDIDATE.finditer(text):
        before = text[max(0, match.start() - 40) : match.start()]
        if _SAYS_OTHERWISE.search(before) or _MONEY_AFTER.match(text, match.end()):
            continue
        number = match[0].strip()
        if _DATE.fullmatch(number):
            continue
        digits = sum(map(str.isdecimal, number))
        said = bool(_SAYS_SO.search(before)) and _FEWEST_DIGITS <= digits <= _MOST_DIGITS
        if _international(number) or _national(number, language, said):
            yield match.start() + match[0].index(number), match.end()


def _international(number: str) -> bool:
    if not number.startswith(("+", "00")):
        return False
    return _valid("+" + re.sub(r"^(?:\+|00)", "", number), None)


def _national(number: str, language: str, said: bool) -> bool:
    first = _LANGUAGE_REGIONS.get(language, ())
    regions = (*first, *(region for region in _SHAPES if region not in first))
    shaped = [region for region in regions if _SHAPES[region].fullmatch(number)]
    if any(_valid(number, region) for region in shaped):
        return True
    # Numbers kept for films are in no plan, and are written like any other.
    return said and (bool(shaped) or any(_valid(number, region) for region in regions))


def _valid(number: str, region: str | None) -> bool:
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number(parsed)
