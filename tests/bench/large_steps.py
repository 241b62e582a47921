"""What is done with a large package after it was stored, as an operator and a reader do it: commands, and downloads from a running server.

Each step is a process of its own; its processor time and largest resident set are the kernel's numbers for it and the processes it started.
"""

import hashlib
import http.client
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from archive_service import clock
from archive_service.audit import software
from archive_service.digests import CHUNK_BYTES
from archive_service.identity.tokens import create_token
from archive_service.models import Aip, Component, RoleName
from archive_service.service import open_service
from archive_service.settings import load_settings
from archive_service.storage.port import store_key
from archive_service.storage.ranged import opened_anywhere

START_LIMIT_S: Final = 60.0
ANSWER_LIMIT_S: Final = 3600.0
"""A large component is read through before its first byte is sent."""
LAST_BYTES: Final = 1_000_000
_INDETERMINATE: Final = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The package at hand."""

    data: Path
    record_id: str
    sha256: str
    store_key: str
    entry_offset: int
    component_id: str
    component_bytes: int
    token: str
    path: Path | None
    """Where it lies, None when its first location is no folder."""

    def at_first_location(self, offset: int, length: int) -> bytes:
        """Returns bytes of the package as its first location holds them."""
        service = open_service(load_settings(data_dir=self.data), migrate=False)
        store = service.stores[min(service.stores)]
        with opened_anywhere(store, store_key(self.store_key)) as source:
            source.seek(offset)
            content = source.read(length)
        service.close()
        return content


def stored(data: Path) -> Stored:
    """Looks up the only package, the largest component, and makes a reader's token."""
    service = open_service(load_settings(data_dir=data), migrate=False)
    with service.database.write() as session:
        aip = session.scalars(select(Aip)).one()
        query = select(Component).where(Component.aip_id == aip.id).order_by(Component.declared_size_bytes.desc())
        component = session.scalars(query.limit(1)).one()
        token = create_token(
            session,
            name="bench",
            role=RoleName.OFFICER,
            agency=None,
            agent=software("bench"),
            at=clock.unique_now(),
        )
        found = Stored(
            data=data,
            record_id=str(aip.record_id),
            sha256=aip.sha256,
            store_key=aip.store_key,
            entry_offset=component.entry_offset or 0,
            component_id=component.component_id,
            component_bytes=component.declared_size_bytes,
            token=token,
            path=next(iter((data / "storage").rglob(aip.store_key.rpartition("/")[2])), None),
        )
    service.close()
    return found


# ------------------------------------------------------------------ processes and what they cost


def _ended(process: subprocess.Popen[bytes], started_s: float) -> dict[str, Any]:
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "seconds": round(clock.monotonic_s() - started_s, 1),
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": used.ru_maxrss // 1024,
    }


def command(data: Path, *words: str, passing: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Runs a command of the service and returns what it cost.

    Raises:
        RuntimeError: it ended with another code than those of `passing`.
    """
    started_s = clock.monotonic_s()
    said = data.parent / "said.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "archive_service", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | {"ARCHIVE_DATA_DIR": str(data)},
        )
        costs = _ended(process, started_s)
    if process.returncode not in passing:
        raise RuntimeError(f"{' '.join(words)}: code {process.returncode}: {said.read_text(errors='replace')[-2000:]}")
    return costs


@contextmanager
def _server(data: Path, costs: dict[str, Any]) -> Iterator[int]:
    """Yields the port of a running API; its costs are there when it has ended."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = int(held.getsockname()[1])
    started_s = clock.monotonic_s()
    process = subprocess.Popen(
        [sys.executable, "-m", "archive_service", "api", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"ARCHIVE_DATA_DIR": str(data)},
    )
    try:
        while not _answers(port):
            if clock.monotonic_s() > started_s + START_LIMIT_S:
                raise RuntimeError("the server does not answer")
            clock.sleep(0.2)
        yield port
    finally:
        process.terminate()
        costs.update(_ended(process, started_s))


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def _get(port: int, path: str, token: str, **headers: str) -> tuple[http.client.HTTPResponse, float]:
    """Returns the answer at its first byte, and how long that took in seconds."""
    started_s = clock.monotonic_s()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_LIMIT_S)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}", **headers})
    return connection.getresponse(), round(clock.monotonic_s() - started_s, 1)


