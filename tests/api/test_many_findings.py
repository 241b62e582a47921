"""A dossier with more findings, and more signatures, than anyone reads: told by pages everywhere, and none is lost."""

import re
import zipfile
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert

from archive_service.access.findings import FIRST_TOLD
from archive_service.cli.push import Client, push_all
from archive_service.findings import Finding
from archive_service.ingest.findings import finding_rows
from archive_service.models import RoleName, SignatureVerdict, SubmissionFinding
from archive_service.packaging.verify import read_metadata
from archive_service.samples.small import minimal_dossier
from tests.api.test_pages import person
from tests.api.test_submit_command import served
from tests.pipeline import Archive

BAD_NAMES = 1203


@pytest.fixture
def hostile(archive: Archive) -> str:
    """A ZIP whose names are bad one by one, pushed and checked."""
    body = BytesIO()
    with zipfile.ZipFile(body, "w") as package:
        for number in range(BAD_NAMES):
            package.writestr(f"../ngoài-{number:04}.txt", b"x")
    submission_id: str = archive.call("POST", "packages", content=body.getvalue()).json()["id"]
    archive.work()
    return submission_id


def all_pages(archive: Archive, submission_id: str, what: str, **parameters: Any) -> list[Any]:
    """Follows `next` to the end, with a check against going round in circles."""
    found: list[Any] = []
    cursor: Any = None
    for _ in range(100):
        wanted = {**parameters, **({} if cursor is None else {"cursor": cursor})}
        answer = archive.call("GET", f"submissions/{submission_id}/{what}", params=wanted)
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        cursor = answer.json()["next"]
        if cursor is None:
            return found
    raise AssertionError("no end")


def test_the_first_findings_are_told_and_where_the_others_are(archive: Archive, hostile: str) -> None:
    body = archive.submission(hostile)
    everything = all_pages(archive, hostile, "findings")
    assert (body["state"], len(body["findings"])) == ("REJECTED", FIRST_TOLD)
    assert body["finding_count"] == len(everything) >= BAD_NAMES
    assert body["findings"] == everything[:FIRST_TOLD]
    following = archive.http.get(body["findings_next"], headers=archive.headers(RoleName.SUBMITTER)).json()
    assert following["items"] == everything[FIRST_TOLD : 2 * FIRST_TOLD]
    places = {finding["location"] for finding in everything if finding["code"] == "PACKAGE_PATH_TRAVERSAL"}
    assert len(places) == BAD_NAMES
    assert all_pages(archive, hostile, "findings", limit=100) == everything
    severities = [finding["severity"] for finding in everything]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)


def test_few_findings_are_told_at_once(archive: Archive, tmp_path: Path) -> None:
    submission_id = archive.push(minimal_dossier(tmp_path).folder)
    archive.work()
    body = archive.submission(submission_id)
    assert body["finding_count"] == len(body["findings"]) > 0
    assert body["signature_count"] == len(body["signatures"])
    assert (body["findings_next"], body["signatures_next"]) == (None, None)


def test_findings_are_for_those_who_may_see_the_submission(archive: Archive, hostile: str) -> None:
    for what in ("findings", "signatures"):
        path = f"submissions/{hostile}/{what}"
        assert archive.call("GET", path, agency="H01.1").status_code == 404
        assert archive.call("GET", path, role=RoleName.COUNCIL).status_code == 403
        assert archive.call("GET", f"{path}?limit=0").status_code == 422


