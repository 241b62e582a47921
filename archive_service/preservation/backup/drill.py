"""The restore drill (R123): a backup is restored into a scratch place and compared with what it was made of; minutes are kept as a record.

Proven: the restored database gives the state hash taken when the backup was made; its newest checkpoint is the beginning of the present
log (consistency proof), so that nothing was rewritten since; every staged byte is there with its digest; the objects named lie at their
locations. A step that could not be made says so and the drill is not PASSED.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from sqlalchemy import create_engine, func, make_url, select, text
from sqlalchemy.exc import SQLAlchemyError

from archive_service.audit import append_event, software
from archive_service.clock import LEGAL_ZONE, monotonic_s
from archive_service.db import Database
from archive_service.digests import digest_stream
from archive_service.errors import ArchiveError, ConfigurationInvalid
from archive_service.evidence import merkle
from archive_service.evidence.errors import ProofInvalid
from archive_service.ids import new_id
from archive_service.ingest.uploads import staged_name
from archive_service.models import Component, Event, EventType, LogSeal, Submission
from archive_service.models.states import IN_FLIGHT
from archive_service.packaging.verify import CheckResult, Outcome
from archive_service.preservation import proofs
from archive_service.preservation.backup import catalogue
from archive_service.preservation.backup.encryption import Keys
from archive_service.preservation.backup.located import not_in_place
from archive_service.preservation.backup.restoring import Restored, restore_backup
from archive_service.preservation.statehash import state_hash
from archive_service.scratch import Scratch
from archive_service.service import Service
from archive_service.storage import durable

MINUTES_TYPE: Final = "archive-restore-drill/1"
_AGENT: Final = software("restore-drill")


@dataclass(frozen=True, slots=True, kw_only=True)
class Minutes:
    """What a drill did and found: its record."""

    id: UUID
    backup: str
    sha256: str | None
    """Of the backup file."""
    made_at: str
    """When the backup was made, ISO 8601."""
    started_at: datetime
    seconds: float
    """From the encrypted file to the last comparison."""
    checks: Sequence[CheckResult]

    @property
    def outcome(self) -> Outcome:
        """PASSED only when every check was made and held."""
        found = {check.outcome for check in self.checks}
        if Outcome.FAILED in found:
            return Outcome.FAILED
        return Outcome.INDETERMINATE if Outcome.INDETERMINATE in found or not found else Outcome.PASSED

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "type": MINUTES_TYPE,
            "id": str(self.id),
            "backup": self.backup,
            "sha256": self.sha256,
            "made_at": self.made_at,
            "started_at": self.started_at.isoformat(),
            "seconds": round(self.seconds, 3),
            "outcome": self.outcome.value,
            "checks": [check.as_json() for check in self.checks],
        }

    def text(self) -> str:
        """Returns the minutes as a page, Vietnamese first. The prescribed form (TT 05/2025 PL VII) was not available: this one is ours."""
        made = datetime.fromisoformat(self.made_at).astimezone(LEGAL_ZONE)
        lines = [
            "BIÊN BẢN DIỄN TẬP KHÔI PHỤC / MINUTES OF A RESTORE DRILL",
            "",
            f"Thời điểm / at: {self.started_at.astimezone(LEGAL_ZONE):%d/%m/%Y %H:%M:%S} (UTC+7)",
            f"Bản sao lưu / backup: {self.backup}, {made:%d/%m/%Y %H:%M:%S}, SHA-256 {self.sha256 or '–'}",
            f"Thời gian khôi phục / time to restore: {self.seconds:.1f} s",
            f"Kết quả / outcome: {self.outcome.value}",
            "",
        ]
        for check in self.checks:
            lines.append(f"{check.outcome.value:<14} {_TITLES[check.name]}")
            lines += [f"    {reason}" for reason in check.reasons]
        return "".join(f"{line}\n" for line in lines)


_TITLES: Final = {
    "restored": "Khôi phục vào nơi trống / restored into an empty place",
    "state": "Trạng thái bằng lúc sao lưu / state equal to that of the backup",
    "log": "Nhật ký hiện tại nối tiếp nhật ký trong bản sao lưu / the present log continues the backup's",
    "staging": "Tệp đã tiếp nhận còn đủ / acknowledged bytes are all there",
    "locations": "Đối tượng có tại các kho / objects lie at their locations",
}


def drill(service: Service, backup: Path, keys: Keys, *, at: datetime, scratch_url: str | None = None) -> Minutes:
    """Restores a backup into a scratch place, compares, writes the minutes beside the backup and as an event, and returns them.

    Args:
        service: The living service; nothing of it is changed but for the event.
        backup: The encrypted file.
        keys: What opens it.
        at: Now.
        scratch_url: Empty PostgreSQL database to use; default one made for the drill on the service's own server.
    """
    started_s = monotonic_s()
    entry = catalogue.entry_of(backup)
    checks: list[CheckResult] = []
    made_at = entry.made_at if entry else at.isoformat()
    with Scratch(within=service.settings.data_dir, prefix=".restore-drill-") as folder:
        try:
            needs_postgres = not service.database.is_sqlite
            with _scratch(service, scratch_url, needed=needs_postgres) as url:
                restored = restore_backup(backup, keys, into=folder / "data", database_url=url)
                made_at = restored.header["made_at"]
                checks.append(_result("restored", [], {"members": restored.members}))
                checks += _compared(service, restored)
        except (ArchiveError, SQLAlchemyError) as exc:
            code = exc.code if isinstance(exc, ArchiveError) else type(exc).__name__
            checks.append(_result("restored", [f"{code}: {exc}"]))
    minutes = Minutes(
        id=new_id(),
        backup=backup.name,
        sha256=_digest(backup),
        made_at=made_at,
        started_at=at,
        seconds=monotonic_s() - started_s,
        checks=checks,
    )
    _keep(service, backup.parent, minutes, at=at)
    return minutes


def _digest(backup: Path) -> str | None:
    if not backup.is_file():
        return None
    with backup.open("rb") as source:
        return digest_stream(source)[0].hex


@contextmanager
def _scratch(service: Service, url: str | None, *, needed: bool) -> Iterator[str | None]:
    """Yields the URL of an empty PostgreSQL database, dropped afterwards when it was made here; None for SQLite."""
    if not needed or url is not None:
        yield url
        return
    server = make_url(service.database.url).set(drivername="postgresql+psycopg")
    name = f"restore_drill_{new_id().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            try:
                connection.execute(text(f'CREATE DATABASE "{name}" TEMPLATE template0'))
            except SQLAlchemyError as exc:
                message = "no scratch database can be made: give --scratch-url, or the database user CREATEDB"
                raise ConfigurationInvalid(message) from exc
            try:
                yield server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
            finally:
                connection.execute(text(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'))
    finally:
        engine.dispose()


# ------------------------------------------------------------------ comparing


def _compared(service: Service, restored: Restored) -> list[CheckResult]:
    database = Database(restored.database_url)
    try:
        return [
            _state(database, restored),
            _log(service, database),
            _staging(database, restored.folder),
            _locations(service, database),
        ]
    finally:
        database.close()


def _state(database: Database, restored: Restored) -> CheckResult:
    header = restored.header
    if header["schema_revision"] != restored.revision:
        return _undecided(
            "state", f"schema {header['schema_revision']} was brought to {restored.revision}: not comparable"
        )
    with database.read() as session:
        counted = session.scalar(select(func.count()).select_from(Event)) or 0
        found = state_hash(session, up_to_seq=header["last_seq"])
    problems = [] if found == header["state_hash"] else [f"state hash {found}, the backup's is {header['state_hash']}"]
    return _result("state", problems, {"state_hash": found, "events": counted})


def _log(service: Service, database: Database) -> CheckResult:
    query = select(LogSeal).where(LogSeal.state == "SEALED").order_by(LogSeal.ordinal.desc()).limit(1)
    with database.read() as restored, service.database.read() as living:
        then, now = restored.scalars(query).one_or_none(), living.scalars(query).one_or_none()
        if then is None or now is None or then.root is None or now.root is None:
            return _undecided("log", "nothing was sealed when the backup was made")
        first, second = then.tree_size or 0, now.tree_size or 0
        if first > second:
            return _result("log", [f"the backup's log has {first} leaves, the present one {second}"])
        try:
            merkle.verify_consistency(
                first=first,
                second=second,
                first_root=bytes.fromhex(then.root),
                second_root=bytes.fromhex(now.root),
                proof=proofs.log_reader(living, second).consistency_proof(first, second),
            )
        except ProofInvalid as exc:
            return _result("log", [exc.message])
    return _result("log", [], {"from": first, "to": second})


def _staging(database: Database, folder: Path) -> CheckResult:
    query = (
        select(Component.submission_id, Component.ordinal, Component.declared_sha256)
        .join(Submission, Submission.id == Component.submission_id)
        .where(Submission.state.in_(IN_FLIGHT), Component.received_at.is_not(None))
    )
    problems, count = [], 0
    with database.read() as session:
        for submission_id, ordinal, sha256 in session.execute(query, execution_options={"yield_per": 1000}):
            path = folder / "staging" / str(submission_id) / staged_name(ordinal)
            count += 1
            if _digest(path) != sha256.lower():
                problems.append(f"{submission_id}/{path.name} is missing or damaged")
    return _result("staging", problems, {"files": count})


def _locations(service: Service, database: Database) -> CheckResult:
    with database.read() as session:
        problems = not_in_place(session, service.stores)
    return _result("locations", problems)


def _result(name: str, problems: Sequence[str], detail: dict[str, Any] | None = None) -> CheckResult:
    outcome = Outcome.FAILED if problems else Outcome.PASSED
    return CheckResult(name=name, outcome=outcome, reasons=list(problems[:50]), detail=detail or {})


def _undecided(name: str, reason: str) -> CheckResult:
    return CheckResult(name=name, outcome=Outcome.INDETERMINATE, reasons=[f"not checked: {reason}"])


def _keep(service: Service, folder: Path, minutes: Minutes, *, at: datetime) -> None:
    name = f"drill-{at:%Y%m%dT%H%M%SZ}-{minutes.id.hex[-8:]}"
    content = json.dumps(minutes.as_json(), ensure_ascii=False, indent=1) + "\n"
    for suffix, text_ in ((".json", content), (".txt", minutes.text())):
        with durable.durable_file(folder / f"{name}{suffix}", replace=True) as target:
            target.write(text_.encode())
    with service.database.write() as session:
        append_event(
            session,
            EventType.BACKUP_DRILLED,
            subject_kind="backup",
            subject_id=minutes.backup[:100],
            agency=None,
            agent=_AGENT,
            at=at,
            detail=minutes.as_json(),
        )
