"""A time-stamp authority on a loopback port, with faults on demand: what the client meets in the field."""

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from archive_service.evidence.local_tsa import LocalTsa
from archive_service.evidence.timestamps import MAX_REPLY_BYTES


class TsaServer:
    """Answers with tokens of `tsa` at time `at`; `fault` makes it misbehave."""

    def __init__(self, tsa: LocalTsa, at: datetime) -> None:
        self.tsa, self.at = tsa, at
        self.fault = ""
        self.requests = 0
        self.replay: bytes | None = None
        self._serials = itertools.count(1)
        outer = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.answer(self)

            def log_message(self, *_args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/tsa"

    def answer(self, exchange: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        request = exchange.rfile.read(int(exchange.headers["Content-Length"]))
        body = self.tsa.reply(request, at=self.at, serial_number=next(self._serials))
        status, content_type = 200, "application/timestamp-reply"
        if self.fault == "http-500":
            status = 500
        elif self.fault == "html":
            content_type, body = "text/html", b"<html>sign in</html>"
        elif self.fault == "huge":
            body = bytes(MAX_REPLY_BYTES + 1)
        elif self.fault == "garbage":
            body = b"\x30\x03\x02\x01"
        elif self.fault == "slow":
            time.sleep(1.5)
        elif self.fault == "replay":
            self.replay = self.replay or body
            body = self.replay
        elif self.fault == "redirect":
            status = 302
        exchange.send_response(status)
        exchange.send_header("Content-Type", content_type)
        exchange.send_header("Content-Length", str(len(body)))
        exchange.end_headers()
        try:
            exchange.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            self.fault = "client left"

    @contextmanager
    def running(self) -> Iterator["TsaServer"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
