"""Virus scan against a real clamd: three answers, never two."""

import io
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive_service.formats.virus import ScanLimits, Verdict, findings, scan
from tests.unit.formats.clamd_server import Clamd, NoClamdError, eicar, running_clamd


@pytest.fixture(scope="module")
def clamd(not_run) -> Iterator[Clamd]:
    try:
        with running_clamd() as server:
            yield server
    except NoClamdError as exc:
        not_run("clamd", str(exc))


def codes(result) -> list[str]:
    return [finding.code for finding in findings(result, "c1")]


@pytest.mark.clamd
def test_clean_file(clamd, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"Cong hoa xa hoi chu nghia Viet Nam")
    result = scan(path, clamd.address)
    assert (result.verdict, result.reason, codes(result)) == (Verdict.CLEAN, "", [])
    assert result.database_version is not None
    assert result.database_version.startswith("ClamAV")


@pytest.mark.clamd
def test_infected_stream(clamd):
    result = scan(io.BytesIO(eicar()), clamd.address)
    assert result.verdict is Verdict.INFECTED
    assert result.signature_name is not None
    assert result.signature_name.startswith("Test.EICAR")
    assert codes(result) == ["VIRUS_FOUND"]


@pytest.mark.clamd
def test_file_over_clamds_limit_is_not_scanned(clamd):
    result = scan(io.BytesIO(b"x" * 3_000_000), clamd.address)
    assert result.verdict is Verdict.NOT_SCANNED
    assert "limit" in result.reason or "closed" in result.reason
    assert codes(result) == ["VIRUS_NOT_SCANNED"]


@pytest.mark.clamd
def test_file_above_what_is_trusted_is_never_clean(clamd):
    result = scan(io.BytesIO(b"x" * 2000), clamd.address, ScanLimits(trusted_bytes=1000))
    assert result.verdict is Verdict.NOT_SCANNED
    assert "1000" in result.reason


@pytest.mark.clamd
def test_clamd_that_stops_answering_is_not_scanned(clamd):
    os.kill(clamd.process.pid, signal.SIGSTOP)
    try:
        result = scan(io.BytesIO(b"x"), clamd.address, ScanLimits(timeout_s=0.5))
    finally:
        os.kill(clamd.process.pid, signal.SIGCONT)
    assert result.verdict is Verdict.NOT_SCANNED


@pytest.mark.parametrize("address", [None, "", "unix:/nonexistent/clamd.sock", "tcp:127.0.0.1:1", "tcp:nonsense"])
def test_without_a_clamd_nothing_is_clean(address):
    result = scan(io.BytesIO(b"x"), address)
    assert result.verdict is Verdict.NOT_SCANNED
    assert result.reason


def one_answer_server(folder: str, replies: list[bytes]) -> Path:
    """A peer that accepts, answers each connection with the next reply, and hangs up."""
    path = Path(folder) / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve():
        for reply in replies:
            connection, _ = listener.accept()
            connection.recv(1 << 20)
            connection.sendall(reply)
            connection.close()
        listener.close()

    threading.Thread(target=serve, daemon=True).start()
    return path


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"INSTREAM size limit exceeded. ERROR\0", "size limit"),
        (b"", "closed"),
        (b"stream: Can't allocate memory ERROR\0", "clamd says"),
        (b"HTTP/1.1 200 OK\r\n\r\n\0", "clamd says"),
    ],
)
def test_any_answer_but_ok_is_not_scanned(reply, reason):
    with tempfile.TemporaryDirectory() as folder:
        path = one_answer_server(folder, [b"ClamAV test\0", reply])
        result = scan(io.BytesIO(b"x"), f"unix:{path}")
    assert result.verdict is Verdict.NOT_SCANNED
    assert reason in result.reason
