"""A real clamd with a signature database of our own: one line for the EICAR test file, which is built from parts."""

import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from archive_service.formats.virus import version

EICAR_PARTS = ("X5O!P%@AP[4\\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS", "-TEST-FILE!$H+H*")
START_TIMEOUT_S = 60.0
STREAM_MAX = "64K"


class NoClamdError(Exception):
    """clamd is not installed or does not start."""


@dataclass(frozen=True, slots=True)
class Clamd:
    """A running clamd."""

    address: str
    process: "subprocess.Popen[bytes]"


def eicar() -> bytes:
    """Returns the EICAR test file; it stands in no file of this repository."""
    return "".join(EICAR_PARTS).encode()


@contextmanager
def running_clamd() -> Iterator[Clamd]:
    """Starts clamd in a folder of its own and stops it afterwards."""
    program = shutil.which("clamd") or shutil.which("clamd", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise NoClamdError("no clamd program found")
    with tempfile.TemporaryDirectory(prefix="clamd-") as name:  # short: a socket path has at most 107 bytes
        folder = Path(name)
        _write_files(folder)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, "-F", "-c", str(folder / "clamd.conf")], stdout=log, stderr=log)
        try:
            _await(process, folder)
            yield Clamd(address=f"unix:{folder / 'socket'}", process=process)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _write_files(folder: Path) -> None:
    (folder / "db").mkdir()
    content = eicar()
    line = f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}:{len(content)}:Test.EICAR\n"
    (folder / "db" / "own.hdb").write_text(line)
    (folder / "clamd.conf").write_text(
        f"Foreground yes\nDatabaseDirectory {folder / 'db'}\nLocalSocket {folder / 'socket'}\n"
        f"TemporaryDirectory {folder}\nStreamMaxLength {STREAM_MAX}\nConcurrentDatabaseReload no\n"
    )


def _await(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise NoClamdError(f"clamd ended at once: {(folder / 'log').read_text()[-300:]}")
        if (folder / "socket").exists() and version(str(folder / "socket")):
            return
        time.sleep(0.1)
    process.kill()
    raise NoClamdError(f"clamd did not answer within {START_TIMEOUT_S:g} s")
