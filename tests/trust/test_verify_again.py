"""`archive-service verify` judges the signatures in a package again: same verdicts from the package alone, forged reports found out."""

import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import pem
from typer.testing import CliRunner

from archive_service.cli import build_app, offline
from archive_service.packaging import aip
from archive_service.packaging.content import AipContent
from archive_service.packaging.verify import CheckResult, Outcome, verify_aip
from archive_service.samples.small import SampleFile, small_head, tiny_pdf, write_dossier
from archive_service.signatures.pool import SignaturePool
from archive_service.signatures.trust import TrustStore
from archive_service.transfer.signatures_again import signatures_again
from tests.unit.signatures.pki_fixtures import World, add_page_text, sign_cms, sign_pdf

AT = datetime(2025, 3, 28, 9, 0, tzinfo=UTC)
CODE = "000.00.16.H56-250314-0042"


def _file(number: int, name: str, content: bytes, role: str = "submitted") -> SampleFile:
    return SampleFile(id=f"c{number:02}", path=name, role=role, origin="uploaded_signed", title=name, content=content)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def stranger() -> World:
    return World(tag="z")


@pytest.fixture(scope="module")
def dossier(tmp_path_factory: pytest.TempPathFactory, world: World, stranger: World) -> Path:
    """Every level, an expired certificate proven by its time-stamp, a detached signature, a stranger's, changed pages, no signature."""
    folder = tmp_path_factory.mktemp("hồ sơ") / CODE
    plain = tiny_pdf("khong ky")
    files = [
        _file(1, "đơn.pdf", tiny_pdf("Don"), "application_form"),
        *(_file(n, f"{level}.pdf", sign_pdf(world, level=level)) for n, level in enumerate(("B", "T", "LT", "LTA"), 2)),
        _file(6, "rời.pdf", plain),
        _file(7, "rời.pdf.p7s", sign_cms(world, plain, stamped=True)),
        _file(8, "người lạ.pdf", sign_pdf(stranger, level="LT")),
        _file(9, "sửa.pdf", add_page_text(sign_pdf(world, level="LT"))),
    ]
    write_dossier(folder, small_head(CODE, closed_at=AT, outcome="withdrawn"), files)
    return folder


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory, world: World) -> Path:
    folder = tmp_path_factory.mktemp("trust")
    for name, party in (("national", world.root), ("intermediates", world.issuing)):
        (folder / name).mkdir()
        (folder / name / "a.pem").write_bytes(pem.armor("CERTIFICATE", party.der))
    (folder / "revocation").mkdir()
    crls, ocsps = world.revocation(AT)
    for number, content in enumerate(crls):
        (folder / "revocation" / f"{number}.crl").write_bytes(content)
    for number, content in enumerate(ocsps):
        (folder / "revocation" / f"{number}.ocsp").write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def content(dossier: Path, trust: Path) -> AipContent:
    """What `package` makes of the dossier, before it is written."""
    kept: list[AipContent] = []

    class Taken(Exception):
        pass

    def take(found: AipContent, _: object) -> None:
        kept.append(found)
        raise Taken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline, "build_aip", take)
        _cli("package", str(dossier), "-o", str(dossier.parent / "x.zip"), "--trust", str(trust))
    return kept[0]


@pytest.fixture(scope="module")
def pool() -> Iterator[SignaturePool]:
    with SignaturePool(1) as made:
        yield made


