"""A result that the wrong one signed, through the whole intake (R034)."""

import hashlib
import json
from pathlib import Path
from typing import Any

from archive_service import clock
from archive_service.samples.dossiers import generate
from archive_service.samples.pki import TestPki
from tests.pipeline import Archive


def _dossier(folder: Path) -> Any:
    return json.loads((folder / "dossier.json").read_text(encoding="utf-8"))


def _of_role(folder: Path, role: str) -> Any:
    return next(part for part in _dossier(folder)["components"] if part["role"] == role)


def _with_result(folder: Path, content: bytes) -> None:
    dossier = _dossier(folder)
    result = next(part for part in dossier["components"] if part["role"] == "result")
    (folder / result["path"]).write_bytes(content)
    result |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (folder / "dossier.json").write_text(json.dumps(dossier, ensure_ascii=False), encoding="utf-8")


def _codes_on_result(archive: Archive, folder: Path) -> tuple[str, dict[str, str]]:
    submission_id = archive.push(folder)
    archive.work()
    submission = archive.submission(submission_id)
    place = _of_role(folder, "result")["id"]
    return submission["state"], {
        one["code"]: one["severity"]
        for one in submission["findings"]
        if one["location"] == place and one["code"].startswith("SIGNATURE_")
    }


def test_a_result_the_wrong_one_signed(archive: Archive, tmp_path: Path) -> None:
    at = clock.now()
    pki = TestPki.create(2025, at=at)
    made = generate(tmp_path / "dossiers", count=5, at=at, pki=pki)
    pki.write_trust(archive.service.settings.resolved_trust_dir)
    first, second, *_ = [sample.folder for sample in made if sample.good]
    own = (first / _of_role(first, "result")["path"]).read_bytes()
    citizens = (first / _of_role(first, "application_form")["path"]).read_bytes()
    assert b"CCCD:" in bytes.fromhex(citizens.partition(b"/Contents <")[2].partition(b">")[0].decode())

    _with_result(first, citizens)
    assert _codes_on_result(archive, first) == ("REJECTED", {"SIGNATURE_MISSING_ON_RESULT": "error"})

    _with_result(first, (first / _of_role(first, "opinion")["path"]).read_bytes())
    assert _codes_on_result(archive, first) == ("AWAITING_APPROVAL", {"SIGNATURE_OF_AGENCY_MISSING": "warning"})

    _with_result(second, own)
    assert _codes_on_result(archive, second) == ("AWAITING_APPROVAL", {"SIGNATURE_AGENCY_DIFFERS": "warning"})
