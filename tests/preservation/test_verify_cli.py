"""`archive-service verify` as a third party runs it: exit codes, table, JSON, other software's records, several files at once."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import pem

from archive_service import clock
from archive_service.disputes.steps import MANIFEST
from archive_service.disputes.verifying import Trusted, check_texts, verify_file
from archive_service.evidence.checkpoint import generate_signer
from archive_service.evidence.ers_asn1 import parse_evidence_record
from archive_service.models import RoleName
from archive_service.packaging.verify import _CHECKS, Outcome
from archive_service.preservation.log_keys import known_keys
from archive_service.samples.small import minimal_dossier
from archive_service.signatures.pool import SignaturePool
from tests.conftest import NotRun
from tests.pipeline import Archive
from tests.preservation.test_dispute import database, disputed, fetched

__all__ = ["database", "disputed"]  # fixtures

ROOT = Path(__file__).resolve().parents[2]


def cli(*arguments: str | Path, code: int | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command as a user does, in an empty folder without settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARCHIVE_")}
    done = subprocess.run(
        [sys.executable, "-m", "archive_service", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    assert "Traceback" not in done.stderr, done.stderr
    if code is not None:
        assert done.returncode == code, done.stdout + done.stderr
    return done


def report(*arguments: str | Path, code: int) -> Any:
    return json.loads(cli("verify", "--json", *arguments, code=code).stdout.splitlines()[-1])


def outcomes(found: Any) -> dict[str, str]:
    return {check["name"]: check["outcome"] for check in found["checks"]}


@pytest.fixture
def handed(disputed: tuple[Archive, str], tmp_path: Path) -> dict[str, Path]:
    """What a third party has: the AIP, its evidence file, the dispute package, and trust obtained elsewhere."""
    archive, record_id = disputed
    folder = tmp_path / "handed"
    trust = folder / "trust"
    (trust / "timestamp").mkdir(parents=True)
    (trust / "timestamp" / "root.pem").write_bytes((tmp_path / "tsa.pem").read_bytes())
    (trust / "log.vkey").write_text(known_keys(archive.service.settings)[0].vkey())
    aip, evidence, package = folder / "aip.zip", folder / "other.json", folder / "package.zip"
    aip.write_bytes(archive.call("GET", f"records/{record_id}/aip", role=RoleName.ARCHIVIST).content)
    evidence.write_bytes(archive.call("GET", f"records/{record_id}/evidence", role=RoleName.ARCHIVIST).content)
    package.write_bytes(fetched(archive, record_id))
    return {"aip": aip, "evidence": evidence, "package": package, "trust": trust}


def test_an_aip_with_its_evidence_and_trust_passes(handed: dict[str, Path]) -> None:
    found = report(handed["aip"], "--evidence", handed["evidence"], "--trust", handed["trust"], code=0)
    assert found["outcome"] == "PASSED"
    assert {"signatures", "evidence_bundle", "log_inclusion", "evidence_record"} <= set(outcomes(found))
    assert set(outcomes(found).values()) == {"PASSED"}
    assert all(check["title_vi"] != check["title_en"] for check in found["checks"])
    assert "evidence_record" not in outcomes(alone := report(handed["aip"], "--trust", handed["trust"], code=0))
    assert "not checked" in alone["evidence"]
    # beside the file it is found by itself
    (handed["aip"].with_name("aip.evidence.json")).write_bytes(handed["evidence"].read_bytes())
    beside = report(handed["aip"], "--trust", handed["trust"], code=0)
    assert "log_inclusion" in outcomes(beside)
    assert beside["evidence"] == "aip.evidence.json"


def test_without_trust_the_evidence_is_undecided(handed: dict[str, Path]) -> None:
    found = report(handed["aip"], "--evidence", handed["evidence"], code=7)
    undecided = {name for name, outcome in outcomes(found).items() if outcome == "INDETERMINATE"}
    assert undecided == {"log_inclusion", "evidence_record"}
    assert " / " in next(check["reasons"][0] for check in found["checks"] if check["name"] == "log_inclusion")


def test_a_dispute_package_proves_itself_and_says_whose_keys_it_used(handed: dict[str, Path]) -> None:
    found = report(handed["package"], code=7)
    undecided = [name for name, outcome in outcomes(found).items() if outcome != "PASSED"]
    assert undecided == ["trust_source"]
    assert {"sums", "v1/evidence_record", "v2/log_inclusion", "v2/originals"} <= set(outcomes(found))
    assert report(handed["package"], "--trust", handed["trust"], code=0)["outcome"] == "PASSED"


def test_a_dispute_package_with_foreign_keys_fails(handed: dict[str, Path]) -> None:
    name = (handed["trust"] / "log.vkey").read_text().partition("+")[0]
    (handed["trust"] / "log.vkey").write_text(generate_signer(name).key.vkey())
    assert outcomes(report(handed["package"], "--trust", handed["trust"], code=1))["trust_source"] == "FAILED"


def test_an_exchanged_original_with_new_sums_is_found(handed: dict[str, Path], tmp_path: Path) -> None:
    changed = tmp_path / "changed.zip"
    with zipfile.ZipFile(handed["package"]) as source, zipfile.ZipFile(changed, "w") as target:
        content = {name: source.read(name) for name in source.namelist()}
        victim = next(name for name in content if name.startswith("originals/v1/"))
        content[victim] += b"x"
        lines = [
            f"{hashlib.sha256(part).hexdigest()}  {name}" for name, part in content.items() if name != "SHA256SUMS"
        ]
        content["SHA256SUMS"] = ("\n".join(lines) + "\n").encode()
        for name, part in content.items():
            target.writestr(name, part)
    found = outcomes(report(changed, "--trust", handed["trust"], code=1))
    assert [name for name, outcome in found.items() if outcome == "FAILED"] == ["v1/originals"]


def test_the_table_is_vietnamese_first_and_names_what_failed(handed: dict[str, Path]) -> None:
    content = bytearray(handed["aip"].read_bytes())
    content[len(content) // 2] ^= 1
    handed["aip"].write_bytes(content)
    shown = cli("verify", handed["aip"], code=1).stdout
    assert "KHÔNG ĐẠT / FAILED" in shown
    assert shown.index("Kết quả") < shown.index("outcome")
    assert "hỏng" in shown


def test_several_files_go_through_processes_in_order(handed: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"not a zip")
    (handed["aip"].with_name("aip.zip.evidence.json")).write_bytes(handed["evidence"].read_bytes())
    done = cli("verify", "--json", handed["aip"], broken, handed["package"], "--trust", handed["trust"], code=1)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [item["path"] for item in found] == [str(handed["aip"]), str(broken), str(handed["package"])]
    assert [item["outcome"] for item in found] == ["PASSED", "FAILED", "PASSED"]


@pytest.mark.parametrize(
    "manifest",
    [
        '{"type": "archive-dispute/1", "dossier_code": "\\ud800", "versions": []}',
        '{"versions": [{"version": Infinity, "aip": "a", "evidence": "b"}]}',
        '{"versions": [{"version": 1e999, "aip": "a", "evidence": "b"}]}',
        '{"type": "archive-dispute/1", "versions": [{"version": 1000001, "aip": "a", "evidence": "b"}]}',
        '{"type": "archive-dispute/1", "versions": [{"version": 1, "aip": "a", "evidence": "b"}, {"version": 1, "aip": "c", "evidence": "d"}]}',
        '{"versions": 5}',
        "[]",
    ],
)
def test_a_hostile_manifest_is_told(tmp_path: Path, manifest: str) -> None:
    path = tmp_path / "package.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MANIFEST, manifest)
    with SignaturePool(1, time_limit_s=10) as pool:
        found = verify_file(path, Trusted(at=clock.now()), pool)
    assert (found.kind, found.outcome) == ("dispute-package", Outcome.FAILED)
    json.dumps(found.as_json(), ensure_ascii=False).encode()


def test_a_package_without_keys_claims_no_trust(tmp_path: Path) -> None:
    path = tmp_path / "package.zip"
    manifest = {"type": "archive-dispute/1", "versions": [{"version": 1, "aip": "a", "evidence": "b"}]}
    for keys, expected in (
        (b"", Outcome.INDETERMINATE),
        (generate_signer("log").key.vkey().encode() * 200, Outcome.FAILED),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(MANIFEST, json.dumps(manifest))
            archive.writestr("keys/log.vkey", keys.replace(b"log+", b"\nlog+"))
        with SignaturePool(1, time_limit_s=10) as pool:
            found = verify_file(path, Trusted(at=clock.now()), pool)
        assert [check.outcome for check in found.checks if check.name == "trust_source"] == [expected]


def test_a_name_no_encoding_has_is_shown(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\xff.zip"
    with open(path, "wb"):  # noqa: PTH123 - a path of bytes
        pass
    assert report(os.fsdecode(path), code=1)["path"].endswith("\ufffd.zip")  # as `check` shows it


def test_wrong_calls_are_told(handed: dict[str, Path]) -> None:
    assert cli("verify", code=2).stderr.startswith("BAD_REQUEST")
    assert cli("verify", handed["aip"], "--data", handed["aip"], code=2).stderr.startswith("BAD_REQUEST")
    assert cli("verify", handed["aip"], handed["aip"], "--evidence", handed["evidence"], code=2).stderr


def test_every_check_has_its_texts() -> None:
    ours = {"signatures", "evidence_bundle", "log_inclusion", "evidence_record", "sums", "originals", "trust_source"}
    assert {*_CHECKS, "headers", *ours} >= set(check_texts()) >= {*_CHECKS, *ours}


def test_the_dispute_command_writes_the_same_package(archive: Archive, dossiers: Path, tmp_path: Path) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    target = tmp_path / "package.zip"
    done = cli("dispute", record_id, "-o", target, "--data", archive.service.settings.data_dir, code=0)
    assert hashlib.sha256(target.read_bytes()).hexdigest() in done.stdout
    assert outcomes(report(target, code=7))["v1/originals"] == "PASSED"
    missing = cli(
        "dispute", "00000000-0000-0000-0000-000000000000", "-o", target, "--data", archive.service.settings.data_dir
    )
    assert missing.returncode == 4


# ------------------------------------------------------------------ other software's records


@pytest.fixture
def records(not_run: NotRun) -> Path:
    folder = Path(os.environ.get("ARCHIVE_CORPORA", ROOT.parent / "shared" / "corpora")) / "ers"
    if not folder.is_dir():
        not_run("evidence record corpus", "no folder corpora/ers beside the checkout (ARCHIVE_CORPORA)")
    return folder


ONE, TWO = "ER-2Chains3ATS1.bin", "ER-2Chains3ATS2.bin"


@pytest.mark.parametrize(
    ("record", "files", "integrity"),
    [
        ("BIN-1_ER.ers", ["BIN-1.bin"], "PASSED"),
        ("ER-2Chains3ATS.ers", [ONE, TWO], "PASSED"),
        ("ER-2Chains3ATS.ers", [ONE], "PASSED"),
        ("er-asn1-tst-renewal.ers", [ONE, TWO], "PASSED"),
        ("BIN-1_ER.ers", [ONE], "FAILED"),
        ("BIN-1_ER_malformed.ers", ["BIN-1.bin"], "FAILED"),
        ("er-asn1-simple-invalid.ers", [ONE], "FAILED"),
        ("er-asn1-tst-renewal-invalid.ers", [ONE, TWO], "FAILED"),
    ],
)
def test_other_softwares_records_get_the_published_answer(
    records: Path, record: str, files: Sequence[str], integrity: str
) -> None:
    arguments = [part for name in files for part in ("--data", records / name)]
    found = report("--evidence", records / record, *arguments, code=7 if integrity == "PASSED" else 1)
    assert found["integrity"] == integrity
    assert found["kind"] == "evidence-record"


def test_with_the_authoritys_root_such_a_record_passes(records: Path, tmp_path: Path) -> None:
    """The root is taken from the record here, as a verifier who obtained it elsewhere would name it."""
    record = parse_evidence_record((records / "BIN-1_ER.ers").read_bytes())
    trust = tmp_path / "trust"
    trust.mkdir()
    token = record.last.token
    for number, certificate in enumerate(token.certificates):
        (trust / f"{number}.pem").write_bytes(pem.armor("CERTIFICATE", certificate.dump()))
    at = token.gen_time.isoformat()
    found = report(
        "--evidence", records / "BIN-1_ER.ers", "--data", records / "BIN-1.bin", "--trust", trust, "--at", at, code=0
    )
    assert found["outcome"] == "PASSED"
