"""National and financial numbers: how each is written, its checksum, and what must stand before it.

The checksums are python-stdnum's. A number whose checksum and shape leave room for chance is one
only beside a word that says so, for any nine digits are a valid number of some state.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

Valid = Callable[[str], bool]


@dataclass(frozen=True)
class Number:
    """A kind of number.

    kind: its infoType, named as Cloud DLP names it where that has it.
    pattern: where it may stand.
    valid: what tells it from other text of the same shape.
    telling: a shape that nothing else is likely to have; None where every match is telling.
    word: what has to stand nearby otherwise.
    """

    kind: str
    pattern: re.Pattern[str]
    valid: Valid
    telling: re.Pattern[str] | None = None
    word: re.Pattern[str] | None = None

    def needs_word(self, text: str) -> bool:
        return self.word is not None and not (self.telling and self.telling.fullmatch(text))


def _stdnum(module: str) -> Valid:
    """The validator of a module of python-stdnum, imported when it is first asked."""
    return lambda text: import_module(f"stdnum.{module}").is_valid(text)


def _pattern(body: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.,/-])(?:{body})(?![\w/]|[.,-]\d)", re.IGNORECASE)


def _word(body: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{body})(?!\w)", re.IGNORECASE)


# Issuer ranges with the lengths they issue (ISO/IEC 7812 as published by the networks).
_CARD_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})"  # Visa
    r"|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}"  # Mastercard
    r"|3[47]\d{13}"  # American Express
    r"|3(?:0[0-59]|[689]\d)\d{11}"  # Diners Club
    r"|(?:6011|64[4-9]\d|65\d\d)\d{12}"  # Discover
    r"|35(?:2[89]|[3-8]\d)\d{12}"  # JCB
    r"|62\d{14,17}"  # UnionPay
)


def _card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return bool(_CARD_ISSUERS.fullmatch(digits)) and _stdnum("luhn")(digits)


# HM Revenue and Customs, National Insurance Manual NIM39110: the prefixes never allocated.
_NINO = re.compile(
    r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D]", re.IGNORECASE
)


def _nino(text: str) -> bool:
    return bool(_NINO.fullmatch(re.sub(r"[\s-]", "", text)))


def _dni(text: str) -> bool:
    return _stdnum("es.dni")(text.replace(".", ""))


def _ssn(text: str) -> bool:
    return _stdnum("us.ssn")(re.sub(r"\D", "", text))


NUMBERS = (
    Number(
        "IBAN_CODE",
        _pattern(r"[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?"),
        _stdnum("iban"),
    ),
    Number(
        "CREDIT_CARD_NUMBER",
        _pattern(r"\d(?:[ -]?\d){12,18}"),
        _card,
        telling=re.compile(r"\d{15,19}|\d{4}([ -])\d{4}\1.*|\d{4}([ -])\d{6}\2\d{4,5}"),
        word=_word(
            r"cards?|credit|debit|visa|amex|mastercard|tarjeta|kreditkarte|karte|carte|cartão|cartao"
            r"|carta"
        ),
    ),
    Number(
        "US_SOCIAL_SECURITY_NUMBER",
        _pattern(r"\d{3}[ -]?\d{2}[ -]?\d{4}"),
        _ssn,
        telling=re.compile(r"\d{3}-\d{2}-\d{4}"),
        word=_word(r"ssn|social security(?: number)?|soc\.? sec\.?"),
    ),
    Number("SPAIN_NIF_NUMBER", _pattern(r"\d{2}\.?\d{3}\.?\d{3}[ -]?[A-Z]"), _dni),
    Number("SPAIN_NIE_NUMBER", _pattern(r"[XYZ][ -]?\d{7}[ -]?[A-Z]"), _stdnum("es.nie")),
    Number(
        "BRAZIL_CPF_NUMBER",
        _pattern(r"\d{3}\.?\d{3}\.?\d{3}[ -]?\d{2}"),
        _stdnum("br.cpf"),
        telling=re.compile(r"\d{3}\.\d{3}\.\d{3}-\d{2}"),
        word=_word(r"cpf"),
    ),
    Number(
        "BRAZIL_CNPJ_NUMBER",
        _pattern(r"\d{2}\.?\d{3}\.?\d{3}/?\d{4}-?\d{2}"),
        _stdnum("br.cnpj"),
        telling=re.compile(r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}"),
        word=_word(r"cnpj"),
    ),
    Number(
        "UK_NATIONAL_INSURANCE_NUMBER",
        _pattern(r"[A-Z]{2}[ -]?\d{2}[ -]?\d{2}[ -]?\d{2}[ -]?[A-D]"),
        _nino,
    ),
    Number(
        "ITALY_FISCAL_CODE",
        _pattern(r"[A-Z]{6}[ ]?\w{2}[A-Z]\w{2}[ ]?[A-Z]\w{3}[A-Z]"),
        _stdnum("it.codicefiscale"),
    ),
    Number(
        "FRANCE_NIR",
        _pattern(r"[12] ?\d{2} ?\d{2} ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}"),
        _stdnum("fr.nir"),
        telling=re.compile(r"\S \S{2} \S{2} \S{2} \S{3} \S{3} \S{2}"),
        word=_word(r"nir|insee|s[ée]cu|(?:num[ée]ro de )?s[ée]curit[ée] sociale"),
    ),
    Number(
        "GERMANY_TAXPAYER_IDENTIFICATION_NUMBER",
        _pattern(r"\d{2} ?\d{3} ?\d{3} ?\d{3}"),
        _stdnum("de.idnr"),
        word=_word(r"steuer-?(?:id|idnr|nummer)|steueridentifikationsnummer|idnr|tin"),
    ),
    Number("POLAND_PESEL_NUMBER", _pattern(r"\d{11}"), _stdnum("pl.pesel"), word=_word(r"pesel")),
    Number(
        "NETHERLANDS_BSN_NUMBER",
        _pattern(r"\d{4}[. ]?\d{2}[. ]?\d{3}"),
        _stdnum("nl.bsn"),
        word=_word(r"bsn|burgerservicenummer|sofinummer"),
    ),
    Number(
        "INDIA_AADHAAR_INDIVIDUAL",
        _pattern(r"\d{4}[ -]?\d{4}[ -]?\d{4}"),
        _stdnum("in_.aadhaar"),
        word=_word(r"aa?dh?aar|uidai|uid"),
    ),
    Number(
        "CANADA_SOCIAL_INSURANCE_NUMBER",
        _pattern(r"\d{3}[ -]?\d{3}[ -]?\d{3}"),
        _stdnum("ca.sin"),
        word=_word(r"sin|nas|social insurance(?: number)?|assurance sociale"),
    ),
    Number(
        "SWEDEN_NATIONAL_ID_NUMBER",
        _pattern(r"(?:\d{2})?\d{6}[-+]\d{4}"),
        _stdnum("se.personnummer"),
    ),
    Number("MEXICO_CURP_NUMBER", _pattern(r"[A-Z]{4}\d{6}[A-Z]{6}\w\d"), _stdnum("mx.curp")),
    Number("CHINA_RESIDENT_ID_NUMBER", _pattern(r"\d{17}[\dX]"), _stdnum("cn.ric")),
    Number("KOREA_RRN", _pattern(r"\d{6}-\d{7}"), _stdnum("kr.rrn")),
    Number(
        "AUSTRALIA_TAX_FILE_NUMBER",
        _pattern(r"\d{3}[ -]?\d{3}[ -]?\d{2,3}"),
        _stdnum("au.tfn"),
        word=_word(r"tfn|tax file(?: number)?"),
    ),
    Number(
        "BELGIUM_NATIONAL_ID_CARD_NUMBER",
        _pattern(r"\d{2}[.]?\d{2}[.]?\d{2}-?\d{3}[.]?\d{2}"),
        _stdnum("be.nn"),
        telling=re.compile(r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}"),
        word=_word(r"rijksregisternummer|registre national|niss|insz"),
    ),
    Number(
        "SWITZERLAND_SOCIAL_SECURITY_NUMBER",
        _pattern(r"756[.]?\d{4}[.]?\d{4}[.]?\d{2}"),
        _stdnum("ch.ssn"),
    ),
    Number(
        "PORTUGAL_NIF_NUMBER",
        _pattern(r"\d{3}[ .]?\d{3}[ .]?\d{3}"),
        _stdnum("pt.nif"),
        word=_word(r"nif|contribuinte"),
    ),
    Number(
        "DENMARK_CPR_NUMBER",
        _pattern(r"\d{6}-?\d{4}"),
        _stdnum("dk.cpr"),
        word=_word(r"cpr(?:-nr\.?|-nummer)?"),
    ),
    Number("FINLAND_NATIONAL_ID_NUMBER", _pattern(r"\d{6}[-+A]\d{3}[A-Z0-9]"), _stdnum("fi.hetu")),
    Number(
        "NORWAY_NI_NUMBER",
        _pattern(r"\d{6} ?\d{5}"),
        _stdnum("no.fodselsnummer"),
        word=_word(r"fødselsnummer|fodselsnummer|fnr|personnummer"),
    ),
    Number(
        "TURKEY_ID_NUMBER",
        _pattern(r"\d{11}"),
        _stdnum("tr.tckimlik"),
        word=_word(r"tc|t\.c\.|kimlik(?: no)?"),
    ),
)
