"""Personal information in text, by Cloud DLP: many texts a request, as the rows of a table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from filters.cloud.failures import CallError, Failure
from filters.cloud.google_clients import answer_of, make_client
from filters.cloud.pacing import Pace
from filters.cloud.scorer import CloudScorer, chunks, score_askable, text_problem
from filters.contract import Filter, Item, Scores, Subject
from filters.limits import Limit, LimitsPolicy

INFO_TYPES = (
    "US_SOCIAL_SECURITY_NUMBER",
    "CREDIT_CARD_NUMBER",
    "IBAN_CODE",
    "EMAIL_ADDRESS",
    "PHONE_NUMBER",
    "IP_ADDRESS",
    "PASSPORT",
    "SPAIN_NIF_NUMBER",
    "BRAZIL_CPF_NUMBER",
    "UK_NATIONAL_INSURANCE_NUMBER",
    "STREET_ADDRESS",
)
LIKELIHOODS = ("VERY_UNLIKELY", "UNLIKELY", "POSSIBLE", "LIKELY", "VERY_LIKELY")

# A request holds 0.5 MB and 50,000 table values, and answers with 3,000 findings at most
# (cloud.google.com/sensitive-data-protection/limits); the rest of the 0.5 MB is for the options.
MAX_BYTES = 450_000
MAX_ROWS = 50_000 - 1
ROW_BYTES = 16  # what a row costs besides its text
PACE = Pace(per_second=10, burst=10)  # 600 requests a minute for each project and region

FINDINGS = "findings"
COLUMN = "text"
# The last row of every table, and a detector for it alone: an answer that doesn't find it there
# isn't an inspection of the table, and "nothing found" is not believed.
SENTINEL = "palipipesentinel"
SENTINEL_TYPE = "PALIPIPE_SENTINEL"
# A kind goes to the ledger, so it has to look like one, and not like a text.
_INFO_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,79}")


@dataclass(frozen=True, kw_only=True)
class CloudDlp(CloudScorer):
    """Counts what Cloud DLP finds: `findings` in all, and one score for each infoType found.

    The findings' quotes are not asked for, and their places not kept. A text too large for a
    request gets no verdict ("text_too_long"): cut in two, what lies across the cut would be missed.
    The table has no key column: rows are told apart by their index, and ids stay here.

    project, location: where requests are inspected and billed, as in "europe-west4"; "global" lets
        Google choose the place, and has to be said.
    min_likelihood: findings below it aren't reported, and so can't be decided on later.
    endpoint: host[:port], for a regional endpoint such as dlp.europe-west4.rep.googleapis.com.
    """

    project: str
    location: str
    info_types: tuple[str, ...] = INFO_TYPES
    min_likelihood: str = "POSSIBLE"
    endpoint: str = "dlp.googleapis.com"
    pace: Pace = PACE

    @property
    def name(self) -> str:
        return "cloud-dlp"

    @property
    def version(self) -> str:
        return f"v2/{self.min_likelihood}"

    @property
    def _service(self) -> str:
        return "Cloud DLP"

    @property
    def _access(self) -> str:
        return f"roles/dlp.user on {self.project}, with dlp.googleapis.com enabled there"

    def _check(self) -> None:
        if not self.project or not self.location:
            raise ValueError("dlp: name the project and the location, such as europe-west4")
        if not self.info_types:
            raise ValueError("dlp: info_types is empty; name at least one, such as EMAIL_ADDRESS")
        if self.min_likelihood not in LIKELIHOODS:
            raise ValueError(
                f"dlp: min_likelihood is {self.min_likelihood!r}; it is one of {LIKELIHOODS}"
            )

    def score(self, items: Sequence[Item]) -> list[Scores]:
        """One Scores for each item. Raises BackendDown when too many calls failed."""
        return score_askable(
            items, lambda item: text_problem(item, MAX_BYTES - ROW_BYTES), self._score_texts
        )

    def _score_texts(self, items: list[Item]) -> list[Scores]:
        texts = [item.text or "" for item in items]
        tables = chunks(texts, lambda text: len(text.encode()) + ROW_BYTES, MAX_BYTES, MAX_ROWS)
        return [one for table in tables for one in self._backend.scores(table, self._inspect)]

    def _inspect(self, texts: Sequence[str], seconds: float) -> list[Scores]:
        client, request = self._client.get(), self._request((*texts, SENTINEL))
        answer = answer_of(
            lambda: client.inspect_content(request=request, retry=None, timeout=seconds)
        )
        counts = _by_row(answer.result.findings, len(texts) + 1)
        if answer.result.findings_truncated and len(texts) > 1:
            raise CallError(Failure.TRUNCATED)
        # Where one text alone has more findings than an answer holds, the last row's may be cut.
        cut = answer.result.findings_truncated and counts[0].total() > 0
        if not cut and not counts[-1][SENTINEL_TYPE]:
            raise CallError(Failure.BAD_ANSWER)
        return [_scores(count) for count in counts[:-1]]

    def _request(self, rows: Sequence[str]) -> dict[str, Any]:
        sentinel = {
            "info_type": {"name": SENTINEL_TYPE},
            "dictionary": {"word_list": {"words": [SENTINEL]}},
            "likelihood": "VERY_LIKELY",
        }
        return {
            "parent": f"projects/{self.project}/locations/{self.location}",
            "inspect_config": {
                "info_types": [{"name": name} for name in self.info_types],
                "custom_info_types": [sentinel],
                "min_likelihood": self.min_likelihood,
                "include_quote": False,
            },
            "item": {
                "table": {
                    "headers": [{"name": COLUMN}],
                    "rows": [{"values": [{"string_value": text}]} for text in rows],
                }
            },
        }

    def _make_client(self) -> Any:
        from google.cloud.dlp_v2.services.dlp_service import DlpServiceClient
        from google.cloud.dlp_v2.services.dlp_service.transports import DlpServiceGrpcTransport

        return make_client(DlpServiceClient, DlpServiceGrpcTransport, self.endpoint, self.project)


def dlp_filter(
    scorer: CloudDlp,
    most_findings: int = 0,
    subject: Subject = Subject.TEXT,
    name: str = "personal_information",
    fail_open: bool = False,
) -> Filter:
    """Drops texts in which more than `most_findings` were found."""
    limit = Limit(FINDINGS, name, maximum=most_findings)
    return Filter(name, subject, scorer, LimitsPolicy((limit,)), fail_open)


def _by_row(findings: Iterable[Any], rows: int) -> list[Counter[str]]:
    """How often each infoType was found in each row.

    Raises CallError where a finding belongs to no row that was sent.
    """
    counts: list[Counter[str]] = [Counter() for _ in range(rows)]
    for finding in findings:
        row, kind = _row_of(finding), finding.info_type.name
        if row is None or not 0 <= row < rows or not _INFO_TYPE.fullmatch(kind):
            raise CallError(Failure.BAD_ANSWER)
        counts[row][kind] += 1
    return counts


def _scores(count: Counter[str]) -> Scores:
    found = {kind: float(n) for kind, n in sorted(count.items()) if kind != SENTINEL_TYPE}
    return Scores({FINDINGS: sum(found.values()), **found}, labels=tuple(found))


def _row_of(finding: Any) -> int | None:
    for location in finding.location.content_locations:
        # Row 0 is the default of the field, so what counts is that the message is there.
        if "record_location" in location and "table_location" in location.record_location:
            return int(location.record_location.table_location.row_index)
    return None
