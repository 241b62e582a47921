"""Driving the service in tests: dossiers in, jobs run here and now, tokens for every role."""

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from archive_service import clock
from archive_service.audit import software
from archive_service.identity.tokens import create_token
from archive_service.ingest.checkers import InlineCheckers
from archive_service.jobs import work
from archive_service.jobs.worker import run_next
from archive_service.models import RoleName
from archive_service.service import Service

API = "/api/v1"


@dataclass
class Archive:
    """One service with its HTTP client."""

    service: Service
    http: TestClient
    tokens: dict[tuple[RoleName, str | None], str] = field(default_factory=dict)

    def headers(self, role: RoleName, agency: str | None = None) -> dict[str, str]:
        """Returns the authorization of a role, making its token on first use."""
        key = role, agency
        if key not in self.tokens:
            with self.service.database.write() as session:
                self.tokens[key] = create_token(
                    session, name=f"{role} {agency}", role=role, agency=agency, agent=software("tests"), at=clock.now()
                )
        return {"Authorization": f"Bearer {self.tokens[key]}"}

    def call(
        self, method: str, path: str, *, role: RoleName = RoleName.SUBMITTER, agency: str | None = None, **rest: Any
    ) -> Any:
        """Sends a request as `role`."""
        headers = {**self.headers(role, agency), **rest.pop("headers", {})}
        return self.http.request(method, path if path.startswith("/") else f"{API}/{path}", headers=headers, **rest)

    def open(self, folder: Path, **rest: Any) -> Any:
        """Pushes dossier.json."""
        return self.call("POST", "submissions", content=(folder / "dossier.json").read_bytes(), **rest)

    def upload(self, folder: Path, submission_id: str) -> None:
        """Uploads every file of a dossier folder."""
        for part in json.loads((folder / "dossier.json").read_bytes())["components"]:
            answer = self.call(
                "PUT",
                f"submissions/{submission_id}/components/{part['id']}",
                content=(folder / part["path"]).read_bytes(),
            )
            assert answer.status_code == 204, answer.text

    def push(self, folder: Path) -> str:
        """Pushes a dossier folder to the end and returns the submission's id."""
        opened = self.open(folder)
        assert opened.status_code in {200, 201}, opened.text
        submission_id: str = opened.json()["id"]
        self.upload(folder, submission_id)
        assert self.call("POST", f"submissions/{submission_id}/complete").status_code == 202
        return submission_id

    def work(self, *, limit: int = 100) -> int:
        """Runs every job that is due, here, and returns how many there were."""
        registry = work.load_registry(checkers=InlineCheckers())
        done = 0
        while done < limit and run_next(
            self.service.database, self.service.settings, registry, threading.Event(), owner="tests"
        ):
            done += 1
        return done

    def submission(self, submission_id: str) -> Any:
        """Returns a submission as its sender sees it."""
        return self.call("GET", f"submissions/{submission_id}").json()

    def decide(self, submission_id: str, decision: str = "approve", reason: str = "đủ điều kiện") -> Any:
        """Decides as an archivist."""
        return self.call(
            "POST",
            f"submissions/{submission_id}/decision",
            role=RoleName.ARCHIVIST,
            json={"decision": decision, "reason": reason},
        )

    def archive(self, folder: Path) -> str:
        """Takes a dossier all the way and returns its record's id."""
        submission_id = self.push(folder)
        self.work()
        state = self.submission(submission_id)
        assert state["state"] == "AWAITING_APPROVAL", state["findings"]
        assert self.decide(submission_id).status_code == 200
        self.work()
        state = self.submission(submission_id)
        assert state["state"] == "STORED", state
        record_id: str = state["record_id"]
        return record_id
