"""Dispute packages: every command on the page is run as printed, holds, and fails when a byte is flipped; same state, same bytes."""

import html
import io
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from asn1crypto import pem
from lxml import etree

from archive_service import clock
from archive_service.db import Database
from archive_service.evidence.local_tsa import create_local_tsa
from archive_service.models import RoleName
from archive_service.preservation.seal import seal_log
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service
from tests.conftest import NotRun
from tests.pipeline import Archive
from tests.unit.evidence.tsa_server import TsaServer

TOOLS = ("openssl", "sha256sum", "unzip", "cmp")


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """One engine for the package's content; what is read from the database is tested on both elsewhere."""
    opened = Database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def disputed(archive: Archive, dossiers: Path, tmp_path: Path) -> tuple[Archive, str]:
    """A record with two versions in the middle of a log, time-stamped."""
    for number in range(3):
        archive.archive(minimal_dossier(dossiers / str(number), code=f"000.00.16.H56-250314-000{number}").folder)
    record_id = archive.archive(minimal_dossier(dossiers, code="000.00.16.H56-250314-0042").folder)
    supplement = minimal_dossier(
        dossiers / "more", code="000.00.16.H56-250314-0042", record_status="SUPPLEMENT", title="Bổ sung"
    )
    archive.archive(supplement.folder)
    at = clock.now()
    with TsaServer(create_local_tsa(valid_from=at), at).running() as tsa:
        anchors = tmp_path / "tsa.pem"
        anchors.write_bytes(pem.armor("CERTIFICATE", tsa.tsa.root.dump()))
        settings = archive.service.settings.model_copy(update={"tsa_url": tsa.url, "tsa_anchors": anchors})
        service = Service(settings=settings, database=archive.service.database)
        seal_log(service, at=clock.unique_now())
    archive.http.app.state.service = service  # type: ignore[attr-defined]  # a FastAPI application
    archive.service = service
    archive.archive(minimal_dossier(dossiers / "later", code="000.00.16.H56-250314-0099").folder)
    seal_log(
        Service(settings=settings.model_copy(update={"tsa_url": None}), database=service.database),
        at=clock.unique_now(),
    )
    return archive, record_id


def fetched(archive: Archive, record_id: str, query: str = "") -> bytes:
    answer = archive.call("GET", f"records/{record_id}/dispute-package{query}", role=RoleName.ARCHIVIST)
    assert answer.status_code == 200, answer.text
    content: bytes = answer.content
    assert int(answer.headers["content-length"]) == len(content)
    return content


def unpacked(content: bytes, folder: Path) -> Path:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    return folder


def commands_of(folder: Path) -> list[str]:
    text = (folder / "README.txt").read_text(encoding="utf-8")
    return list(dict.fromkeys(re.findall(r"^    \$ (.+)$", text, flags=re.MULTILINE)))


def holds(folder: Path, command: str) -> bool:
    """Whether a bare shell says what the page promises of a command that holds."""
    done = subprocess.run(
        ["sh", "-c", command], cwd=folder, env={"PATH": os.environ["PATH"]}, capture_output=True, check=False
    )
    said = done.stdout.decode().endswith("OK\n")
    assert said is (done.returncode == 0)
    return said


def require_tools(not_run: NotRun) -> None:
    for tool in TOOLS:
        if shutil.which(tool) is None:
            not_run(tool, f"no {tool} program found")


def test_every_command_of_the_page_holds(disputed: tuple[Archive, str], tmp_path: Path, not_run: NotRun) -> None:
    require_tools(not_run)
    folder = unpacked(fetched(*disputed), tmp_path / "package")
    commands = commands_of(folder)
    kinds = {
        name
        for name in ("sha256sum", "unzip -p", "pkeyutl", "ts -verify", "cmp -n", "base64")
        for c in commands
        if name in c
    }
    assert len(kinds) == 6
    assert [command for command in commands if not holds(folder, command)] == []
    page = (folder / "README.html").read_text(encoding="utf-8")
    shown = [
        html.unescape(line)
        for block in re.findall(r"<pre>(.*?)</pre>", page, flags=re.DOTALL)
        for line in block.split("\n")
    ]
    assert set(commands) <= set(shown)
    for missing in ("aip/v1.zip", "evidence/v1/log-2.bin", "evidence/checkpoint.sig"):
        (folder / missing).unlink()
        assert not [command for command in commands if missing in command and holds(folder, command)]
    assert page.index("GÓI CHỨNG CỨ") < page.index("DISPUTE PACKAGE")
    assert "<script" not in page


FLIPPED = (
    "originals/*/*",
    "aip/v1.zip",
    "aip/v2.zip",
    "reports/*/validation.json",
    "evidence/checkpoint.txt",
    "evidence/checkpoint.body",
    "evidence/checkpoint.sig",
    "evidence/v1/log-1.bin",
    "evidence/v1/log-*.bin",
    "evidence/v1/tree-*.bin",
    "evidence/v1/timestamp-1.tst",
    "evidence/v2/record.ers",
    "keys/log.pem",
    "custody/custody.pdf",
    "custody/custody.premis.xml",
)


