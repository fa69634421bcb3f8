"""Pinning asks a registry as its protocol has it, and believes no digest that it didn't compute."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pin_images
import pytest
from pin_images import Image, RegistryError

MANIFEST = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
DIGEST = f"sha256:{hashlib.sha256(MANIFEST).hexdigest()}"


class Registry(BaseHTTPRequestHandler):
    """Gives a manifest to who has a token, and a token to who asks for the right scope."""

    def do_GET(self):
        where = urlsplit(self.path)
        if where.path == "/token":
            asked = parse_qs(where.query)
            known = asked["service"] == ["registry"] and asked["scope"] == ["repository:a/b:pull"]
            self._answer(200 if known else 403, json.dumps({"token": "let-in"}).encode())
        elif self.headers.get("Authorization") != "Bearer let-in":
            host = self.headers["Host"]
            challenge = f'Bearer realm="http://{host}/token",service="registry",scope="{SCOPE}"'
            self._answer(401, b"", {"WWW-Authenticate": challenge})
        elif where.path == "/v2/a/b/manifests/1.0" and "image.index" in self.headers["Accept"]:
            self._answer(200, MANIFEST, {"Docker-Content-Digest": self.server.named})
        else:
            self._answer(404, b"")

    def _answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


SCOPE = "repository:a/b:pull"


@pytest.fixture
def registry():
    with ThreadingHTTPServer(("127.0.0.1", 0), Registry) as server:
        server.named = DIGEST
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def image(registry, tag="1.0"):
    return Image("A_DIGEST", f"http://127.0.0.1:{registry.server_port}", "a/b", tag)


def test_the_digest_is_that_of_what_an_anonymous_reader_is_given(registry):
    assert pin_images.digest(image(registry)) == DIGEST


def test_the_lock_is_lines_that_a_shell_reads(registry):
    assert f"\nA_DIGEST={DIGEST}\n" in pin_images.lock([image(registry)])


def test_a_manifest_that_is_not_what_the_registry_calls_it_is_refused(registry):
    registry.named = f"sha256:{'0' * 64}"
    with pytest.raises(RegistryError, match="calls it"):
        pin_images.digest(image(registry))


def test_an_image_that_is_not_there_is_named(registry):
    with pytest.raises(RegistryError, match=r"manifests/2\.0: 404"):
        pin_images.digest(image(registry, "2.0"))


def test_the_images_are_those_of_the_dockerfile():
    found = pin_images.images(pin_images.DOCKERFILE.read_text())
    assert {each.argument for each in found} == {"BEAM_DIGEST", "LAUNCHER_DIGEST"}
    (beam,) = (each for each in found if each.argument == "BEAM_DIGEST")
    assert beam.manifest == (
        "https://registry-1.docker.io/v2/apache/beam_python3.11_sdk/manifests/2.77.0"
    )
