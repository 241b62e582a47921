"""Changing the log's key: both keys sign the change, old checkpoints stay verifiable, and a retired key never signs again."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from archive_service import clock
from archive_service.audit import software
from archive_service.cli import build_app
from archive_service.db import Database
from archive_service.errors import StoreUnavailable
from archive_service.evidence.checkpoint import parse_checkpoint, parse_note, sign_note
from archive_service.evidence.errors import CheckpointInvalid
from archive_service.models import LogSeal, RoleName
from archive_service.packaging.verify import Outcome
from archive_service.preservation import log_rotation, log_storage
from archive_service.preservation import seal as sealing
from archive_service.preservation.check_store import check_store
from archive_service.preservation.log_keys import keys_dir, known_keys, log_signer, next_signer
from archive_service.preservation.log_rotation import key_periods, rotate_key
from archive_service.preservation.log_storage import LogForked
from archive_service.preservation.log_trust import LogTrust
from archive_service.preservation.rebuild import rebuild
from archive_service.preservation.seal import LogKeyDiffers, seal_log
from archive_service.preservation.statehash import state_hash
from archive_service.service import Service
from tests.pipeline import Archive
from tests.preservation.test_seal import add_events, seal


def rotate(service: Service) -> list[LogSeal]:
    return rotate_key(service, agent=software("tests"), reason="yearly", at=clock.unique_now())


def test_old_and_new_key_sign_the_change_and_the_new_one_goes_on(archive: Archive) -> None:
    service = archive.service
    add_events(service)
    (first,) = seal(service)
    old = log_signer(service.settings)
    (change,) = rotate(service)
    new = log_signer(service.settings)
    add_events(service)
    (after,) = seal(service)
    assert old.key != new.key
    for row, keys in ((first, [old]), (change, [old, new]), (after, [new])):
        for text in (row.note, row.checkpoint):
            lines = parse_note(str(text)).signatures
            assert [line.key_id for line in lines] == [signer.key.key_id for signer in keys]
    assert parse_checkpoint(str(first.checkpoint)).verify([old.key])
    with service.database.read() as session:
        periods = key_periods(session, service.settings)
    assert [(item.key, item.first_seal, item.last_seal) for item in periods] == [(old.key, 1, 2), (new.key, 2, None)]
    assert archive.call("GET", "evidence/keys").json()["items"][1]["key"] == new.key.vkey()


def test_the_old_private_key_is_gone_and_none_is_in_the_database(archive: Archive) -> None:
    service = archive.service
    add_events(service)
    seal(service)
    old = log_signer(service.settings).skey()
    rotate(service)
    folder = keys_dir(service.settings)
    # the last of five fields; its base64 may hold a "+" of its own
    secrets = [key.split("+", 4)[-1].encode() for key in (old, log_signer(service.settings).skey())]
    assert {path.name for path in folder.glob("*.skey")} == {"log.skey"}
    assert (folder / "log.skey").stat().st_mode & 0o777 == 0o600
    assert next_signer(service.settings) is None
    for path in service.settings.data_dir.rglob("*"):
        if path.is_file() and path.name != "log.skey":
            content = path.read_bytes()
            assert not any(secret in content for secret in secrets), path


def test_whoever_knows_the_first_key_follows_the_log(archive: Archive, tmp_path: Path) -> None:
    service = archive.service
    add_events(service)
    seal(service)
    first = known_keys(service.settings)
    for _ in range(2):
        rotate(service)
    add_events(service)
    seal(service)
    found = check_store(service.stores["kho-1"], first, at=clock.now())
    assert (found.problems, found.outcome) == ([], Outcome.PASSED)
    target = Database(f"sqlite:///{tmp_path / 'rebuilt.db'}")
    report = rebuild(service.stores["kho-2"], target, first, at=clock.unique_now())
    with service.database.read() as session:
        assert report.state_hash == state_hash(session, up_to_seq=report.last_seq)
    target.close()


def test_a_seal_with_a_retired_key_is_refused(archive: Archive) -> None:
    service = archive.service
    add_events(service)
    seal(service)
    shutil.copytree(keys_dir(service.settings), service.settings.data_dir / "stolen")
    old = log_signer(service.settings)
    rotate(service)
    add_events(service)
    (last,) = seal(service)
    forged = sign_note(parse_note(str(last.note)).text, [old]).to_text()
    path = next((service.settings.data_dir / "storage" / "kho-1").rglob("000000003.note"))
    path.chmod(0o600)
    path.write_text(forged)
    found = check_store(service.stores["kho-1"], known_keys(service.settings), at=clock.now())
    assert any("key in force" in problem.reason for problem in found.problems)
    with pytest.raises(LogForked):
        seal(service)
    shutil.rmtree(keys_dir(service.settings))
    (service.settings.data_dir / "stolen").rename(keys_dir(service.settings))
    add_events(service)
    with pytest.raises(LogKeyDiffers):
        seal(service)


def test_two_keys_without_an_event_are_refused(archive: Archive) -> None:
    signers = [log_signer(archive.service.settings)]
    rotate(archive.service)
    signers.append(log_signer(archive.service.settings))
    trust = LogTrust([signer.key for signer in signers])
    with pytest.raises(CheckpointInvalid, match="without an event"):
        trust.accept(sign_note("text\n", signers))
    trust.accept(sign_note("text\n", signers[:1]))
    change = {"old_key": signers[0].key.vkey(), "new_key": signers[1].key.vkey()}
    with pytest.raises(CheckpointInvalid, match="new key did not sign"):
        trust.accept(sign_note("text\n", signers[:1]), [change])
    trust.accept(sign_note("text\n", signers), [change])
    with pytest.raises(CheckpointInvalid, match="key in force"):
        trust.accept(sign_note("text\n", signers[:1]))


def test_a_change_that_was_cut_off_goes_on_with_the_same_key(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    service = archive.service
    add_events(service)
    seal(service)

    def fails(*_arguments: object) -> None:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(log_rotation, "seal_log", lambda *_a, **_k: [])
        rotate(service)
    begun = next_signer(service.settings)
    assert begun is not None
    with monkeypatch.context() as patched:
        patched.setattr(sealing, "write_seal", fails)
        with pytest.raises(StoreUnavailable):
            rotate(service)
    (made,) = rotate(service)
    assert made.ordinal == 2
    assert log_signer(service.settings).key == begun.key
    assert seal(service) == []
    assert log_storage.read_seal_note(service.stores["kho-1"], 2, (begun.key,))


def test_the_commands(archive: Archive) -> None:
    service = archive.service
    if not service.database.is_sqlite:
        return
    run = CliRunner().invoke
    env = {"ARCHIVE_DATABASE_URL": service.settings.resolved_database_url}
    for command in ("seal", "seal rotate-key --reason thử", "seal renew --dry-run", "seal renew", "seal status"):
        done = run(build_app(["preservation"]), [*command.split(), "--data", str(service.settings.data_dir)], env=env)
        assert done.exit_code == 0, done.output
    assert '"renewal_margin_s": null' in done.output
    health = archive.call("GET", "preservation/evidence", role=RoleName.ADMIN).json()
    assert (health["seals"], health["unsealed_events"] > 0) == (1, True)
    metrics = archive.http.get("/metrics").text
    assert "archive_seal_lag_seconds" in metrics
    assert "archive_evidence_renewal_urgency 0.0" in metrics
    assert seal_log(service, at=clock.unique_now())
