"""`submit` against what is no archive service, and everything a folder's name or a mistyped address can hold: told, never a stack trace."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from archive_service.cli import build_app
from archive_service.cli.push import Client, Outcome, find_dossiers, push, wait_for
from archive_service.errors import BadRequest
from archive_service.samples.small import minimal_dossier


@contextmanager
def _other_server(status: int, body: bytes, *, location: str | None = None) -> Iterator[str]:
    """A web server that knows nothing of archives and answers everything the same way."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815 - the names are the library's

        def log_message(self, *_arguments: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "", "//x", "http://"])
def test_a_mistyped_address_is_told_at_once(url: str) -> None:
    with pytest.raises(BadRequest, match="not an address"):
        Client(url, "arch_x")


@pytest.mark.parametrize("token", ["té", "arch_x\nX-Other: 1", "arch_\x00"])
def test_a_token_no_header_can_carry_is_told_at_once(token: str) -> None:
    with pytest.raises(BadRequest, match="not a token"):
        Client("http://127.0.0.1:1", token)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (200, b"<html>hello</html>", "is the address right?"),
        (200, b"[]", "is the address right?"),
        (200, b"{}", "is the address right?"),
        (404, b"[1]", "HTTP 404"),
        (301, b"", "moved to https://elsewhere.example/"),
    ],
)
def test_another_web_server_is_no_archive_service(tmp_path: Path, status: int, body: bytes, told: str) -> None:
    folder = minimal_dossier(tmp_path).folder
    location = "https://elsewhere.example/" if status == 301 else None
    with _other_server(status, body, location=location) as url, Client(url, "arch_x") as client:
        outcome = push(client, folder)
        assert (outcome.state, outcome.failed) == ("FAILED", True)
        assert told in outcome.problems[0]
        waited = Outcome(path=folder, submission_id="1", state="CHECKING")
        wait_for(client, waited)
        assert waited.failed
        assert told in waited.problems[0]


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    folder = minimal_dossier(tmp_path).folder
    odd = folder.rename(folder.with_name("[red]hồ sơ[bold] [%s]"))
    with _other_server(422, b'{"code": "X", "detail": "[b]", "findings": []}') as url:
        result = CliRunner().invoke(
            build_app(("push", "searching")), ["submit", str(odd), "--url", url, "--token", "arch_x"]
        )
    assert result.exit_code == 1
    assert "[red]hồ sơ[bold] [%s]: FAILED\n    X: [b]\n" in result.output


def test_a_path_that_is_neither_file_nor_folder_is_told() -> None:
    with pytest.raises(BadRequest, match="Not a directory"):
        list(find_dossiers([Path("/dev/null")]))


def test_a_service_that_does_not_answer_is_asked_once_and_is_no_refusal(tmp_path: Path) -> None:
    folders = [minimal_dossier(tmp_path / name).folder for name in ("a", "b", "c")]
    with socket.socket() as deaf:  # bound and not listening: every connection is refused
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        arguments = ["submit", *map(str, folders), "--url", url, "--token", "arch_x"]
        done = CliRunner().invoke(build_app(("push",)), arguments)
    assert done.exit_code == 6
    assert done.stdout.count("FAILED") == 3
    assert done.stdout.count("not sent") == 2
