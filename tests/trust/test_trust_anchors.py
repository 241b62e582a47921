"""Managing trust: over HTTP and at the command line, by administrators only, every change an event, every check pins the store."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asn1crypto import pem
from sqlalchemy import select
from typer.testing import CliRunner

from archive_service import clock
from archive_service.cli import build_app
from archive_service.ingest.policies import load_policies
from archive_service.models import Event, EventType, RoleName
from archive_service.settings import Settings
from tests.pipeline import Archive
from tests.unit.signatures.pki_fixtures import World


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="anchors")


def _pem(world: World) -> str:
    return str(pem.armor("CERTIFICATE", world.root.der), "ascii")


def _events(archive: Archive) -> list[Event]:
    with archive.service.database.read() as session:
        found = select(Event).where(Event.subject_kind == "trust-anchor").order_by(Event.seq)
        return list(session.scalars(found))


def _pinned(archive: Archive) -> str:
    policies = load_policies(archive.service.settings, on=clock.today())
    return str(policies.pinned()["trust"]["digest"])


def test_adding_and_retiring_over_http(archive: Archive, world: World) -> None:
    empty = archive.call("GET", "trust", role=RoleName.ADMIN).json()
    assert (empty["items"], empty["recorded"]) == ([], True)
    body = {"certificate": _pem(world), "scheme": "national", "effective_from": "2017-03-01T00:00:00+07:00"}
    added = archive.call("POST", "trust", role=RoleName.ADMIN, json=body)
    assert added.status_code == 201, added.text
    [anchor] = added.json()["items"]
    assert (anchor["scheme"], anchor["trusted"], anchor["retired_at"]) == ("national", True, None)
    first = _pinned(archive)
    assert first not in {empty["digest"], ""}
    again = archive.call("POST", "trust", role=RoleName.ADMIN, json=body)
    assert (again.status_code, again.json()["code"]) == (409, "CONFLICT")
    url = f"trust/{anchor['sha256']}/retire"
    retired = archive.call("POST", url, role=RoleName.ADMIN, json={"reason": "hết thẩm quyền"})
    assert (retired.status_code, retired.json()["trusted"]) == (200, False)
    assert archive.call("POST", url, role=RoleName.ADMIN, json={"reason": "x"}).status_code == 409
    now = archive.call("GET", "trust", role=RoleName.AUDITOR).json()
    assert [item["trusted"] for item in now["items"]] == [False]
    assert now["items"][0]["effective_from"] == "2017-02-28T17:00:00+00:00"
    assert (now["digest"], now["recorded"]) == (_pinned(archive), True)
    assert now["digest"] != first
    events = _events(archive)
    assert [event.type for event in events] == [EventType.TRUST_ANCHOR_ADDED, EventType.TRUST_ANCHOR_RETIRED]
    assert [event.detail["digest"] for event in events] == [first, now["digest"]]
    assert events[1].detail["digest_before"] == first
    assert events[1].detail["reason"] == "hết thẩm quyền"


def test_a_change_by_hand_is_noticed(archive: Archive, world: World) -> None:
    folder = archive.service.settings.resolved_trust_dir / "foreign"
    folder.mkdir(parents=True)
    (folder / "lén.pem").write_text(_pem(world))
    (folder / "hỏng.pem").write_text("không phải chứng thư")
    listing = archive.call("GET", "trust", role=RoleName.ADMIN).json()
    assert (listing["recorded"], len(listing["items"]), len(listing["unreadable"])) == (False, 1, 1)


@pytest.mark.parametrize("role", [role for role in RoleName if role is not RoleName.ADMIN])
def test_only_administrators_change_trust(archive: Archive, world: World, role: RoleName) -> None:
    body = {"certificate": _pem(world), "scheme": "national"}
    assert archive.call("POST", "trust", role=role, json=body).status_code == 403
    assert archive.call("POST", f"trust/{'0' * 64}/retire", role=role, json={"reason": "x"}).status_code == 403
    seen = 200 if role in {RoleName.AUDITOR, RoleName.RECORDS_HEAD} else 403
    assert archive.call("GET", "trust", role=role).status_code == seen
    assert _events(archive) == []


@pytest.mark.parametrize(
    "body",
    [
        {"certificate": "rác", "scheme": "national"},
        {"certificate": "PEM", "scheme": "../ra ngoài"},
        {"certificate": "PEM", "scheme": "revocation"},
        {"certificate": "PEM", "scheme": "national", "effective_from": "2017-03-01T00:00:00"},
    ],
)
def test_what_is_no_anchor_is_refused(archive: Archive, world: World, body: dict[str, str]) -> None:
    body = body | ({"certificate": _pem(world)} if body["certificate"] == "PEM" else {})
    answer = archive.call("POST", "trust", role=RoleName.ADMIN, json=body)
    assert answer.status_code == 422, answer.text
    assert _events(archive) == []
    assert archive.call("GET", "trust", role=RoleName.ADMIN).json()["items"] == []


def test_an_unknown_anchor_or_no_reason(archive: Archive) -> None:
    url = f"trust/{'0' * 64}/retire"
    assert archive.call("POST", url, role=RoleName.ADMIN, json={"reason": "x"}).status_code == 404
    assert archive.call("POST", url, role=RoleName.ADMIN, json={"reason": "  "}).status_code == 422


def test_the_command_line(tmp_path: Path, world: World) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(build_app(("trust",)), ["trust", *arguments, "--data", str(tmp_path / "data")])
        return result.exit_code, result.output

    certificate = tmp_path / "gốc.der"
    certificate.write_bytes(world.root.der)
    code, output = run("add", str(certificate), "--scheme", "public_service", "--effective-from", "2017-03-01")
    assert code == 0, output
    [sha256] = re.findall(r"[0-9a-f]{64}", output)
    assert "có / yes" in run("list")[1]
    code, _ = run("retire", sha256, "--reason", "thay thế", "--at", "2026-01-01T00:00:00Z")
    assert code == 0
    listed = run("list")[1]
    assert "2026-01-01" in listed
    assert "không / no" in listed
    store = load_policies(Settings(data_dir=tmp_path / "data"), on=clock.today()).trust
    [anchor] = store.anchors
    assert anchor.effective_at(datetime(2025, 1, 1, tzinfo=UTC))
    assert not anchor.effective_at(datetime(2017, 1, 1, tzinfo=UTC))
    assert not anchor.effective_at(datetime(2026, 6, 1, tzinfo=UTC))
