"""A small HTTP proxy in front of the real S3 server that goes wrong on purpose and writes down what it was asked.

One request per connection: head and body are read, a fault may be chosen for it, then it goes to the server and the
answer comes back. It never changes a request, so signatures stay valid.
"""

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from archive_service import clock

_READ_BYTES = 64 * 1024
_LINGER_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What boto3 really sent."""

    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request; the defaults change nothing."""

    refuse_after_bytes: int | None = None
    """Close the client's connection after this much of the request body; the server sees nothing of it."""
    answer: bytes | None = None
    """Give this whole HTTP answer instead of asking the server."""
    lose_answer: bool = False
    """Let the server do it, then close without a word."""
    delay_s: float = 0.0
    """Wait before the answer's first byte."""
    cut_answer_after_bytes: int | None = None
    """Close after this many bytes of the answer (head included)."""
    flip_answer_byte: int | None = None
    """Change one bit of the answer's body at this place."""
    trickle_bytes: int | None = None
    """Give the answer in pieces of this size with short pauses."""


def http_error(status: int, code: str) -> bytes:
    """Returns an S3 error answer."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>on purpose</Message></Error>'.encode()
    head = f"HTTP/1.1 {status} On Purpose\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class FaultProxy:
    """Listens on loopback while used as a context manager; `choose` picks a fault per request."""

    upstream_port: int
    choose: Callable[[Request], Fault] = field(default=lambda _request: Fault())
    requests: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5)

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:  # closed: the test is over
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(_LINGER_S)
        with client, contextlib.suppress(OSError):  # either side may hang up at any time
            head = _read_head(client)
            if head is None:
                return
            method, target, headers, raw, early = head
            length = int(headers.get("content-length", "0"))
            bare = Request(method=method, target=target, headers=headers, body=b"")
            fault = self.choose(bare)
            if headers.get("expect", "").lower() == "100-continue" and not early:
                client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            wanted = length if fault.refuse_after_bytes is None else min(length, fault.refuse_after_bytes)
            body = _read_body(client, early, wanted)
            self.requests.append(Request(method=method, target=target, headers=headers, body=body))
            if fault.refuse_after_bytes is None:
                self._answer(client, fault, raw, body)

    def _answer(self, client: socket.socket, fault: Fault, raw: bytes, body: bytes) -> None:
        if fault.answer is not None:
            clock.sleep(fault.delay_s)
            client.sendall(fault.answer)
            return
        with socket.create_connection(("127.0.0.1", self.upstream_port), timeout=_LINGER_S) as server:
            server.sendall(raw + body)
            if fault.lose_answer:
                while server.recv(_READ_BYTES):
                    pass
                return
            clock.sleep(fault.delay_s)
            _relay(server, client, fault)


def _read_head(client: socket.socket) -> tuple[str, str, dict[str, str], bytes, bytes] | None:
    """Returns method, target, headers, the head to send on, and what came of the body; None when the client hung up."""
    seen = b""
    while b"\r\n\r\n" not in seen:
        piece = client.recv(_READ_BYTES)
        if not piece:
            return None
        seen += piece
    head, _, early = seen.partition(b"\r\n\r\n")
    request_line, *lines = head.decode("latin-1").split("\r\n")
    method, target, _version = request_line.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    kept = [line for line in lines if line.partition(":")[0].lower() not in {"connection", "expect"}]
    raw = "\r\n".join([request_line, *kept, "Connection: close", "", ""]).encode("latin-1")
    return method, target, headers, raw, early


def _read_body(client: socket.socket, early: bytes, wanted: int) -> bytes:
    body = bytearray(early)
    while len(body) < wanted:
        piece = client.recv(min(_READ_BYTES, wanted - len(body)))
        if not piece:
            break
        body += piece
    return bytes(body)


def _relay(server: socket.socket, client: socket.socket, fault: Fault) -> None:
    """Passes the answer on, spoiling it as asked."""
    passed = 0
    body_at: int | None = None
    seen = b""
    while piece := server.recv(fault.trickle_bytes or _READ_BYTES):
        if body_at is None:
            seen += piece
            if b"\r\n\r\n" in seen:
                body_at = seen.index(b"\r\n\r\n") + 4
        if fault.flip_answer_byte is not None and body_at is not None:
            place = body_at + fault.flip_answer_byte - passed
            if 0 <= place < len(piece):
                piece = piece[:place] + bytes([piece[place] ^ 1]) + piece[place + 1 :]
        if fault.cut_answer_after_bytes is not None and passed + len(piece) > fault.cut_answer_after_bytes:
            client.sendall(piece[: fault.cut_answer_after_bytes - passed])
            return
        client.sendall(piece)
        passed += len(piece)
        if fault.trickle_bytes:
            clock.sleep(0.001)