@pytest.mark.parametrize("kind", ["as given", "sums made again"])
def test_a_flipped_byte_makes_a_command_fail(
    disputed: tuple[Archive, str], tmp_path: Path, not_run: NotRun, kind: str
) -> None:
    require_tools(not_run)
    folder = unpacked(fetched(*disputed), tmp_path / "package")
    commands = commands_of(folder)
    proven = [pattern for pattern in FLIPPED if not pattern.startswith(("reports", "custody", "evidence/v2/record"))]
    for pattern in FLIPPED if kind == "as given" else proven:
        victim = max(folder.glob(pattern))
        sound = victim.read_bytes()
        victim.write_bytes(
            sound[: len(sound) // 2] + bytes([sound[len(sound) // 2] ^ 1]) + sound[len(sound) // 2 + 1 :]
        )
        checks = commands if kind == "as given" else [command for command in commands if "SHA256SUMS" not in command]
        assert not all(holds(folder, command) for command in checks), pattern
        victim.write_bytes(sound)


def test_the_same_state_gives_the_same_bytes(disputed: tuple[Archive, str]) -> None:
    assert fetched(*disputed) == fetched(*disputed)


def test_a_package_of_one_document_holds_that_original_alone(disputed: tuple[Archive, str], tmp_path: Path) -> None:
    archive, record_id = disputed
    contents = archive.call("GET", f"records/{record_id}", role=RoleName.ARCHIVIST).json()["contents"]
    folder = unpacked(fetched(archive, record_id, f"?component={contents[0]['id']}"), tmp_path / "one")
    assert {path.parent.name for path in folder.glob("originals/*/*")} <= {"v1", "v2"}
    assert json.loads((folder / "dispute.json").read_text())["component_id"] == contents[0]["id"]
    whole = unpacked(fetched(archive, record_id), tmp_path / "all")
    assert len(list(folder.glob("originals/*/*"))) < len(list(whole.glob("originals/*/*")))
    missing = archive.call("GET", f"records/{record_id}/dispute-package?component=none", role=RoleName.ARCHIVIST)
    assert missing.status_code == 404


def test_custody_says_who_did_what_and_not_who_read(disputed: tuple[Archive, str], tmp_path: Path) -> None:
    archive, record_id = disputed
    archive.call("GET", f"records/{record_id}/aip", role=RoleName.ARCHIVIST)
    folder = unpacked(fetched(archive, record_id), tmp_path / "package")
    tree = etree.parse(folder / "custody" / "custody.premis.xml")
    kinds = tree.xpath("//*[local-name()='eventType']/text()")
    assert {"submission.opened", "submission.approved", "record.accessioned", "record.version-added"} <= set(kinds)
    assert not any(kind.endswith("-read") for kind in kinds)
    agents = set(tree.xpath("//*[local-name()='agentIdentifierValue']/text()"))
    assert set(tree.xpath("//*[local-name()='linkingAgentIdentifierValue']/text()")) == agents
    assert (folder / "custody" / "custody.pdf").read_bytes().startswith(b"%PDF-")
    events = archive.call("GET", f"records/{record_id}/events?limit=1000", role=RoleName.ARCHIVIST).json()["items"]
    assert events[-1]["type"] == "record.dispute-package-read"


def test_who_may_not_read_gets_no_package(disputed: tuple[Archive, str]) -> None:
    archive, record_id = disputed
    assert archive.call("GET", f"records/{record_id}/dispute-package", role=RoleName.AUDITOR).status_code in {403, 404}
    assert (
        archive.call("GET", f"records/{record_id}/dispute-package", role=RoleName.ARCHIVIST, agency="H99.1").status_code
        == 404
    )


def test_an_unsealed_record_says_what_is_missing(archive: Archive, dossiers: Path, tmp_path: Path) -> None:
    record_id = archive.archive(minimal_dossier(dossiers).folder)
    folder = unpacked(fetched(archive, record_id), tmp_path / "package")
    text = (folder / "README.txt").read_text(encoding="utf-8")
    assert "chưa có dấu thời gian" in text
    assert not (folder / "evidence" / "checkpoint.txt").exists()


def test_the_evidence_file_of_an_aip_is_given(disputed: tuple[Archive, str]) -> None:
    archive, record_id = disputed
    newest = archive.call("GET", f"records/{record_id}/evidence", role=RoleName.ARCHIVIST)
    assert newest.json()["version"] == 2
    first = archive.call("GET", f"records/{record_id}/evidence?version=1", role=RoleName.ARCHIVIST)
    assert first.json()["type"] == "archive-evidence/1"
    assert "evidence.json" in first.headers["content-disposition"]
