"""A real S3 server on loopback, moto's, and what goes wrong with real ones when it is told to.

Requests are counted by what they are; some can be refused, cut off, or held, as a store does that
is overloaded or whose connection breaks.
"""

from __future__ import annotations

import contextlib
import functools
import json
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs

import boto3
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "corpus"
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}

SLOW_DOWN = ("503 Slow Down", "SlowDown")
UNAVAILABLE = ("503 Service Unavailable", "ServiceUnavailable")
TOO_MANY = ("429 Too Many Requests", "TooManyRequests")
INTERNAL = ("500 Internal Server Error", "InternalError")
DENIED = ("403 Forbidden", "AccessDenied")
# In the place of an answer: the connection ends before it; or within it, or within what is sent.
DROP = ("drop", "")
CUT = ("cut", "")

Fault = tuple[str, str]


@dataclass(frozen=True)
class Request:
    """What of a request a fault may depend on. number: how many there were before it."""

    number: int
    kind: str
    key: str
    length: int


@dataclass(eq=False)
class ObjectServer:
    """The server as tests see it.

    back_door: another port of it, at which nothing is counted and nothing fails.
    fault: what happens to a request, None where it is answered.
    """

    port: int
    back_door: int
    fault: Callable[[Request], Fault | None] = lambda request: None
    requests: list[Request] = field(default_factory=list)
    faults: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true"}

    @property
    def kinds(self) -> Counter[str]:
        return Counter(request.kind for request in self.requests)

    @contextlib.contextmanager
    def failing(self, fault: Callable[[Request], Fault | None]) -> Iterator[None]:
        self.requests.clear()
        self.faults = 0
        self.fault = fault
        try:
            yield
        finally:
            self.fault = lambda request: None

    @functools.cache  # noqa: B019 (making one takes a tenth of a second; servers are few)
    def client(self) -> Any:
        """For the test's own use, through the back door."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.back_door}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            region_name="us-east-1",
        )

    def upload(self, folder: Path, prefix: str) -> str:
        """Put a folder's files below a prefix; returns its URI."""
        client = self.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{prefix}/{path.relative_to(folder).as_posix()}"
                client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
        return f"s3://{BUCKET}/{prefix}"

    def download(self, prefix: str, folder: Path) -> Path:
        """Write all below a prefix into a folder; returns that."""
        for key in self.keys(prefix):
            path = folder / key.removeprefix(prefix).lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get(key))
        return folder

    def put(self, key: str, values: Any) -> None:
        """JSON under a key, put into the store behind the server's back."""
        _store().put_object(BUCKET, key, json.dumps(values).encode())

    def clear(self, prefix: str) -> None:
        """Delete all below a prefix, and forget the requests."""
        for key in self.keys(prefix):
            _store().delete_object(BUCKET, key)
        self.requests.clear()
        self.faults = 0

    def get(self, key: str) -> bytes:
        return self.client().get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def keys(self, prefix: str = "") -> list[str]:
        pages = (
            self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        )
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def _store() -> Any:
    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


class _Faults:
    """WSGI middleware that counts requests and answers some of them as the server's fault says."""

    def __init__(self, app: Any, server: ObjectServer):
        self._app = app
        self._server = server
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        with self._lock:
            request = _described(environ, len(self._server.requests))
            self._server.requests.append(request)
            fault = self._server.fault(request)
            self._server.faults += fault is not None
        if fault is None:
            return self._app(environ, start_response)
        if fault == DROP:
            _hang_up(environ)
        if fault == CUT and environ["REQUEST_METHOD"] == "PUT":
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0) // 2)
            _hang_up(environ)
        if fault == CUT:
            return self._halved(environ, start_response)
        status, code = fault
        body = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        start_response(status, [("Content-Type", "application/xml")])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _halved(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        """Half of the answer, of which the whole was announced."""
        body = b"".join(self._app(environ, start_response))
        yield body[: len(body) // 2]
        _hang_up(environ)


def _hang_up(environ: dict[str, Any]) -> NoReturn:
    # Without lingering: what was sent and not read is answered by a reset.
    no_time = struct.pack("ii", 1, 0)
    environ["werkzeug.socket"].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_time)
    raise ConnectionResetError("as asked")


def _described(environ: dict[str, Any], number: int) -> Request:
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    method = environ["REQUEST_METHOD"]
    kind = {"HEAD": "head", "GET": "get", "PUT": "put", "DELETE": "delete"}.get(method, method)
    if method == "GET" and "list-type" in query:
        kind = "list"
    elif method == "PUT" and "HTTP_X_AMZ_COPY_SOURCE" in environ:
        kind = "copy"
    elif method == "PUT" and "partNumber" in query:
        kind = "part"
    elif method == "POST":
        kind = next((k for k in ("uploads", "uploadId", "delete") if k in query), "post")
        kind = {"uploadId": "complete", "uploads": "begin"}.get(kind, kind)
    key = environ["PATH_INFO"].removeprefix(f"/{BUCKET}").lstrip("/")
    return Request(number, kind, key, int(environ.get("CONTENT_LENGTH") or 0))


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept open, as stores do

    def log(self, *args: Any) -> None:
        pass

    def connection_dropped(self, *args: Any) -> None:
        self.close_connection = True


@contextlib.contextmanager
def serving() -> Iterator[ObjectServer]:
    """A server with an empty bucket."""
    app = DomainDispatcherApplication(create_backend_app)
    with _listening(app) as back_door:
        server = ObjectServer(0, back_door)
        with _listening(_Faults(app, server)) as server.port:
            server.client().create_bucket(Bucket=BUCKET)
            yield server


@contextlib.contextmanager
def _listening(app: Any) -> Iterator[int]:
    http = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield http.server_port
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