def _cli(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(build_app(("offline", "verifying")), list(arguments))
    return result.exit_code, result.output


def _written(content: AipContent, target: Path) -> Path:
    with target.open("w+b") as out:
        aip.build_aip(content, out)
    return target


def _again(package: Path, pool: SignaturePool, trust: TrustStore | None = None) -> CheckResult:
    report = verify_aip(package, extra_checks=[lambda opened: signatures_again(opened, trust=trust, pool=pool)])
    others = [check for check in report.checks if check.name != "signatures" and check.outcome is not Outcome.PASSED]
    assert not others, others
    return next(check for check in report.checks if check.name == "signatures")


def test_the_package_alone_gives_the_same_verdicts(content: AipContent, tmp_path: Path, pool: SignaturePool) -> None:
    verdicts = {key: [r["indication"] for r in reports] for key, reports in content.signature_reports.items()}
    assert verdicts["c05"] == ["TOTAL-PASSED", "TOTAL-PASSED"]  # the signature and the document time-stamp
    assert [r["integrity"] for r in content.signature_reports["c07"]] == ["intact"]
    assert verdicts["c08"] == ["INDETERMINATE"]
    found = _again(_written(content, tmp_path / "a.zip"), pool)
    assert (found.outcome, list(found.reasons)) == (Outcome.PASSED, [])
    assert found.detail["signatures"] == sum(map(len, content.signature_reports.values())) == 8
    assert found.detail["trust"] == "recorded in the package"


def test_with_the_trust_store_of_the_time(
    content: AipContent, tmp_path: Path, pool: SignaturePool, trust: Path
) -> None:
    package = _written(content, tmp_path / "a.zip")
    found = _again(package, pool, TrustStore.load(trust))
    assert (found.outcome, list(found.reasons), found.detail["trust"]) == (Outcome.PASSED, [], "given")


def test_another_trust_store_decides_nothing(
    content: AipContent, tmp_path: Path, pool: SignaturePool, stranger: World
) -> None:
    found = _again(_written(content, tmp_path / "a.zip"), pool, TrustStore.of([stranger.root.der]))
    assert found.outcome is Outcome.INDETERMINATE
    assert any("the trust store given is not the one of the time" in reason for reason in found.reasons)


def _with_report(content: AipContent, component: str, **changes: Any) -> AipContent:
    reports = {key: [dict(report) for report in value] for key, value in content.signature_reports.items()}
    reports[component] = [report | changes for report in reports[component]]
    files = [replace(file, signatures=tuple(reports.get(file.component.id, ()))) for file in content.files]
    return replace(content, signature_reports=reports, files=files)


def test_a_report_that_was_made_better_is_found_out(content: AipContent, tmp_path: Path, pool: SignaturePool) -> None:
    forged = _with_report(content, "c08", indication="TOTAL-PASSED", sub_indication=None)
    found = _again(_written(forged, tmp_path / "a.zip"), pool)
    assert found.outcome is Outcome.FAILED
    assert found.reasons[0].startswith("c08 signature 1: indication stored TOTAL-PASSED, now INDETERMINATE")


def test_a_report_that_was_taken_away_is_found_out(content: AipContent, tmp_path: Path, pool: SignaturePool) -> None:
    fewer = {key: value for key, value in content.signature_reports.items() if key != "c03"}
    files = [replace(file, signatures=() if file.component.id == "c03" else file.signatures) for file in content.files]
    found = _again(_written(replace(content, signature_reports=fewer, files=files), tmp_path / "a.zip"), pool)
    assert found.outcome is Outcome.FAILED
    assert found.reasons[0].startswith("c03: 0 reports are stored, 1 signatures were found")


def test_a_check_that_is_stopped_here_accuses_nobody(content: AipContent, tmp_path: Path) -> None:
    """A machine with too little memory cannot tell that a package is false."""
    with SignaturePool(1, memory_limit_bytes=1024 * 1024) as starved:
        found = _again(_written(content, tmp_path / "package.zip"), starved)
    assert found.outcome is Outcome.INDETERMINATE, found.reasons
    assert any("not checked: PROCESS_KILLED" in reason for reason in found.reasons)


def test_a_report_by_a_policy_nobody_has_is_not_judged(
    content: AipContent, tmp_path: Path, pool: SignaturePool
) -> None:
    for component in content.signature_reports:
        content = _with_report(content, component, policy_version="99")
    found = _again(_written(content, tmp_path / "a.zip"), pool)
    assert found.outcome is Outcome.INDETERMINATE
    assert "no signature policy" in found.reasons[0]


def test_reports_in_words_and_material_are_in_the_package(content: AipContent, tmp_path: Path) -> None:
    with zipfile.ZipFile(_written(content, tmp_path / "a.zip")) as package:
        names = {name.rpartition("/")[2]: name for name in package.namelist() if "/validation/" in name}
        vi, en = (package.read(names[f"signature-reports.{language}.txt"]).decode() for language in ("vi", "en"))
        anchors = json.loads(package.read(names["trust-anchors.json"]))
    assert {name.rpartition(".")[2] for name in names} >= {"cer", "crl", "ocsp", "tst", "txt", "json"}
    assert f"{anchors[0]['sha256']}.cer" in names
    assert anchors[0]["scheme"] == "national"
    assert "Nguyễn Văn Ký" in vi
    assert "== c05 [1/2]" in vi
    assert "TOTAL-PASSED" in en
    assert vi != en


def test_the_command_says_it_all_offline(dossier: Path, trust: Path, tmp_path: Path) -> None:
    package = str(tmp_path / "a.zip")
    assert _cli("package", str(dossier), "-o", package, "--trust", str(trust))[0] == 0
    code, output = _cli("verify", package, "--json", "--trust", str(trust))
    report = json.loads(output.splitlines()[-1])
    assert (code, report["outcome"]) == (0, "PASSED"), report
    assert _cli("verify", package)[0] == 0


def test_a_package_built_without_anchors_verifies(dossier: Path, trust: Path, tmp_path: Path) -> None:
    package = str(tmp_path / "a.zip")
    assert _cli("package", str(dossier), "-o", package)[0] == 0
    code, output = _cli("verify", package)
    assert code == 0, output
    assert "The package records no trust anchors" in output
    code, output = _cli("verify", package, "--trust", str(trust))
    assert code == 0, output
    assert "judged better under the given anchors" in output


def test_better_stored_verdicts_are_derived_again_with_the_recorded_anchors(
    content: AipContent, tmp_path: Path, pool: SignaturePool, world: World, stranger: World
) -> None:
    """Both roots given: the stranger's signature passes now; stored as anything but what the recorded anchors give, it fails."""
    both = TrustStore.of([world.root.der, stranger.root.der])
    both = both.with_material(intermediates=[world.issuing.der, stranger.issuing.der], crls=[], ocsps=[])
    found = _again(_written(content, tmp_path / "a.zip"), pool, both)
    assert found.outcome is Outcome.PASSED, found.reasons
    assert "signatures are judged better" in found.detail["notes"][-1]["en"]
    forged = _with_report(content, "c08", sub_indication="TRY_LATER")
    found = _again(_written(forged, tmp_path / "b.zip"), pool, both)
    assert found.outcome is Outcome.FAILED
    assert found.reasons[0].startswith("c08 signature 1: sub_indication stored TRY_LATER")


def test_without_a_store_the_recorded_anchors_are_named(
    dossier: Path, trust: Path, world: World, tmp_path: Path
) -> None:
    package = str(tmp_path / "a.zip")
    assert _cli("package", str(dossier), "-o", package, "--trust", str(trust))[0] == 0
    root = hashlib.sha256(world.root.der).hexdigest()
    for arguments, words in (((), "recorded in the package itself"), (("--trust", str(trust)), "the verifier gave")):
        _, output = _cli("verify", package, *arguments)
        assert words in output
        assert f"SHA-256 {root}" in output


def test_what_no_signature_speaks_of_is_not_taken_out_of_the_package(tmp_path: Path, world: World) -> None:
    """A film of gigabytes beside signed papers must not need as much room again: no file may grow to its size here."""
    folder, size = tmp_path / CODE, 3 * 1024 * 1024
    files = [
        _file(1, "đơn.pdf", tiny_pdf("Don"), "application_form"),
        _file(2, "ký.pdf", sign_pdf(world, level="B")),
        _file(3, "phim.bin", bytes(range(256)) * (size // 256)),
        _file(4, "mẫu.xml", "<?xml version='1.0' encoding='UTF-8'?><đơn><tên>Nguyễn</tên></đơn>".encode()),
    ]
    write_dossier(folder, small_head(CODE, closed_at=AT, outcome="withdrawn"), files)
    package = tmp_path / "a.zip"
    _cli("package", str(folder), "-o", str(package))
    assert package.stat().st_size > size
    verify = [sys.executable, "-m", "archive_service", "verify", "--json", str(package)]
    limited = ["/bin/sh", "-c", 'ulimit -f "$0" && exec "$@"', str(size // 2 // 512), *verify]
    result = subprocess.run(limited, capture_output=True, text=True, check=False)
    told = {check["name"]: check["outcome"] for check in json.loads(result.stdout)["checks"]}
    assert told["signatures"] == "PASSED", result.stdout + result.stderr
    assert told["zip_content"] == "PASSED"
