"""The page of trust anchors: who sees it, who changes it, what a change leaves behind, what is warned about."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from asn1crypto import pem
from sqlalchemy import select

from archive_service import clock
from archive_service.ingest.trust_anchors import EXPIRY_WARNING
from archive_service.models import Event, RoleName
from tests.api.test_pages import BROWSER, Browser, person
from tests.pipeline import Archive
from tests.unit.signatures.pki_fixtures import Party, World


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="anchor-pages")


def _add(browser: Browser, party: Party, **fields: str) -> httpx.Response:
    token = browser.token("/trust")
    content = pem.armor("CERTIFICATE", party.der)
    return browser.http.post(
        "/trust",
        data={"csrf": token, "scheme": "national", "reason": "theo Quyết định 1", **fields},
        files={"certificate": ("gốc.pem", content)},
        headers=BROWSER,
    )


def _events(archive: Archive) -> list[Event]:
    with archive.service.database.read() as session:
        return list(session.scalars(select(Event).where(Event.subject_kind == "trust-anchor").order_by(Event.seq)))


def test_an_administrator_adds_and_retires_on_the_page(archive: Archive, world: World) -> None:
    browser = person(archive, "quan-tri", RoleName.ADMIN)
    assert "Chưa có chứng thư gốc nào." in browser.get("/trust").text
    assert _add(browser, world.root, effective_from="2017-03-01").status_code == 303
    page = browser.get("/trust").text
    assert "Đã thêm 1 chứng thư gốc." in page
    assert "theo Quyết định 1" in page
    assert "01/03/2017 00:00" in page, "the day begins in Vietnam"
    sha256 = _events(archive)[0].subject_id
    assert sha256 in page
    assert browser.post(f"/trust/{sha256}/retire", "/trust", reason="thay thế <b>gốc</b>").status_code == 303
    page = browser.get("/trust").text
    assert "Đã thôi tin cậy chứng thư gốc." in page
    assert "thay thế &lt;b&gt;gốc&lt;/b&gt;" in page
    assert page.count("Người quan-tri") >= 3, "who added, who retired, who is signed in"
    added, retired = _events(archive)
    assert (added.detail["reason"], retired.detail["reason"]) == ("theo Quyết định 1", "thay thế <b>gốc</b>")
    told = archive.call("GET", "trust", role=RoleName.AUDITOR).json()["items"][0]["changes"]
    assert [(change["change"], change["who"]) for change in told] == [
        ("added", "Người quan-tri"),
        ("retired", "Người quan-tri"),
    ]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"reason": "  "}, "needs a reason"),
        ({"effective_from": "hôm qua"}, "is no date"),
        ({"scheme": "../ra"}, "is not a scheme name"),
    ],
)
def test_what_cannot_be_added_is_explained(archive: Archive, world: World, fields: dict[str, str], told: str) -> None:
    browser = person(archive, "quan-tri", RoleName.ADMIN)
    assert _add(browser, world.root, **fields).status_code == 303
    page = browser.get("/trust").text
    assert 'class="flash flash-bad"' in page
    assert told in page
    assert _events(archive) == []


def test_adding_twice_is_refused_with_words(archive: Archive, world: World) -> None:
    browser = person(archive, "quan-tri", RoleName.ADMIN)
    _add(browser, world.root)
    browser.get("/trust")
    _add(browser, world.root)
    assert "is already an anchor" in browser.get("/trust").text
    assert len(_events(archive)) == 1


def test_who_only_audits_sees_and_does_not_change(archive: Archive, world: World) -> None:
    _add(person(archive, "quan-tri", RoleName.ADMIN), world.root)
    sha256 = _events(archive)[0].subject_id
    auditor = person(archive, "kiem-tra", RoleName.AUDITOR)
    page = auditor.get("/trust")
    assert page.status_code == 200
    assert 'action="/trust' not in page.text
    assert auditor.post(f"/trust/{sha256}/retire", "/", reason="x").status_code == 403
    assert person(archive, "can-bo", RoleName.OFFICER).get("/trust").status_code == 403
    assert len(_events(archive)) == 1


def test_a_form_from_elsewhere_changes_nothing(archive: Archive, world: World) -> None:
    browser = person(archive, "quan-tri", RoleName.ADMIN)
    _add(browser, world.root)
    sha256 = _events(archive)[0].subject_id
    for csrf in ("", "0" * 64):
        answer = browser.http.post(f"/trust/{sha256}/retire", data={"csrf": csrf, "reason": "x"}, headers=BROWSER)
        assert answer.status_code == 403
    assert len(_events(archive)) == 1


@pytest.mark.parametrize(
    ("left", "warned", "badge"),
    [
        (EXPIRY_WARNING - timedelta(days=1), True, "Hết hạn sau"),
        (EXPIRY_WARNING + timedelta(days=2), False, None),
        (timedelta(days=-1), True, "Chứng thư đã hết hạn"),
    ],
    ids=["soon", "later", "ended"],
)
def test_an_anchor_near_its_end_is_warned_about(
    archive: Archive,
    world: World,
    left: timedelta,
    warned: bool,  # noqa: FBT001 - a test's parameter
    badge: str | None,
) -> None:
    end = clock.now() + left
    party = world.make(f"Gốc {left.days}", None, authority=True, days=(datetime(2016, 1, 1, tzinfo=UTC), end))
    browser = person(archive, "quan-tri", RoleName.ADMIN)
    assert _add(browser, party).status_code == 303
    page = browser.get("/trust").text
    assert ("sắp hoặc đã hết hạn" in page) is warned
    if badge:
        assert badge in page
    listed = archive.call("GET", "trust", role=RoleName.ADMIN).json()["items"]
    assert [item["expires_soon"] for item in listed] == [warned]
