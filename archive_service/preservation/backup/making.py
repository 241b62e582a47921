"""Making a backup: nothing is called backed up before it was read back from where it lies.

Order: lock on the folder, leftovers of a killed run cleared → staging linked → picture of the database → staging linked again, completeness
checked → locations compared → encrypted tar under a temporary name, fsync → read back, every member's digest compared → published →
catalogue entry → older backups beyond `keep` removed → event. A kill at any point leaves the earlier backups as they were and at most a
file that the next run clears away: what has no entry in the catalogue is no backup.
"""

import fcntl
import io
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from sqlalchemy import func, select

from archive_service import __version__
from archive_service.audit import append_event, software
from archive_service.clock import LEGAL_ZONE
from archive_service.digests import digest_stream
from archive_service.errors import Conflict, StoreUnavailable
from archive_service.models import Event, EventType, LogSeal, Record
from archive_service.preservation.backup import catalogue, staged
from archive_service.preservation.backup.archive import (
    BACKUP_TYPE,
    EXPECTED_NAME,
    HEADER_NAME,
    README_NAME,
    Member,
    Members,
    read_archive,
    read_through,
    write_archive,
)
from archive_service.preservation.backup.catalogue import Entry
from archive_service.preservation.backup.encryption import (
    BackupDamaged,
    DecryptingReader,
    EncryptingWriter,
    Keys,
    Recipient,
)
from archive_service.preservation.backup.located import not_in_place, write_expected
from archive_service.preservation.backup.snapshot import Snapshot, snapshot
from archive_service.preservation.log_keys import keys_dir
from archive_service.preservation.statehash import state_hash
from archive_service.service import Service
from archive_service.settings import Settings
from archive_service.storage import durable

WORK_PREFIX: Final = ".backup-work-"
LOCK_NAME: Final = ".lock"
PICTURES_MAX: Final = 3
"""Pictures taken before giving up because staged bytes were discarded in between: two in a row are unheard of."""
BUFFER_BYTES: Final = 1024 * 1024
_AGENT: Final = software("backup")

