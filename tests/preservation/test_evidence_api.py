"""Proofs by API: they verify with the public key alone, and only what is sealed is proven."""

import base64
import json
from pathlib import Path

from archive_service import clock
from archive_service.digests import sha256
from archive_service.evidence.checkpoint import parse_checkpoint
from archive_service.evidence.checks import Indication
from archive_service.evidence.leaves import parse_log_proof, verify_log_proof
from archive_service.evidence.merkle import verify_consistency
from archive_service.models import RoleName
from archive_service.preservation.fixity import FixityPlan, check_location
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.seal import seal_log
from archive_service.samples.small import minimal_dossier
from tests.pipeline import Archive


def test_a_record_is_proven_to_stand_in_the_log(archive: Archive, dossiers: Path) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    path = f"evidence/records/{record_id}"
    assert archive.call("GET", "evidence/checkpoint").status_code == 404
    (before,) = archive.call("GET", path, role=RoleName.AUDITOR).json()["items"]
    assert (before["log_proof"], before["timestamp_problem"]) == (None, "not sealed yet")
    seal_log(archive.service, at=clock.unique_now())
    (bundle,) = archive.call("GET", path, role=RoleName.AUDITOR).json()["items"]
    proof = parse_log_proof(json.dumps(bundle["log_proof"]).encode())
    keys = known_keys(archive.service.settings)
    assert verify_log_proof(proof, keys, expected=[sha256(bundle["aip_sha256"])]).indication is Indication.PASSED
    assert verify_log_proof(proof, keys, expected=[sha256("0" * 64)]).indication is Indication.FAILED
    assert bundle["evidence_record"] is None
    assert bundle["timestamp_problem"] == "no time-stamp authority is configured"
    assert archive.call("GET", path, role=RoleName.SUBMITTER).status_code in {403, 404}


def test_the_log_is_proven_to_have_only_grown(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    seal_log(archive.service, at=clock.unique_now())
    first = parse_checkpoint(archive.http.get("/api/v1/evidence/checkpoint").text).checkpoint
    check_location(archive.service, "kho-1", FixityPlan(), at=clock.unique_now())
    seal_log(archive.service, at=clock.unique_now())
    second = parse_checkpoint(archive.http.get("/api/v1/evidence/checkpoint").text).checkpoint
    body = archive.http.get(f"/api/v1/evidence/consistency?from={first.size}&to={second.size}").json()
    verify_consistency(
        first=first.size,
        second=second.size,
        first_root=first.root,
        second_root=second.root,
        proof=[base64.b64decode(value) for value in body["proof"]],
    )
    assert first.size < second.size
    assert archive.http.get(f"/api/v1/evidence/consistency?from={second.size}&to={first.size}").status_code == 422
    assert archive.http.get(f"/api/v1/evidence/consistency?from=1&to={second.size}").status_code == 404
    assert archive.http.get(f"/api/v1/evidence/checkpoint?size={first.size}").text.splitlines()[1] == str(first.size)
    assert "+" in archive.http.get("/api/v1/evidence/key").text


def test_operators_see_locations_minutes_and_incidents(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    check_location(archive.service, "kho-1", FixityPlan(), at=clock.unique_now())
    locations = archive.call("GET", "preservation/locations", role=RoleName.ARCHIVIST).json()["items"]
    assert [(item["location"], item["copies"], item["not_intact"]) for item in locations] == [
        ("kho-1", 1, 0),
        ("kho-2", 1, 0),
    ]
    (minutes,) = archive.call("GET", "preservation/fixity", role=RoleName.ARCHIVIST).json()["items"]
    assert (minutes["intact"], minutes["ended_because"]) == (1, "all-read")
    assert archive.call("GET", "preservation/incidents", role=RoleName.ARCHIVIST).json()["items"] == []
    assert archive.call("GET", "preservation/incidents", role=RoleName.OFFICER).status_code == 403
