"""Runs a step of the pipeline in a process of its own and kills that process (SIGKILL) at its n-th boundary.

A boundary is a place where a durable step begins or ends: a transaction, a file made durable, a copy put, a copy read back, a staging
folder removed. Nothing in the product knows of them: they are put around its functions here, in the process that is going to die.

One helper process (`python -m tests.crash.pipeline_faults`) imports everything once and forks for each order it reads, so that a kill
costs milliseconds. It opens no database, starts no thread and loads no native format library itself: a fork takes none of these along.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from sqlalchemy.orm import configure_mappers

from archive_service import clock
from archive_service.application import create_app
from archive_service.audit import software
from archive_service.copies import register
from archive_service.db import Database, Work
from archive_service.identity.permissions import operator
from archive_service.ingest.checkers import InlineCheckers
from archive_service.ingest.policies import load_policies
from archive_service.ingest.staging_upkeep import sweep_staging
from archive_service.jobs import queue, work
from archive_service.jobs.worker import run_next
from archive_service.models import Job, JobKind, JobState
from archive_service.service import Service
from archive_service.settings import Settings
from archive_service.storage import durable
from archive_service.storage.durable import DurableFile
from archive_service.storage.filesystem import FilesystemStore
from archive_service.transfer import store as transfer_store

ROOT = Path(__file__).resolve().parents[2]
ACKNOWLEDGED = "acknowledged.jsonl"
"""What the step was told is done before it died, in the data folder; one JSON value a line."""


# ------------------------------------------------------------------ boundaries


class _Boundaries:
    """Counts boundaries, writes each into a pipe, and kills this process at the n-th."""

    def __init__(self, kill_at: int, out: int) -> None:
        self._kill_at = kill_at
        self._out = out
        self._seen = 0

    def reached(self, label: str) -> None:
        self._seen += 1
        os.write(self._out, f"{label}\n".encode())
        if self._seen == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()


def _around(reached: Callable[[str], None], label: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def with_boundaries(*args: Any, **named: Any) -> Any:
        reached(f"before {label}")
        answer = function(*args, **named)
        reached(f"after {label}")
        return answer

    return with_boundaries


def _set_boundaries(reached: Callable[[str], None]) -> None:
    """Puts boundaries around every durable step, for the rest of this process's life."""
    patch = pytest.MonkeyPatch()

    def around_transaction(begin: Callable[[Database], AbstractContextManager[Work]]) -> Callable[..., Any]:
        @contextmanager
        def write(self: Database) -> Iterator[Work]:
            reached("before transaction")
            with begin(self) as work:
                yield work
                reached("before commit")
            reached("after commit")

        return write

    def discard(folder: Path) -> None:
        reached("before discard")
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        if files:
            files[0].unlink()
            reached("half discarded")
        remove_flat_folder(folder)
        reached("after discard")

    remove_flat_folder = durable.remove_flat_folder
    patch.setattr(Database, "write", around_transaction(Database.write))
    patch.setattr(Database, "write_prepared", around_transaction(Database.write_prepared))
    patch.setattr(durable, "remove_flat_folder", discard)
    patch.setattr(DurableFile, "commit", _around(reached, "file", DurableFile.commit))
    patch.setattr(DurableFile, "_publish", _around(reached, "publish", DurableFile._publish))
    patch.setattr(FilesystemStore, "put", _around(reached, "put", FilesystemStore.put))
    for module, name in ((transfer_store, "read_back_alike"), (register, "read_back")):
        patch.setattr(module, name, _around(reached, "read back", getattr(module, name)))


# ------------------------------------------------------------------ steps of the pipeline


def _acknowledge(service: Service, **what: Any) -> None:
    with (service.settings.data_dir / ACKNOWLEDGED).open("a") as out:
        out.write(json.dumps(what) + "\n")
        out.flush()
        os.fsync(out.fileno())


def push_folder(service: Service, *, folder: str, token: str) -> None:
    """Open, upload, complete over HTTP, as a sender does who knows nothing of an earlier try."""
    source = Path(folder)
    description = (source / "dossier.json").read_bytes()
    paths = {part["id"]: part["path"] for part in json.loads(description)["components"]}
    with TestClient(create_app(service), headers={"Authorization": f"Bearer {token}"}) as http:
        opened = http.post("/api/v1/submissions", content=description).raise_for_status().json()
        _acknowledge(service, opened=opened["id"])
        for upload in opened["uploads"]:
            http.put(upload["url"], content=(source / paths[upload["component_id"]]).read_bytes()).raise_for_status()
            _acknowledge(service, received=upload["component_id"])
        http.post(f"/api/v1/submissions/{opened['id']}/complete").raise_for_status()
        _acknowledge(service, completed=opened["id"])


