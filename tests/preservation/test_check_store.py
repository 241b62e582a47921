"""Checking a location from its bytes: a good one passes, one changed byte in any object does not, whatever the object."""

import hashlib
import random
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from uuid import uuid4

import pytest

from archive_service import clock
from archive_service.db import Database
from archive_service.digests import digest_bytes
from archive_service.evidence.checkpoint import generate_signer
from archive_service.models import RoleName
from archive_service.packaging.verify import Outcome, verify_opened
from archive_service.preservation.check_store import StoreCheck, _aip, _Log, check_store
from archive_service.preservation.log_keys import known_keys
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from archive_service.settings import Settings
from archive_service.storage.port import store_key
from archive_service.storage.ranged import opened_anywhere
from tests.pipeline import Archive
from tests.preservation.test_rebuild import a_life

FLIPS_PER_OBJECT = 4


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """One engine is enough: the check reads no database."""
    opened = Database(sqlite_url)
    yield opened
    opened.close()


def check(archive: Archive, location: str = "kho-2") -> StoreCheck:
    service = archive.service
    return check_store(service.stores[location], known_keys(service.settings), at=clock.now())


def objects(settings: Settings, location: str = "kho-2") -> list[Path]:
    root = settings.data_dir / "storage" / location / "objects"
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_every_flipped_byte_is_reported(archive: Archive, dossiers: Path) -> None:
    a_life(archive, dossiers)
    good = check(archive)
    assert (good.outcome, good.problems) == (Outcome.PASSED, [])
    assert (good.seals, good.aips) == (3, 3)
    picked = random.Random(4)  # noqa: S311 - the same places each time
    kinds = set()
    root = archive.service.settings.data_dir / "storage"
    for path in objects(archive.service.settings):
        kinds.add(path.relative_to(root / "kho-2" / "objects").parts[:2])
        require_flips_reported(archive, path, picked, "kho-2")
    assert {("log", name) for name in ("segments", "evidence", "checkpoints", "seals", "renewals")} <= kinds
    assert {kind[0] for kind in kinds} == {"aip", "log", "copies", "renditions"}
    assert check(archive).outcome is Outcome.PASSED
    # What a repair put aside lies where the damage was; a lock file belongs to one location too.
    store = archive.service.stores["kho-1"]
    store.set_legal_hold(next(store.list("aip/")).key, True)
    others = [path for name in ("objects/quarantine", "locks") for path in (root / "kho-1" / name).rglob("*.zip*")]
    assert [path.suffix for path in others if path.is_file()] == [".zip", ".zip@lock"]
    for path in others:
        if path.is_file():
            require_flips_reported(archive, path, picked, "kho-1")
    assert check(archive, "kho-1").outcome is Outcome.PASSED


def require_flips_reported(archive: Archive, path: Path, picked: random.Random, location: str) -> None:
    """Flips one bit at both ends and at random places of a file, each time to be reported by the check of its location."""
    content = path.read_bytes()
    path.chmod(0o600)
    places = {0, len(content) - 1, *(picked.randrange(len(content)) for _ in range(FLIPS_PER_OBJECT))}
    for place in sorted(places):
        harmed = bytearray(content)
        harmed[place] ^= 1 << picked.randrange(8)
        path.write_bytes(harmed)
        found = check(archive, location)
        assert found.outcome is Outcome.FAILED, f"byte {place} of {path.name}"
    path.write_bytes(content)


def test_removed_and_strange_objects_are_reported(archive: Archive, dossiers: Path) -> None:
    a_life(archive, dossiers)
    aside = next(path for path in objects(archive.service.settings, "kho-1") if "quarantine" in path.parts)
    kept = aside.read_bytes()
    aside.unlink()
    assert [problem.key for problem in check(archive, "kho-1").problems if "quarantine/" in problem.key]
    aside.write_bytes(kept)
    assert check(archive, "kho-1").outcome is Outcome.PASSED
    store = archive.service.stores["kho-1"]
    before = store_key("quarantine/an-incident/put-aside-before-names-had-digests.zip")
    store.put(before, BytesIO(kept), expected=digest_bytes(kept), size_bytes=len(kept))
    found = check(archive, "kho-1").problems
    assert [(problem.outcome, problem.key) for problem in found] == [(Outcome.INDETERMINATE, before)]
    store.delete(before, version_id=None, disposition=uuid4())
    for path in objects(archive.service.settings):
        content = path.read_bytes()
        path.unlink()
        # without its note a last seal looks like one that was never finished, which is said but is no damage
        last_note = path.name == "000000003.note"
        assert check(archive).outcome is (Outcome.INDETERMINATE if last_note else Outcome.FAILED), path.name
        path.write_bytes(content)
    stray = archive.service.settings.data_dir / "storage" / "kho-2" / "objects" / "other"
    stray.write_bytes(b"?")
    assert check(archive).problems[0].key == "other"


