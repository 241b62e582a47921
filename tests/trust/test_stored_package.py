"""Signed dossiers through the whole service: what it stored, `verify` finds right with nothing but the file."""

from functools import partial
from pathlib import Path

from archive_service import clock
from archive_service.packaging.verify import Outcome, verify_aip
from archive_service.samples.dossiers import generate
from archive_service.samples.pki import TestPki
from archive_service.signatures.pool import SignaturePool
from archive_service.signatures.trust import TrustStore
from archive_service.transfer.signatures_again import signatures_again
from tests.pipeline import Archive


def test_stored_packages_verify_offline(archive: Archive, tmp_path: Path) -> None:
    at = clock.now()
    pki = TestPki.create(2025, at=at)
    samples = [sample for sample in generate(tmp_path / "dossiers", count=4, at=at, pki=pki) if sample.good][:2]
    trust_dir = archive.service.settings.resolved_trust_dir
    pki.write_trust(trust_dir)
    for sample in samples:
        archive.archive(sample.folder)
    packages = sorted(archive.service.settings.data_dir.rglob("*.zip"))
    assert len(packages) == 2 * len(samples)
    signatures = 0
    with SignaturePool(1) as pool:
        for package in packages[: len(samples)]:
            for trust in (None, TrustStore.load(trust_dir)):
                again = partial(signatures_again, trust=trust, pool=pool)
                report = verify_aip(package, extra_checks=[again])
                wrong = [check.as_json() for check in report.checks if check.outcome is not Outcome.PASSED]
                assert not wrong, wrong
                signatures += report.checks[-1].detail["signatures"]
    assert signatures > 0
