"""The catalogue of backups (R122): beside each backup a JSON file and a page of text, and over all of them one list.

An entry is written only after the backup was read back. It holds no secret and nothing of a record.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from archive_service.clock import LEGAL_ZONE
from archive_service.errors import ConfigurationInvalid
from archive_service.storage import durable

SUFFIX: Final = ".age"
LIST_NAME: Final = "CATALOGUE.txt"
ENTRY_TYPE: Final = "archive-backup-entry/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One backup."""

    id: str
    file: str
    made_at: str
    """ISO 8601, UTC: the moment of the database's picture."""
    size_bytes: int
    sha256: str
    """Of the encrypted file."""
    software_version: str
    schema_revision: str
    engine: str
    log_origin: str
    log_size: int
    """Leaves under the newest checkpoint; 0 when nothing was sealed."""
    log_root: str | None
    last_seq: int
    """Newest event."""
    state_hash: str
    records: int
    in_flight: int
    """Submissions whose acknowledged bytes are in the backup."""
    members: int
    encrypted_for: Sequence[str]
    """Recipients (age1…), or `passphrase`."""
    problems: Sequence[str] = ()
    """What was not in order in storage at that moment; the backup itself was read back."""
    type: str = field(default=ENTRY_TYPE)


def write_entry(folder: Path, entry: Entry) -> None:
    """Writes an entry, as JSON and as text, then the list of all."""
    content = json.dumps(asdict(entry), ensure_ascii=False, indent=1) + "\n"
    for suffix, text in ((".txt", entry_text(entry)), (".json", content)):  # .json last: it says that all is there
        with durable.durable_file(folder / f"{entry.id}{suffix}", replace=True) as target:
            target.write(text.encode())
    write_list(folder)


def write_list(folder: Path) -> None:
    """Writes the list of all backups in a folder."""
    lines = ["Danh mục bản sao lưu / catalogue of backups", ""]
    lines += [
        f"{item.made_at}  {item.file}  {item.size_bytes} byte  sha256 {item.sha256}"
        + (f"  có {len(item.problems)} vấn đề / problems" if item.problems else "")
        for item in entries(folder)
    ]
    with durable.durable_file(folder / LIST_NAME, replace=True) as target:
        target.write("".join(f"{line}\n" for line in lines).encode())


def entries(folder: Path) -> list[Entry]:
    """Returns the backups of a folder, oldest first.

    Raises:
        ConfigurationInvalid: an entry is not in its form.
    """
    found = []
    for path in sorted(folder.glob("backup-*.json")):
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            found.append(Entry(**fields))
        except (OSError, ValueError, TypeError) as exc:
            raise ConfigurationInvalid(f"{path} is no entry of the catalogue: {exc}") from exc
    return sorted(found, key=lambda entry: (entry.made_at, entry.id))


def entry_of(backup: Path) -> Entry | None:
    """Returns a backup's entry where it lies beside it."""
    return next((entry for entry in entries(backup.parent) if entry.file == backup.name), None)


def remove(folder: Path, entry: Entry) -> None:
    """Removes a backup and its entry; a crash half-way leaves a file without entry, which the next backup clears away."""
    for name in (f"{entry.id}.json", entry.file, f"{entry.id}.txt"):
        durable.remove(folder / name)


def name_of(at: datetime, mark: str) -> str:
    """Returns the id of a backup made at `at`."""
    return f"backup-{at:%Y%m%dT%H%M%SZ}-{mark}"


def lag(entry: Entry, at: datetime) -> timedelta:
    """Returns how old a backup is."""
    return at - datetime.fromisoformat(entry.made_at)


def entry_text(entry: Entry) -> str:
    """Returns an entry as a page, Vietnamese first."""
    made = datetime.fromisoformat(entry.made_at).astimezone(LEGAL_ZONE)
    facts: list[tuple[str, Any]] = [
        ("Tệp / file", entry.file),
        ("Thời điểm / taken at", f"{made:%d/%m/%Y %H:%M:%S} (UTC+7)"),
        ("Dung lượng / size", f"{entry.size_bytes} byte"),
        ("SHA-256", entry.sha256),
        ("Phần mềm / software", f"archive-service {entry.software_version}"),
        ("Cơ sở dữ liệu / database", f"{entry.engine}, lược đồ / schema {entry.schema_revision}"),
        ("Nhật ký / log", f"{entry.log_origin}: {entry.log_size} lá / leaves, gốc / root {entry.log_root or '–'}"),
        ("Sự kiện cuối / last event", entry.last_seq),
        ("Mã trạng thái / state hash", entry.state_hash),
        ("Hồ sơ / records", entry.records),
        ("Đang tiếp nhận / on the way", entry.in_flight),
        ("Mã hóa cho / encrypted for", ", ".join(entry.encrypted_for)),
    ]
    lines = ["BẢN SAO LƯU / BACKUP", "", *(f"{name}: {value}" for name, value in facts), ""]
    if entry.problems:
        lines += ["Vấn đề tại các kho lúc sao lưu / not in order at the locations at that moment:"]
        lines += [f"  {problem}" for problem in entry.problems] + [""]
    return "".join(f"{line}\n" for line in [*lines, RESTORE_TEXT.format(file=entry.file)])


RESTORE_TEXT: Final = """\
Khôi phục / to restore:

    archive-service restore {file} --identity key.txt --into /srv/archive

Không có phần mềm này / without this program (https://age-encryption.org, định dạng mở / an open format):

    age -d -i key.txt {file} | tar -xf -

Khóa bí mật (key.txt) được giữ ở nơi khác. / The secret key is kept elsewhere.
"""
