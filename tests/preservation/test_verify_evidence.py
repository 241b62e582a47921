"""The evidence file checked offline: passes with trust from elsewhere, is undecided without, fails for another package."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archive_service import clock
from archive_service.db import Database
from archive_service.evidence.checkpoint import generate_signer
from archive_service.evidence.local_tsa import create_local_tsa
from archive_service.models import RoleName
from archive_service.packaging.verify import Outcome
from archive_service.preservation.log_keys import known_keys
from archive_service.preservation.seal import seal_log
from archive_service.preservation.verify_evidence import EvidenceTrust, verify_evidence
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from tests.pipeline import Archive
from tests.unit.evidence.tsa_server import TsaServer

PASSED, FAILED, UNDECIDED = Outcome.PASSED, Outcome.FAILED, Outcome.INDETERMINATE


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """One engine is enough: the check reads no database."""
    opened = Database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def proven(archive: Archive, dossiers: Path, tmp_path: Path) -> tuple[Path, dict[str, Any], EvidenceTrust]:
    """An AIP, the API's answer about its evidence, and everything to trust."""
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    at = clock.now()
    with TsaServer(create_local_tsa(valid_from=at), at).running() as tsa:
        settings = archive.service.settings.model_copy(update={"tsa_url": tsa.url})
        seal_log(Service(settings=settings, database=archive.service.database), at=clock.unique_now())
        anchors = (tsa.tsa.root,)
    path = tmp_path / "aip.zip"
    path.write_bytes(archive.call("GET", f"records/{record_id}/aip", role=RoleName.ARCHIVIST).content)
    answer = archive.call("GET", f"evidence/records/{record_id}", role=RoleName.ARCHIVIST).json()
    keys = known_keys(archive.service.settings)
    return path, answer, EvidenceTrust(at=clock.now(), keys=keys, anchors=anchors)


def outcomes(path: Path, value: Any, trust: EvidenceTrust) -> list[Outcome]:
    bundle = path.with_name("evidence.json")
    bundle.write_text(json.dumps(value))
    return [check.outcome for check in verify_evidence(path, bundle, trust)]


def test_all_holds_with_what_is_trusted(proven: tuple[Path, dict[str, Any], EvidenceTrust]) -> None:
    path, answer, trust = proven
    assert outcomes(path, answer, trust) == [PASSED, PASSED, PASSED]
    assert outcomes(path, answer["items"][0], trust) == [PASSED, PASSED, PASSED]


def test_without_trust_nothing_is_claimed(proven: tuple[Path, dict[str, Any], EvidenceTrust]) -> None:
    path, answer, trust = proven
    assert outcomes(path, answer, replace(trust, keys=(), anchors=())) == [PASSED, UNDECIDED, UNDECIDED]
    other = generate_signer(trust.keys[0].name).key
    assert outcomes(path, answer, replace(trust, keys=(other,)))[1] is UNDECIDED


def test_evidence_that_was_not_had_is_not_claimed(proven: tuple[Path, dict[str, Any], EvidenceTrust]) -> None:
    path, answer, trust = proven
    bare = {**answer["items"][0], "evidence_record": None, "log_proof": None, "timestamp_problem": "none"}
    assert outcomes(path, bare, trust) == [PASSED, UNDECIDED, UNDECIDED]


def test_another_package_or_a_changed_proof_fails(proven: tuple[Path, dict[str, Any], EvidenceTrust]) -> None:
    path, answer, trust = proven
    item = answer["items"][0]
    wrong = json.loads(json.dumps(item))
    wrong["log_proof"]["leaf_index"] += 1
    assert outcomes(path, wrong, trust)[1] is FAILED
    assert outcomes(path, {**item, "evidence_record": "AAAA"}, trust)[2] is FAILED
    assert outcomes(path, {"type": "else"}, trust) == [FAILED, UNDECIDED, UNDECIDED]
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    assert outcomes(path, answer, trust) == [FAILED, UNDECIDED, UNDECIDED]
    claimed = {**item, "aip_sha256": hashlib.sha256(content).hexdigest()}
    assert outcomes(path, claimed, trust) == [PASSED, FAILED, FAILED]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[" * 100_000,
        b'{"items": 5}',
        b'{"items": NaN}',
        b'{"items": {"type": "archive-evidence/1"}}',
        b'{"type": "archive-evidence/1", "aip_sha256": "%s", "timestamp_problem": "\\ud800"}',
        b'{"type": "archive-evidence/1", "aip_sha256": "%s", "log_proof": Infinity}',
    ],
)
def test_hostile_evidence_files_are_told(tmp_path: Path, content: bytes) -> None:
    aip, bundle = tmp_path / "aip.zip", tmp_path / "evidence.json"
    aip.write_bytes(b"AIP")
    bundle.write_bytes(content.replace(b"%s", hashlib.sha256(b"AIP").hexdigest().encode()))
    checks = verify_evidence(aip, bundle, EvidenceTrust(at=clock.now()))
    assert [check.outcome for check in checks] == [FAILED, UNDECIDED, UNDECIDED]
    json.dumps([check.as_json() for check in checks], ensure_ascii=False).encode()
