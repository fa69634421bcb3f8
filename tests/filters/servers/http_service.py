"""A real HTTP server on loopback, told how to behave call by call."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

# Answers a POST: the handler writes, the request's parsed body is the second argument.
Behaviour = Callable[[BaseHTTPRequestHandler, Any], None]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class HttpService:
    """Answers POST at `url`; calls follow `script`, and after it `answer`.

    requests: (path, headers, body) of every request that arrived, in order.
    """

    def __init__(self, answer: Behaviour) -> None:
        self._answer = answer
        self.script: deque[Behaviour] = deque()
        self.forever: Behaviour | None = None
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self._server = _Server(("127.0.0.1", 0), self._handler())
        Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def then(self, *behaviours: Behaviour) -> None:
        """The next calls go so, one each."""
        self.script.extend(behaviours)

    def always(self, behaviour: Behaviour) -> None:
        """Every call goes so."""
        self.forever = behaviour

    def recover(self) -> None:
        """Every call is answered again."""
        self.forever = None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _behave(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.requests.append((handler.path, dict(handler.headers), body))
        behaviour = self.script.popleft() if self.script else self.forever or self._answer
        behaviour(handler, body)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                try:
                    service._behave(self)
                except OSError:  # the client went away
                    self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def write(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    """A whole response."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def says(status: int, body: Any, **headers: str) -> Behaviour:
    """Answers with this JSON, or with these bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return lambda handler, request: write(handler, status, content, **headers)


def fails(status: int, details: list[Any] | None = None, **headers: str) -> Behaviour:
    """Google's error object; the message quotes the request and the key, as careless servers do."""

    def behave(handler: BaseHTTPRequestHandler, request: Any) -> None:
        message = f"cannot process {request} for {handler.headers['X-Goog-Api-Key']}"
        error = {"code": status, "message": message, "details": details or []}
        write(handler, status, json.dumps({"error": error}).encode(), **headers)

    return behave


def hangs(seconds: float) -> Behaviour:
    """Says nothing for so long, and then closes."""

    def behave(handler: BaseHTTPRequestHandler, request: Any) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return behave


def drips(seconds: float) -> Behaviour:
    """Sends a byte now and then, so that no single wait is long."""

    def behave(handler: BaseHTTPRequestHandler, request: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.02)
        handler.close_connection = True

    return behave


def drops(handler: BaseHTTPRequestHandler, request: Any) -> None:
    """Closes without a word."""
    handler.close_connection = True


def drops_midway(handler: BaseHTTPRequestHandler, request: Any) -> None:
    """Closes in the middle of a body that promised more."""
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"attributeScores": {"TOXICITY": {"summaryScore": {"value": 0.0')
    handler.close_connection = True


def chunked(body: Any) -> Behaviour:
    """Answers with this JSON in chunks of three bytes, as Google's front ends do with larger."""
    content = json.dumps(body).encode()

    def behave(handler: BaseHTTPRequestHandler, request: Any) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(content), 3):
            piece = content[start : start + 3]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    return behave