def test_signatures_are_told_by_pages_too(archive: Archive, tmp_path: Path) -> None:
    submission_id = archive.push(minimal_dossier(tmp_path).folder)
    archive.work()
    count = 2 * FIRST_TOLD + 3
    rows = [
        {
            "submission_id": UUID(submission_id),
            "component_id": f"c{number // 2:04}",
            "ordinal": number % 2 + 1,
            "kind": "PAdES",
            "indication": "TOTAL-PASSED",
            "report": {"indication": "TOTAL-PASSED", "number": number},
        }
        for number in reversed(range(count))
    ]
    with archive.service.database.write() as session:
        session.execute(insert(SignatureVerdict), rows)
    body = archive.submission(submission_id)
    assert (len(body["signatures"]), body["signature_count"]) == (FIRST_TOLD, count)
    following = archive.http.get(body["signatures_next"], headers=archive.headers(RoleName.SUBMITTER)).json()
    assert body["signatures"][-1]["number"] + 1 == following["items"][0]["number"]
    for limit in (17, 1000):
        told = all_pages(archive, submission_id, "signatures", limit=limit)
        assert [verdict["number"] for verdict in told] == list(range(count))
    for malformed in ("x", "WzEsMl0", "WyJhIiwtMV0", "bnVsbA", "a" * 3001):
        answer = archive.call("GET", f"submissions/{submission_id}/signatures", params={"cursor": malformed})
        assert (answer.status_code, answer.json()["problems"][0]["location"]) == (422, "cursor"), malformed


def test_pages_show_what_they_show_and_lead_on_to_the_end(archive: Archive, hostile: str) -> None:
    browser = person(archive, "lan", RoleName.ARCHIVIST)
    total = archive.submission(hostile)["finding_count"]
    address, seen = f"/submissions/{hostile}", set[str]()
    for _ in range(20):
        page = unescape(browser.get(address).text)
        seen |= set(re.findall(r"ngoài-\d{4}", page))
        assert re.search(rf"Hiện vấn đề [\d.]+–[\d.]+ trong {total:,}\.".replace(",", r"\."), page), address
        onward = re.search(r'href="(/submissions/[^"]+/findings\?cursor=\d+)"', page)
        if onward is None:
            break
        address = onward.group(1)
    assert len(seen) == BAD_NAMES
    fragment = browser.get(f"/submissions/{hostile}/findings", **{"HX-Request": "true"}).text
    assert "cursor=" in fragment
    assert len(re.findall('class="finding ', fragment)) == FIRST_TOLD


def test_submit_says_how_many_it_does_not_show(archive: Archive, hostile: str, tmp_path: Path) -> None:
    del hostile
    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as package:
        for number in range(BAD_NAMES):
            package.writestr(f"../khác-{number:04}.txt", b"x")
    token = archive.headers(RoleName.SUBMITTER)["Authorization"].removeprefix("Bearer ")
    with served(archive) as url, Client(url, token) as client:
        (pushed,) = push_all(client, [path], wait=False)
        archive.work()
        (outcome,) = push_all(client, [path], wait=True)
    assert outcome.submission_id == pushed.submission_id
    body = archive.submission(str(outcome.submission_id))
    left = body["finding_count"] - FIRST_TOLD
    assert len(outcome.problems) == FIRST_TOLD + 1
    assert outcome.problems[-1] == f"… còn {left} vấn đề / {left} more findings: GET {body['findings_next']}"


def test_every_finding_is_in_the_package(archive: Archive, tmp_path: Path) -> None:
    submission_id = archive.push(minimal_dossier(tmp_path).folder)
    archive.work()
    more = [
        Finding(code="VIRUS_NOT_SCANNED", location=f"m{number}", params={"reason": "x", "reason_vi": "x"})
        for number in range(BAD_NAMES)
    ]
    with archive.service.database.write() as session:
        behind = [{**row, "ordinal": 1000 + n} for n, row in enumerate(finding_rows(UUID(submission_id), more))]
        session.execute(insert(SubmissionFinding), behind)
    assert archive.decide(submission_id).status_code == 200
    archive.work()
    (package,) = (archive.service.settings.data_dir / "storage" / "kho-1").rglob("*.zip")
    told = {finding["location"] for finding in read_metadata(package).findings}
    assert {f"m{number}" for number in range(BAD_NAMES)} <= told