Progress = Callable[[str, int, int], None]
"""(stage, bytes done, bytes in all)."""


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Shows nothing."""


class BackupNotComplete(StoreUnavailable):
    """Bytes that were acknowledged are not in staging, in several tries: nothing was called backed up. Look at the submissions named."""

    code = "BACKUP_NOT_COMPLETE"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupPlan:
    """Where to, for whom, how many to keep."""

    folder: Path
    recipients: tuple[Recipient, ...] = ()
    passphrase: bytes | None = field(default=None, repr=False)
    keep: int | None = None
    """Backups that stay, this one included; None = all."""


def make_backup(service: Service, plan: BackupPlan, *, at: datetime, progress: Progress = _silent) -> Entry:
    """Makes a backup, reads it back, and returns its catalogue entry.

    Raises:
        Conflict: another backup into this folder is running.
        BackupNotComplete: acknowledged bytes are missing in staging.
        StoreFull: no room in the data folder or in the backup folder.
        StoreUnavailable: database, staging or the folder cannot be read or written now.
        ConfigurationInvalid: no key, or a false one.
    """
    durable.make_directories(plan.folder)
    with ExitStack() as stack:
        stack.enter_context(_locked(plan.folder))
        _clear_leftovers(service.settings.data_dir, plan.folder, at)
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=service.settings.data_dir)))
        taken, linked = _picture(service, work, stack)
        expected = work / "expected.jsonl"
        objects = write_expected(taken.session, expected)
        problems = not_in_place(taken.session, service.stores)
        header = _header(service, taken, at, objects=objects, problems=problems)
        members = list(_members(service.settings, taken, linked, expected, header))
        entry = _write(plan, header, members, taken, progress)
    catalogue.write_entry(plan.folder, entry)
    removed = _retire(plan)
    _note(service, entry, removed, at=at)
    return entry


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with durable.os_errors("lock", folder.name):
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(f"another backup into {folder} is running") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _clear_leftovers(data_dir: Path, folder: Path, at: datetime) -> None:
    """Removes what a killed run left: under the lock, nobody else works here."""
    import shutil

    for path in data_dir.glob(f"{WORK_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)
    durable.sweep_temporaries(folder, older_than=at)
    known = {entry.file for entry in catalogue.entries(folder)}
    for path in folder.glob(f"backup-*{catalogue.SUFFIX}"):
        if path.name not in known:
            durable.remove(path)


def _picture(service: Service, work: Path, stack: ExitStack) -> tuple[Snapshot, Path]:
    """Returns a picture of the database together with all staged bytes it speaks of."""
    missing: list[str] = []
    for number in range(PICTURES_MAX):
        linked, copied = work / f"staging-{number}", work / f"database-{number}"
        with durable.os_errors("make folder in", work.name):
            linked.mkdir()
            copied.mkdir()
        staged.link_staging(service.settings.staging_dir, linked)
        trying = ExitStack()
        taken = trying.enter_context(snapshot(service.database, copied))
        staged.link_staging(service.settings.staging_dir, linked)
        missing = staged.lacking(taken.session, linked)
        if not missing:
            stack.push(trying)
            return taken, linked
        trying.close()
    raise BackupNotComplete(f"acknowledged bytes are not in staging: {', '.join(missing)}")


# ------------------------------------------------------------------ what goes in


def _header(
    service: Service, taken: Snapshot, at: datetime, *, objects: int, problems: Sequence[str]
) -> dict[str, Any]:
    session = taken.session
    query = select(LogSeal).where(LogSeal.state == "SEALED").order_by(LogSeal.ordinal.desc()).limit(1)
    seal = session.scalars(query).one_or_none()
    return {
        "type": BACKUP_TYPE,
        "id": catalogue.name_of(at, secrets.token_hex(4)),
        "made_at": at.isoformat(),
        "software_version": __version__,
        "engine": taken.engine,
        "schema_revision": taken.revision,
        "log": {
            "origin": service.settings.log_origin,
            "seal": seal.ordinal if seal else 0,
            "size": (seal.tree_size or 0) if seal else 0,
            "root": seal.root if seal else None,
            "checkpoint": seal.checkpoint if seal else None,
        },
        "last_seq": session.scalar(select(func.max(Event.seq))) or 0,
        "state_hash": state_hash(session),
        "records": session.scalar(select(func.count()).select_from(Record)) or 0,
        "objects": objects,
        "problems": list(problems),
    }


def _members(
    settings: Settings, taken: Snapshot, linked: Path, expected: Path, header: dict[str, Any]
) -> Iterator[Member]:
    yield Member(name=README_NAME, content=README.format(**header).encode())
    yield Member(name=HEADER_NAME, content=json.dumps(header, ensure_ascii=False, indent=1).encode())
    yield Member(name="config/settings.json", content=settings.model_dump_json(indent=1).encode())
    for name, path in (("locations.toml", settings.locations), ("tsa-anchors.pem", settings.tsa_anchors)):
        if path is not None:
            yield Member(name=f"config/{name}", content=path)
    for folder, root in (("keys", keys_dir(settings)), ("trust", settings.resolved_trust_dir)):
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            if path.is_file() and not path.name.startswith("."):
                yield Member(name=f"{folder}/{path.relative_to(root).as_posix()}", content=path)
    for path in taken.files:
        yield Member(name=f"database/{path.name}", content=path)
    for path in staged.needed(taken.session, linked):
        yield Member(name=f"{staged.FOLDER}/{path.parent.name}/{path.name}", content=path)
    yield Member(name=EXPECTED_NAME, content=expected)


# ------------------------------------------------------------------ writing and reading back


def _write(
    plan: BackupPlan, header: dict[str, Any], members: Sequence[Member], taken: Snapshot, progress: Progress
) -> Entry:
    total = sum(
        len(member.content) if isinstance(member.content, bytes) else member.content.stat().st_size
        for member in members
    )
    name = f"{header['id']}{catalogue.SUFFIX}"
    at_s = int(datetime.fromisoformat(header["made_at"]).timestamp())
    with durable.DurableFile(plan.folder / name, mode=0o600) as writing:
        encrypting = EncryptingWriter(writing.file, plan.recipients, passphrase=plan.passphrase)
        buffered = io.BufferedWriter(encrypting, BUFFER_BYTES)
        listed = write_archive(buffered, members, at_s=at_s, progress=_counting(progress, "write", total))
        buffered.flush()
        encrypting.finish()
        _to_disk(writing.file)
        digest, size_bytes = digest_stream(writing.file)
        _read_back(writing.file, encrypting.file_key, listed, _counting(progress, "check", total))
        broken = staged.damaged(taken.session, listed)
        if broken:
            raise BackupNotComplete(f"staged bytes are not those acknowledged: {', '.join(broken)}")
        writing.commit()
    return Entry(
        id=header["id"],
        file=name,
        made_at=header["made_at"],
        size_bytes=size_bytes,
        sha256=digest.hex,
        software_version=header["software_version"],
        schema_revision=header["schema_revision"],
        engine=header["engine"],
        log_origin=header["log"]["origin"],
        log_size=header["log"]["size"],
        log_root=header["log"]["root"],
        last_seq=header["last_seq"],
        state_hash=header["state_hash"],
        records=header["records"],
        in_flight=len({name.split("/")[1] for name in listed if name.startswith(f"{staged.FOLDER}/")}),
        members=len(listed),
        encrypted_for=[str(recipient) for recipient in plan.recipients] or ["passphrase"],
        problems=header["problems"],
    )


def _counting(progress: Progress, stage: str, total: int) -> Callable[[int], None]:
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(stage, done, total)

    return count


def _to_disk(file: BinaryIO) -> None:
    """Flushes, and asks the system to forget the pages, so that reading back reads the disk."""
    file.flush()
    with durable.os_errors("flush", "backup"):
        os.fsync(file.fileno())
    with suppress(OSError):  # advice only; a file system may not know it
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    file.seek(0)


def _read_back(file: BinaryIO, file_key: bytes, written: Members, progress: Callable[[int], None]) -> None:
    file.seek(0)
    reader = io.BufferedReader(DecryptingReader(file, Keys(file_key=file_key)), BUFFER_BYTES)
    if read_archive(cast("BinaryIO", reader), read_through, progress=progress) != written:
        raise BackupDamaged("the backup was read back otherwise than it was written")


# ------------------------------------------------------------------ afterwards


def _retire(plan: BackupPlan) -> list[str]:
    """Removes the oldest backups beyond `keep`, and returns their names."""
    known = catalogue.entries(plan.folder)
    extra = known[: -plan.keep] if plan.keep else []
    for entry in extra:
        catalogue.remove(plan.folder, entry)
    if extra:
        catalogue.write_list(plan.folder)
    return [entry.file for entry in extra]


def _note(service: Service, entry: Entry, removed: Sequence[str], *, at: datetime) -> None:
    detail = {
        "backup": entry.id,
        "sha256": entry.sha256,
        "size_bytes": entry.size_bytes,
        "last_seq": entry.last_seq,
        "log_size": entry.log_size,
        "problems": list(entry.problems),
        "removed": list(removed),
    }
    with service.database.write() as session:
        append_event(
            session,
            EventType.BACKUP_MADE,
            subject_kind="backup",
            subject_id=entry.id,
            agency=None,
            agent=_AGENT,
            at=at,
            detail=detail,
        )


README: Final = f"""\
Bản sao lưu của hệ thống lưu trữ hồ sơ / backup of a records archive: {{id}}, archive-service {{software_version}}, {{made_at}}.
Múi giờ pháp định / legal time zone: {LEGAL_ZONE}.

database/   cơ sở dữ liệu: archive.db (SQLite), hoặc tables.json và mỗi bảng một tệp COPY của PostgreSQL
            the database: archive.db (SQLite), or tables.json and one PostgreSQL COPY text per table
staging/    tệp đã tiếp nhận, chưa lưu kho / bytes received and acknowledged that were not yet stored
config/     cấu hình / settings            keys/  khóa của nhật ký / keys of the log      trust/  chứng thư tin cậy / trust anchors
storage/    đối tượng phải có ở từng kho / objects that must lie at each location
MANIFEST.json  SHA-256 của từng tệp / of each file

Khôi phục / to restore:  archive-service restore FILE --identity key.txt --into DIR
PostgreSQL không có phần mềm này / without this program: tạo lược đồ {{schema_revision}} / make schema {{schema_revision}}, then for each table
of tables.json in order:  \\copy TABLE (COLUMNS) FROM 'TABLE.copy'
"""
