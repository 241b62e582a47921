"""`submit` against the real service: what it prints, also of a dossier that was pushed and refused before."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from archive_service.application import create_app
from archive_service.cli.push import Client, push, push_all
from archive_service.models import RoleName
from archive_service.samples.small import minimal_dossier
from tests.pipeline import Archive


@contextmanager
def served(archive: Archive) -> Iterator[str]:
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(archive.service), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listening.close()


def test_a_refused_dossier_pushed_again_tells_its_reasons_again(archive: Archive, tmp_path: Path) -> None:
    folder = minimal_dossier(tmp_path).folder
    submission_id = archive.push(folder)
    archive.work()
    archive.decide(submission_id, "reject", "sai hồ sơ")
    assert archive.submission(submission_id)["state"] == "REJECTED"
    token = archive.headers(RoleName.SUBMITTER)["Authorization"].removeprefix("Bearer ")
    with served(archive) as url, Client(url, token) as client:
        (outcome,) = push_all(client, [folder], wait=True)
    assert (outcome.submission_id, outcome.state, outcome.failed) == (submission_id, "REJECTED", True)
    told = [finding for finding in archive.submission(submission_id)["findings"] if finding["severity"] != "info"]
    assert told
    assert [line.split()[1] for line in outcome.problems] == [finding["code"] for finding in told]


def test_bytes_are_told_while_they_are_sent(archive: Archive, tmp_path: Path) -> None:
    """One large file may take an hour, with no dossier finished meanwhile."""
    folder = minimal_dossier(tmp_path).folder
    token = archive.headers(RoleName.SUBMITTER)["Authorization"].removeprefix("Bearer ")
    counts: list[int] = []
    with served(archive) as url, Client(url, token) as client:
        client.on_sent = counts.append
        outcome = push(client, folder)
    assert outcome.problems == []
    described = json.loads((folder / "dossier.json").read_text(encoding="utf-8"))["components"]
    assert sum(counts) == sum((folder / part["path"]).stat().st_size for part in described)
