"""Virus scan through clamd, three-valued: clean, infected, not scanned (D9, LESSONS 19).

Bytes are streamed (INSTREAM), so clamd needs no access to our files. A file above clamd's StreamMaxLength makes clamd
answer with a size error or reset the connection; either is NOT_SCANNED. clamd itself answers OK for files above its
MaxFileSize or MaxScanSize, therefore files above `ScanLimits.trusted_bytes` are never called clean: the operator sets
it to no more than the smallest of clamd's three limits.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

from archive_service.findings import Finding
from archive_service.formats.limits import MIB
from archive_service.formats.phrases import vietnamese
from archive_service.formats.report import shorten

_CHUNK_BYTES: Final = 256 * 1024
_REPLY_BYTES: Final = 4096
"""A reply is one line; more than this is not a clamd."""
_FOUND: Final = " FOUND"
_SIZE_LIMIT: Final = "size limit exceeded"


class Verdict(StrEnum):
    """What is known about malware in a file."""

    CLEAN = "CLEAN"
    INFECTED = "INFECTED"
    NOT_SCANNED = "NOT_SCANNED"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanLimits:
    """Bounds of one scan."""

    timeout_s: float = 60.0
    """Longest silence of clamd; its own MaxScanTime is 120 s, large files take longest in the first seconds."""
    trusted_bytes: int = 100 * MIB
    """Largest file a CLEAN is believed for: clamd's default MaxFileSize and StreamMaxLength are 100 MB (1.x)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """The answer of one scan."""

    verdict: Verdict
    reason: str = ""
    """Why it was not scanned; empty otherwise."""
    signature_name: str | None = None
    """Name of the malware signature that matched."""
    database_version: str | None = None
    """clamd's version line with its database number and date; None when clamd was not reached."""


DEFAULT: Final = ScanLimits()


def scan(source: Path | BinaryIO, address: str | None, limits: ScanLimits = DEFAULT) -> ScanResult:
    """Scans a file or stream for malware; never raises for what clamd or the network does.

    Args:
        source: a path, or a binary stream read from where it stands.
        address: `unix:/path/to/socket`, a plain socket path, or `tcp:host:port`; None or empty: none configured.
        limits: bounds of the scan.

    Raises:
        OSError: the path cannot be opened.
    """
    if not address:
        return _not_scanned("no clamd is configured")
    if isinstance(source, Path):
        with source.open("rb") as opened:
            return _scan(opened, address, limits)
    return _scan(source, address, limits)


def findings(result: ScanResult, location: str) -> tuple[Finding, ...]:
    """Returns the findings a scan result means for the file at `location`."""
    if result.verdict is Verdict.INFECTED:
        params = {"signature": result.signature_name or "?"}
        return (Finding(code="VIRUS_FOUND", location=location, params=params),)
    if result.verdict is Verdict.NOT_SCANNED:
        params = {"reason": result.reason, "reason_vi": vietnamese(result.reason)}
        return (Finding(code="VIRUS_NOT_SCANNED", location=location, params=params),)
    return ()


def version(address: str, limits: ScanLimits = DEFAULT) -> str | None:
    """Returns clamd's version line (engine, database number, database date); None when it does not answer."""
    try:
        with _connect(address, limits) as connection:
            connection.sendall(b"zVERSION\0")
            return shorten(_reply(connection)) or None
    except (OSError, ValueError):
        return None


def _not_scanned(reason: str, database_version: str | None = None) -> ScanResult:
    return ScanResult(verdict=Verdict.NOT_SCANNED, reason=shorten(reason), database_version=database_version)


def _scan(source: BinaryIO, address: str, limits: ScanLimits) -> ScanResult:
    database = version(address, limits)
    if database is None:
        return _not_scanned("clamd does not answer")
    try:
        with _connect(address, limits) as connection:
            sent = _stream(connection, source)
            reply = _reply(connection)
    except TimeoutError:
        return _not_scanned(f"clamd did not answer within {limits.timeout_s:g} s", database)
    except (OSError, ValueError) as exc:
        return _not_scanned(f"clamd broke off: {exc}", database)
    return _interpret(reply, sent, limits, database)


def _interpret(reply: str, sent: int | None, limits: ScanLimits, database: str) -> ScanResult:
    """Reads a reply: `stream: OK`, `stream: <name> FOUND`, or an error."""
    if reply.endswith(_FOUND):
        name = reply.removeprefix("stream: ").removesuffix(_FOUND)
        return ScanResult(verdict=Verdict.INFECTED, signature_name=shorten(name, 120), database_version=database)
    if _SIZE_LIMIT in reply.lower():
        return _not_scanned("larger than clamd's size limit", database)
    if reply != "stream: OK":
        return _not_scanned(f"clamd says: {reply}" if reply else "clamd closed the connection", database)
    if sent is None:
        return _not_scanned("clamd closed the connection before the end of the file", database)
    if sent > limits.trusted_bytes:
        return _not_scanned(f"larger than {limits.trusted_bytes} bytes, clamd scans only a part", database)
    return ScanResult(verdict=Verdict.CLEAN, database_version=database)


def _stream(connection: socket.socket, source: BinaryIO) -> int | None:
    """Sends the bytes as INSTREAM chunks; returns how many, or None when clamd closed the connection before the end.

    clamd answers before it closes (size limit), so a broken pipe here is no error yet: the reply is read next.
    """
    sent = 0
    try:
        connection.sendall(b"zINSTREAM\0")
        for chunk in _chunks(source):
            connection.sendall(struct.pack(">I", len(chunk)) + chunk)
            sent += len(chunk)
        connection.sendall(struct.pack(">I", 0))
    except (BrokenPipeError, ConnectionResetError):
        return None
    return sent


def _chunks(source: BinaryIO) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK_BYTES):
        yield chunk


def _reply(connection: socket.socket) -> str:
    """Reads up to the closing NUL; a reset after an answer does not take the answer away."""
    received = b""
    while b"\0" not in received and len(received) < _REPLY_BYTES:
        try:
            part = connection.recv(_REPLY_BYTES)
        except ConnectionResetError:
            break
        if not part:
            break
        received += part
    return received.split(b"\0", maxsplit=1)[0].decode("utf-8", "replace").strip()


def _connect(address: str, limits: ScanLimits) -> socket.socket:
    """Opens a connection.

    Raises:
        OSError: clamd cannot be reached.
        ValueError: the address is malformed.
    """
    if address.startswith("tcp:"):
        host, _, port = address.removeprefix("tcp:").rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout=limits.timeout_s)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(limits.timeout_s)
        connection.connect(address.removeprefix("unix:"))
    except BaseException:
        connection.close()
        raise
    return connection
