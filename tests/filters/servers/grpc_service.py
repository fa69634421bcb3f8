"""A real gRPC server on loopback for one method, told how to behave call by call."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

# Answers a request: a message, or bytes that needn't be one.
Behaviour = Callable[[Any, grpc.ServicerContext], Any]


class GrpcService:
    """Serves `service/method` at `address`; calls follow `script`, and after it `answer`.

    requests: every request that arrived, in order.
    """

    def __init__(self, service: str, method: str, request: type[Any], answer: Behaviour) -> None:
        self._answer = answer
        self.script: deque[Behaviour] = deque()
        self.forever: Behaviour | None = None
        self.requests: list[Any] = []
        handler = grpc.unary_unary_rpc_method_handler(
            self._behave,
            request_deserializer=request.deserialize,
            response_serializer=_serialized,
        )
        # The default refuses 4 MB; the services take more, and say so in words of their own.
        options = (("grpc.max_receive_message_length", 40 << 20),)
        self._server = grpc.server(ThreadPoolExecutor(4), options=options)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.address = f"127.0.0.1:{port}"

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
        self._server.stop(0).wait()

    def _behave(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        behaviour = self.script.popleft() if self.script else self.forever or self._answer
        return behaviour(request, context)


def fails(code: grpc.StatusCode, retry_after_s: int | None = None) -> Behaviour:
    """Fails with that status, and quotes the request in its message as careless servers do."""

    def behave(request: Any, context: grpc.ServicerContext) -> Any:
        message = f"cannot process {request}"[:4000].encode("ascii", "replace").decode()
        if retry_after_s is not None:
            status = Status(code=code.value[0], message=message)
            status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=retry_after_s)))
            context.set_trailing_metadata(
                (("grpc-status-details-bin", status.SerializeToString()),)
            )
        context.abort(code, message)

    return behave


def hangs(seconds: float) -> Behaviour:
    """Doesn't answer for so long, and not at all once the caller has gone."""

    def behave(request: Any, context: grpc.ServicerContext) -> Any:
        gone = threading.Event()
        context.add_callback(gone.set)
        gone.wait(seconds)
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "too slow")

    return behave


def says(answer: Any) -> Behaviour:
    """Answers with these bytes or this message, whatever was asked."""
    return lambda request, context: answer


def _serialized(answer: Any) -> bytes:
    return answer if isinstance(answer, bytes) else type(answer).serialize(answer)


class CuttingProxy:
    """Passes TCP on to a server, and cuts the next `cuts` connections once an answer begins."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.cuts = 0
        self.cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                client.close()
                continue
            sent = threading.Event()
            for job in ((self._forward, client, server, sent), (self._back, server, client, sent)):
                threading.Thread(target=job[0], args=job[1:], daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, sent: threading.Event) -> None:
        total = 0
        for piece in _pieces(client):
            total += len(piece)
            # The connection's preface and settings are some 60 bytes; more is a call.
            if total > 400:
                sent.set()
            try:
                server.sendall(piece)
            except OSError:
                break
        _shut(client, server)

    def _back(self, server: socket.socket, client: socket.socket, sent: threading.Event) -> None:
        for piece in _pieces(server):
            if sent.is_set() and self.cut < self.cuts:
                self.cut += 1
                break
            try:
                client.sendall(piece)
            except OSError:
                break
        _shut(client, server)


def _pieces(source: socket.socket) -> Iterable[bytes]:
    try:
        while piece := source.recv(65_536):
            yield piece
    except OSError:
        return


def _shut(*sockets: socket.socket) -> None:
    for one in sockets:
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            one.close()