# ------------------------------------------------------------------ steps


def _verify(package: Stored) -> dict[str, Any]:
    if package.path is None:
        return {"not_run": "the first location is no folder"}
    return command(package.data, "verify", str(package.path), passing=(0, _INDETERMINATE))


def _check_stores(package: Stored) -> dict[str, Any]:
    service = open_service(load_settings(data_dir=package.data), migrate=False)
    names = sorted(service.stores)
    service.close()
    return {name: command(package.data, "check-store", name) for name in names}


def _fixity(package: Stored) -> dict[str, Any]:
    return command(package.data, "fixity")


def _rebuild(package: Stored) -> dict[str, Any]:
    service = open_service(load_settings(data_dir=package.data), migrate=False)
    last = max(service.stores)
    service.close()
    into = f"sqlite:///{package.data / 'rebuilt.db'}"
    costs = command(package.data, "rebuild", "--from", last, "--into", into, "--compare")
    told = re.findall(r"state hash (\w+)", (package.data.parent / "said.txt").read_text())
    return costs | {"from": last, "state_hash": told[0]}


def _last_bytes(package: Stored) -> dict[str, Any]:
    """The end of the component, twice: the first time all of it is read and compared before."""
    costs: dict[str, Any] = {}
    first, last = package.component_bytes - LAST_BYTES, package.component_bytes - 1
    expected = package.at_first_location(package.entry_offset + first, LAST_BYTES)
    with _server(package.data, costs) as port:
        for name in ("first_byte_s", "first_byte_again_s"):
            path = f"/api/v1/records/{package.record_id}/components/{package.component_id}/content"
            answer, costs[name] = _get(port, path, package.token, Range=f"bytes={first}-")
            wanted = f"bytes {first}-{last}/{package.component_bytes}"
            if (answer.status, answer.headers["Content-Range"]) != (http.client.PARTIAL_CONTENT, wanted):
                raise RuntimeError(f"{answer.status} {answer.headers.items()}")
            if answer.read() != expected:
                raise RuntimeError("other bytes than the package has there")
    return costs


def _whole_package(package: Stored) -> dict[str, Any]:
    costs: dict[str, Any] = {}
    with _server(package.data, costs) as port:
        answer, costs["first_byte_s"] = _get(port, f"/api/v1/records/{package.record_id}/aip", package.token)
        state, length = hashlib.sha256(), 0
        while chunk := answer.read(CHUNK_BYTES):
            state.update(chunk)
            length += len(chunk)
    if (state.hexdigest(), str(length)) != (package.sha256, answer.headers["Content-Length"]):
        raise RuntimeError(f"{length} bytes of other content came, {answer.headers['Content-Length']} were announced")
    return costs | {"bytes": length}


def _dispute(package: Stored) -> dict[str, Any]:
    """The dispute package and its verification; it holds the package and the originals, so it is twice as large."""
    target = package.data.parent / "dispute.zip"
    made = command(package.data, "dispute", package.record_id, "-o", str(target))
    verified = command(package.data, "verify", str(target), passing=(0, _INDETERMINATE))
    size_bytes = target.stat().st_size
    target.unlink()
    return {"made": made, "verified": verified, "bytes": size_bytes}


STEPS: Final[dict[str, Callable[[Stored], dict[str, Any]]]] = {
    "verify": _verify,
    "check_store": _check_stores,
    "rebuild": _rebuild,
    "fixity": _fixity,
    "last_bytes": _last_bytes,
    "whole_package": _whole_package,
    "dispute": _dispute,
}
"""In their order; `rebuild` before what leaves rows and events behind that are not sealed."""
