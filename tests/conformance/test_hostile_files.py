"""No small file costs more than ten seconds of processor time or 500 MB, and what nobody could look at is never accepted in silence."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from archive_service.ingest.files import FileChecks, FileToCheck, load_file_policies
from archive_service.settings import load_settings
from archive_service.signatures import Indication, TrustStore
from tests.conformance.hostile_files import FILES, world
from tests.unit.signatures.pki_fixtures import SIGNED_AT

CPU_LIMIT_S = 10.0
MEMORY_LIMIT_BYTES = 500 * 1024 * 1024
REFUSED_AS = {
    "deep.xml": "FORMAT_TOO_LARGE_TO_CHECK",
    "pixels.png": "FORMAT_TOO_LARGE_TO_CHECK",
    "entities.xml": "FORMAT_XML_ENTITY",
    "entries.zip": "FORMAT_ARCHIVE_UNSAFE",
    "nested.p7m": "SIGNATURE_INDETERMINATE",
}
"""What some of them must be told for; where time decides, machines differ."""


@pytest.fixture(scope="module")
def others() -> frozenset[int]:
    """Processes that other tests left running, servers for instance: what they need is not looked at here."""
    return frozenset(child.pid for child in psutil.Process().children(recursive=True))


@pytest.fixture(scope="module")
def checks(others: frozenset[int]) -> Iterator[FileChecks]:  # noqa: ARG001 - seen before these start
    settings = load_settings()
    policies = load_file_policies(settings, at=SIGNED_AT, trust=TrustStore.of([world().root.der]))
    with FileChecks(policies=policies, at=SIGNED_AT, workers=1, settings=settings, depth="full") as running:
        yield running


def _checkers(others: frozenset[int]) -> dict[int, tuple[float, int]]:
    """Processor time and resident memory of the checking processes."""
    found = {}
    for child in psutil.Process().children(recursive=True):
        if child.pid in others:
            continue
        try:
            times, memory = child.cpu_times(), child.memory_info()
        except psutil.NoSuchProcess:
            continue
        found[child.pid] = (times.user + times.system, memory.rss)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_hostile_file(tmp_path: Path, checks: FileChecks, others: frozenset[int], name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name]())
    before = _checkers(others)
    [result] = checks.run([FileToCheck(path=path)])
    after = _checkers(others)
    assert after, "somebody looked at it"
    used = sum(cpu - before.get(pid, (0.0, 0))[0] for pid, (cpu, _) in after.items())
    assert used < CPU_LIMIT_S
    assert max((memory for _, memory in after.values()), default=0) < MEMORY_LIMIT_BYTES
    assert not any(report.indication is Indication.TOTAL_PASSED for report in result.signatures.reports)
    codes = {finding.code for finding in result.findings}
    assert codes >= {REFUSED_AS[name]} if name in REFUSED_AS else True
    if result.signatures.not_checked or (result.formats and "format:" in " ".join(result.formats.not_checked)):
        assert codes & {
            "SIGNATURE_NOT_CHECKED",
            "SIGNATURE_CHECK_STOPPED",
            "FORMAT_CHECK_TIMEOUT",
            "FORMAT_CHECK_CRASHED",
        }


def test_what_stopped_the_check_refuses_the_file(tmp_path: Path, checks: FileChecks) -> None:
    path = tmp_path / "references.xml"
    path.write_bytes(FILES["references.xml"]())
    limited = checks.settings.model_copy(update={"signature_time_limit_s": 1})
    with FileChecks(policies=checks.policies, at=SIGNED_AT, workers=1, settings=limited) as quick:
        [result] = quick.run([FileToCheck(path=path)])
    assert "SIGNATURE_CHECK_STOPPED" in {finding.code for finding in result.findings}
    assert not result.accepted