def test_signatures_by_another_key_fail_and_without_a_key_nothing_passes(archive: Archive, dossiers: Path) -> None:
    a_life(archive, dossiers)
    store = archive.service.stores["kho-1"]
    without = check_store(store, (), at=clock.now())
    assert without.outcome is Outcome.INDETERMINATE
    assert "signatures were not checked" in without.problems[0].reason
    other = generate_signer(archive.service.settings.log_origin).key
    assert check_store(store, (other,), at=clock.now()).outcome is Outcome.FAILED


def test_what_is_not_sealed_yet_is_undecided(archive: Archive, dossiers: Path) -> None:
    a_life(archive, dossiers)
    archive.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0009").folder)
    found = check(archive)
    assert found.outcome is Outcome.INDETERMINATE
    assert [problem.reason for problem in found.problems] == [
        "is not in the sealed log (yet): only its own digests could be checked"
    ]


def test_the_command_says_what_is_wrong(archive: Archive, dossiers: Path) -> None:
    from typer.testing import CliRunner, Result

    from archive_service.cli import app

    a_life(archive, dossiers)
    data = str(archive.service.settings.data_dir)
    assert isinstance(archive.service, Service)
    passed = CliRunner().invoke(app, ["check-store", "kho-1", "--data", data])
    assert passed.exit_code == 0, passed.output
    objects(archive.service.settings, "kho-1")[0].unlink()
    failed = CliRunner().invoke(app, ["check-store", "kho-1", "--data", data])
    assert failed.exit_code == 1
    assert "FAILED" in failed.stdout

    def rebuild(name: str) -> Result:
        target = archive.service.settings.data_dir / name
        into = ["--into", f"sqlite:///{target}", "--data", data]
        return CliRunner().invoke(app, ["rebuild", "--from", "kho-2", *into, "--compare"])

    rebuilt = rebuild("rebuilt.db")
    assert rebuilt.exit_code == 0, rebuilt.output
    assert "state hash" in rebuilt.stdout
    archive.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0009").folder)
    went_on = rebuild("went-on.db")
    assert went_on.exit_code == 7, went_on.output
    assert "NOT COMPARED" in went_on.stdout
    assert "DIFFERS" not in went_on.stdout
    assert CliRunner().invoke(app, ["seal", "--data", data]).exit_code == 0
    again = rebuild("again.db")
    assert again.exit_code == 0, again.output
    assert archive.call("GET", "evidence/checkpoint", role=RoleName.AUDITOR).status_code == 200


def test_packages_are_read_where_they_lie(archive: Archive, dossiers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A location of packages larger than the temporary disk is checked all the same, renewed digests included."""
    a_life(archive, dossiers)
    monkeypatch.setattr(tempfile, "tempdir", str(dossiers / "nowhere"))
    found = check(archive)
    assert (found.outcome, found.aips) == (Outcome.PASSED, 3)


def test_a_renewed_digest_is_compared_in_its_own_algorithm(archive: Archive, dossiers: Path) -> None:
    archive.archive(minimal_dossier(dossiers).folder)
    store = archive.service.stores["kho-2"]
    (aip,) = store.list("aip/")
    content = Path(archive.service.settings.data_dir, "storage", "kho-2", "objects").rglob("*.zip")
    digest = hashlib.sha512(next(content).read_bytes()).hexdigest()
    for renewed, outcome in ((digest, None), ("0" * 128, Outcome.FAILED), (None, Outcome.INDETERMINATE)):
        log = _Log()
        report = verify_opened(aip.key, opened_anywhere(store, aip.key))
        name = "sha512" if renewed else "md4096"
        log.renewed.rehashed[str(report.objid)] = {name: renewed or "0"}
        log.renewed.algorithms |= {"sha512"}
        found = StoreCheck(location="kho-2")
        _aip(store, aip.key, log, found, set())
        told = [problem.outcome for problem in found.problems if "digest" in problem.reason and name in problem.reason]
        assert told == ([outcome] if outcome else [])
