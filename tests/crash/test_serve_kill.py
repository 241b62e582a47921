"""`serve` itself, killed with its whole process group at random moments while a sender pushes: every acknowledged push exists once."""

import hashlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from archive_service import clock
from archive_service.audit import software
from archive_service.db import Database
from archive_service.identity.tokens import create_token
from archive_service.ingest.staging_upkeep import sweep_staging
from archive_service.models import Job, JobState, Record, RoleName, State, Submission
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from tests.crash.worlds import opened, sqlite_settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
DOSSIERS = 5
KILLS = 4
SEED = 20261122
READY_S = 60.0
DONE_S = 120.0


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIVE_")}
    return {**kept, "ARCHIVE_RENDITIONS": "false", "ARCHIVE_JOB_LEASE_S": "2", "ARCHIVE_WORKERS": "1"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


class Server:
    """`archive-service serve` as a process group of its own, started again after each kill."""

    def __init__(self, data: Path) -> None:
        self.port = free_port()
        self._command = [
            sys.executable,
            "-m",
            "archive_service",
            "serve",
            "--data",
            str(data),
            "--port",
            str(self.port),
        ]
        self._log = (data.parent / "serve.log").open("wb")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=environment(), stdout=self._log, stderr=self._log, start_new_session=True
        )

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, "serve ended by itself"
            try:
                if httpx.get(f"{self.url}/healthz", timeout=2).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        raise AssertionError("serve did not become ready")

    def end(self, number: signal.Signals) -> int:
        assert self._process is not None
        os.killpg(self._process.pid, number)
        return self._process.wait(timeout=60)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGKILL)
        self._log.close()


@contextmanager
def server(data: Path) -> Iterator[Server]:
    running = Server(data)
    try:
        yield running
    finally:
        running.close()


def submit(url: str, token: str, folders: list[Path]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "archive_service",
            "submit",
            *map(str, folders),
            "--url",
            url,
            "--token",
            token,
            "--no-wait",
            "--json",
        ],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def told(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, _ = process.communicate(timeout=120)
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def test_serve_killed_while_dossiers_are_pushed(tmp_path: Path, sqlite_template: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "archive.db").write_bytes(sqlite_template.read_bytes())
    settings = sqlite_settings(data)
    token = new_token(settings.resolved_database_url, RoleName.SUBMITTER)
    archivist = new_token(settings.resolved_database_url, RoleName.ARCHIVIST)
    folders = [
        minimal_dossier(tmp_path / "dossiers", code=f"000.00.16.H56-250314-{number:04d}").folder
        for number in range(DOSSIERS)
    ]
    chance = random.Random(SEED)  # noqa: S311 - a repeatable choice of moments
    acknowledged: dict[str, str] = {}
    with server(data) as running:
        running.start()
        running.wait_ready()
        for _ in range(KILLS):
            pushing = submit(running.url, token, folders)
            time.sleep(chance.uniform(0.2, 3.5))
            running.end(signal.SIGKILL)
            running.start()
            note(acknowledged, told(pushing))
            running.wait_ready()
            require_acknowledged(settings.resolved_database_url, acknowledged)
        note(acknowledged, told(submit(running.url, token, folders)))
        assert len(acknowledged) == DOSSIERS
        url = settings.resolved_database_url
        wait_until(url, State.AWAITING_APPROVAL)
        approve(running, archivist, acknowledged)
        time.sleep(chance.uniform(0.0, 1.0))
        running.end(signal.SIGKILL)
        running.start()
        running.wait_ready()
        wait_until(url, State.STORED)
        require_bytes(running, archivist, folders)
        assert running.end(signal.SIGTERM) == 0
    with opened(settings) as service:
        require_each_once(service, folders, acknowledged)


def new_token(url: str, role: RoleName) -> str:
    database = Database(url)
    with database.write() as session:
        token = create_token(session, name=role, role=role, agency=None, agent=software("tests"), at=clock.now())
    database.close()
    return token


def approve(running: Server, token: str, acknowledged: dict[str, str]) -> None:
    body = {"decision": "approve", "reason": "đủ điều kiện", "submission_ids": sorted(acknowledged.values())}
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx.post(f"{running.url}/api/v1/decisions", headers=headers, json=body, timeout=30)
    assert answer.status_code == 200, answer.text


def require_bytes(running: Server, token: str, folders: list[Path]) -> None:
    """Every file of every dossier is served with the bytes that were pushed."""
    headers = {"Authorization": f"Bearer {token}"}
    items = httpx.get(f"{running.url}/api/v1/records?limit=100", headers=headers, timeout=30).json()["items"]
    assert len(items) == len(folders)
    for folder in folders:
        dossier = json.loads((folder / "dossier.json").read_bytes())
        record = next(item for item in items if item["dossier_code"] == dossier["dossier_code"])
        for part in dossier["components"]:
            path = f"/api/v1/records/{record['id']}/components/{part['id']}/content"
            content = httpx.get(running.url + path, headers=headers, timeout=30).content
            assert hashlib.sha256(content).hexdigest() == part["sha256"].lower()


def note(acknowledged: dict[str, str], outcomes: list[dict[str, Any]]) -> None:
    """Keeps what the sender was told; the same dossier must always have the same submission."""
    for outcome in outcomes:
        if outcome["id"] is not None and outcome["state"] not in {"FAILED", "INCOMPLETE"}:
            name = Path(outcome["path"]).name
            assert acknowledged.setdefault(name, outcome["id"]) == outcome["id"]


def require_acknowledged(url: str, acknowledged: dict[str, str]) -> None:
    """Nothing a sender was told is lost, also while the service goes on."""
    database = Database(url)
    with database.read() as session:
        known = {str(value) for value in session.scalars(select(Submission.id))}
    database.close()
    assert set(acknowledged.values()) <= known


def wait_until(url: str, state: State) -> None:
    """Waits until every submission is in this state."""
    database = Database(url)
    deadline = time.monotonic() + DONE_S
    states: set[State] = set()
    while time.monotonic() < deadline and states != {state}:
        time.sleep(0.2)
        with database.read() as session:
            states = set(session.scalars(select(Submission.state)))
    database.close()
    assert states == {state}


def require_each_once(service: Service, folders: list[Path], acknowledged: dict[str, str]) -> None:
    wanted = Counter(json.loads((folder / "dossier.json").read_bytes())["dossier_code"] for folder in folders)
    with service.database.read() as session:
        submissions = session.scalars(select(Submission)).all()
        records = session.scalars(select(Record)).all()
        parked = session.scalars(select(Job).where(Job.state == JobState.PARKED)).all()
    assert Counter(submission.dossier_code for submission in submissions) == wanted
    assert Counter(record.dossier_code for record in records) == wanted
    assert {str(submission.id) for submission in submissions} == set(acknowledged.values())
    assert parked == []
    sweep_staging(service, at=clock.now() + timedelta(hours=3))
    assert [path for path in service.settings.staging_dir.rglob("*") if path.is_file()] == []
