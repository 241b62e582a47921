"""PREMIS tells every check with its outcome and what it went by, and the approval with its reason; the same rows, the same events."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from archive_service import clock
from archive_service.audit import Agent, append_event, software
from archive_service.db import Database
from archive_service.digests import digest_bytes
from archive_service.dossier import parse_dossier
from archive_service.findings import Finding
from archive_service.models import EventType
from archive_service.packaging.content import PackagedFile, PremisEvent
from archive_service.samples.small import minimal_dossier
from archive_service.transfer.provenance import provenance

SUBMISSION = UUID(int=9)
POLICIES = {name: {"id": name, "version": "1"} for name in ("formats", "signatures", "trust", "codes", "retention")}


def _files(folder: Path, *puids: str | None) -> list[PackagedFile]:
    dossier, _ = parse_dossier(json.loads((minimal_dossier(folder).folder / "dossier.json").read_bytes()))
    assert dossier is not None
    return [
        PackagedFile(
            component=component,
            source="",
            digest=digest_bytes(b""),
            size_bytes=0,
            mime="application/pdf",
            puid=puid,
            format_name="PDF",
            format_version=None,
        )
        for component, puid in zip(dossier.components, puids, strict=True)
    ]


def _told(
    database: Database, files: Sequence[PackagedFile], findings: Sequence[Finding] = (), **detail: Any
) -> dict[str, PremisEvent]:
    checked = {"errors": 0, "warnings": 0, "codes": [], "signatures": {}, "policies": POLICIES} | detail
    at = clock.unique_now()
    person = Agent(id="account:1", name="Lưu trữ viên")
    with database.write() as session:
        for kind, agent, values in (
            (EventType.SUBMISSION_CHECKED, software("check"), checked),
            (EventType.SUBMISSION_APPROVED, person, {"reason": "đợt 1, <đủ>", "batch_id": None}),
        ):
            append_event(
                session,
                kind,
                subject_kind="submission",
                subject_id=SUBMISSION,
                agency=None,
                agent=agent,
                at=at,
                detail=values,
            )
    with database.read() as session:
        events, agents = provenance(session.connection(), SUBMISSION, files, findings)
        assert provenance(session.connection(), SUBMISSION, files, findings) == (events, agents)
    assert len({event.id for event in events}) == len(events)
    assert {event.agent_id for event in events} == {agent.id for agent in agents}
    return {event.type: event for event in events}


def test_every_check_and_the_reason_are_told(database: Database, tmp_path: Path) -> None:
    told = _told(
        database,
        _files(tmp_path, "fmt/18", "fmt/18", None),
        warnings=2,
        codes=["PROCEDURE_CODE_UNUSUAL", "SIGNATURE_UNTRUSTED"],
        signatures={"TOTAL-PASSED": 2, "INDETERMINATE": 1},
        malware_scanners=["ClamAV 1.4/27000"],
    )
    assert {name: event.outcome for name, event in told.items()} == {
        "format identification": "warning",
        "virus check": "success",
        "digital signature validation": "warning",
        "validation": "warning",
        "accession": "success",
    }
    assert (told["accession"].note, told["accession"].agent_id) == ("đợt 1, <đủ>", "account:1")
    notes = {name: json.loads(event.note) for name, event in told.items() if name != "accession"}
    assert notes["format identification"] == {
        "files": 3,
        "identified": 2,
        "formats": {"fmt/18": 2},
        "policies": {"formats": POLICIES["formats"]},
    }
    assert notes["virus check"] == {"files": 3, "scanned": 3, "reasons": [], "scanners": ["ClamAV 1.4/27000"]}
    assert notes["digital signature validation"]["signatures"] == 3
    assert notes["digital signature validation"]["codes"] == ["SIGNATURE_UNTRUSTED"]
    assert set(notes["digital signature validation"]["policies"]) == {"signatures", "trust"}
    assert (notes["validation"]["errors"], notes["validation"]["warnings"]) == (0, 2)
    assert notes["validation"]["codes"] == ["PROCEDURE_CODE_UNUSUAL", "SIGNATURE_UNTRUSTED"]


@pytest.mark.parametrize(
    ("places", "outcome", "scanned"), [([""], "not checked", 0), (["c01"], "warning", 2), ([], "success", 3)]
)
def test_what_was_not_scanned_is_never_called_clean(
    database: Database, tmp_path: Path, places: list[str], outcome: str, scanned: int
) -> None:
    findings = [
        Finding(code="VIRUS_NOT_SCANNED", location=place, params={"reason": "clamd does not answer"})
        for place in places
    ]
    told = _told(database, _files(tmp_path, "fmt/18", "fmt/18", "fmt/18"), findings)
    note = json.loads(told["virus check"].note)
    assert (told["virus check"].outcome, note["scanned"]) == (outcome, scanned)
    assert note["reasons"] == (["clamd does not answer"] if places else [])
    assert told["digital signature validation"].outcome == "no signatures"
    assert told["format identification"].outcome == "success"
