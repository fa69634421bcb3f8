"""Google's clients are made for the place asked for, and only where there are credentials."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from servers.cases import texts

from filters.cloud.dlp import CloudDlp, dlp_filter
from filters.cloud.google_clients import is_loopback
from filters.cloud.moderate_text import ModerateText
from filters.cloud.safe_search import SafeSearch
from filters.cloud.scorer import CloudScorer
from filters.contract import BackendDown


@pytest.fixture
def service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of a service account that doesn't exist; nothing asks Google about them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key": key.decode(),
        "client_email": "screen@p.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    path = tmp_path / "account.json"
    path.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))


@pytest.mark.parametrize(
    ("scorer", "host"),
    [
        (CloudDlp(project="p", location="europe-west4"), "dlp.googleapis.com:443"),
        (
            CloudDlp(project="p", location="x", endpoint="dlp.europe-west4.rep.googleapis.com"),
            "dlp.europe-west4.rep.googleapis.com:443",
        ),
        (ModerateText(location="eu"), "eu-language.googleapis.com:443"),
        (ModerateText(location="global", project="p"), "language.googleapis.com:443"),
        (SafeSearch(project="p", location="us"), "us-vision.googleapis.com:443"),
    ],
)
@pytest.mark.usefixtures("service_account")
def test_a_client_asks_the_place_s_own_endpoint_by_tls(scorer: CloudScorer, host: str) -> None:
    assert scorer._make_client().transport.host == host


def test_without_credentials_the_run_stops_and_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json")
    screen = dlp_filter(CloudDlp(project="p", location="europe-west4"))
    with pytest.raises(BackendDown, match="gcloud auth application-default login") as caught:
        screen.screen(texts("a dog"))
    assert "filter personal_information: no credentials for dlp.googleapis.com" in str(caught.value)
    assert "/no/such" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1:80", True),
        ("localhost:80", True),
        ("localhost", True),
        ("[::1]:80", True),
        ("localhost.example.org:80", False),
        ("127.0.0.1.example.org", False),
        ("dlp.googleapis.com", False),
    ],
)
def test_only_this_machine_is_spoken_to_in_the_clear(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