def push_package(service: Service, *, package: str, token: str) -> None:
    """One-shot ZIP over HTTP."""
    with TestClient(create_app(service), headers={"Authorization": f"Bearer {token}"}) as http:
        opened = http.post("/api/v1/packages", content=Path(package).read_bytes()).raise_for_status().json()
        _acknowledge(service, opened=opened["id"])
        _acknowledge(service, completed=opened["id"])


def run_jobs(service: Service, *, kinds: list[str]) -> None:
    """A worker that does what is due; silent workers' jobs are taken back first, as if their leases had ended."""
    registry = work.load_registry(checkers=InlineCheckers())
    chosen = {kind: function for kind, function in registry.items() if not kinds or kind.value in kinds}
    with service.database.write() as session:
        session.execute(update(Job).where(Job.state == JobState.RUNNING).values(lease_until=clock.now()))
        queue.release_expired(session, clock.now() + timedelta(milliseconds=1), max_attempts=1000)
    while run_next(service.database, service.settings, chosen, threading.Event(), owner="crash-test"):
        pass


def issue_copy(service: Service, *, record_id: str, request_id: str) -> None:
    """Issues a certified copy under a request id of the caller."""
    request = register.CopyRequest(
        record_id=UUID(record_id),
        component_id="c01",
        purpose="nộp hồ sơ vay vốn",
        recipient="Ngân hàng",
        place="Hải Dương",
        position="Chuyên viên",
        request_id=UUID(request_id),
    )
    copy = register.issue_copy(service, request, operator(software("tests")), at=clock.unique_now())
    _acknowledge(service, copy=str(copy.id), pdf_sha256=copy.pdf_sha256)


def sweep(service: Service) -> None:
    """The nightly sweep of staging, a day later."""
    sweep_staging(service, at=clock.now() + timedelta(days=1))


STEPS: dict[str, Callable[..., None]] = {
    step.__name__: step for step in (push_folder, push_package, run_jobs, issue_copy, sweep)
}


# ------------------------------------------------------------------ the helper process


def _child(order: dict[str, Any], out: int) -> int:
    try:
        settings = Settings.model_validate(order["settings"])
        service = Service(settings=settings, database=Database(settings.resolved_database_url))
        if order["kill_at"] >= 0:
            _set_boundaries(_Boundaries(order["kill_at"], out).reached)
        STEPS[order["step"]](service, **order["arguments"])
        service.close()
    except BaseException:  # noqa: BLE001 - the only way out of this process is its exit code
        traceback.print_exc()
        return 1
    return 0


def _serve() -> None:
    """Forks for each order on standard input; answers with how the child ended and which boundaries it reached."""
    for line in sys.stdin:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            code = _child(json.loads(line), writing)
            sys.stderr.flush()
            os._exit(code)
        os.close(writing)
        with os.fdopen(reading) as labels:
            reached = labels.read().splitlines()
        _, status = os.waitpid(child, 0)
        print(json.dumps({"status": os.waitstatus_to_exitcode(status), "reached": reached}), flush=True)  # noqa: T201


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How one run of a step ended."""

    killed: bool
    reached: list[str]
    """Boundaries in order; the last is where it died."""


class Victims:
    """The helper process; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.pipeline_faults"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate()

    def run(self, settings: Settings, step: Callable[..., None], *, kill_at: int = -1, **arguments: Any) -> Run:
        """Runs a step, killed at boundary `kill_at` (from 1; 0 counts only, -1 sets none)."""
        order = {
            "settings": settings.model_dump(mode="json"),
            "step": step.__name__,
            "arguments": arguments,
            "kill_at": kill_at,
        }
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the helper has no pipes")
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        if answer["status"] not in {0, -signal.SIGKILL}:
            raise RuntimeError(f"{step.__name__} ended with {answer['status']} after {answer['reached']}")
        return Run(killed=answer["status"] != 0, reached=answer["reached"])


CHECK, STORE, DISCARD = (
    [kind.value] for kind in (JobKind.CHECK_SUBMISSION, JobKind.STORE_SUBMISSION, JobKind.DISCARD_STAGING)
)

if __name__ == "__main__":
    load_policies(Settings(), on=clock.today())
    configure_mappers()
    gc.collect()
    gc.freeze()  # collecting in a child would copy every page
    _serve()
