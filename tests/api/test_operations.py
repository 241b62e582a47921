"""What runs by itself, over HTTP: lists are read page by page to their end, and within an agency only that agency's rows are seen."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from archive_service import clock
from archive_service.followup import enqueue
from archive_service.ids import new_id
from archive_service.models import (
    Aip,
    AipCopy,
    FixityRun,
    Incident,
    JobKind,
    Reconciliation,
    Record,
    RetentionReview,
    RetentionReviewItem,
    RoleName,
    StorageDrift,
)
from archive_service.samples.small import minimal_dossier
from tests.api.test_pages import person
from tests.pipeline import Archive

ROWS = 5
AGENCIES = ("H56.16", "H40")
INSTALLATION = (
    "jobs",
    "preservation/locations",
    "preservation/fixity",
    "preservation/renewals",
    "preservation/evidence",
    "storage/locations",
    "storage/reconciliations",
)
"""Lists about the installation as a whole."""


@pytest.fixture
def busy(archive: Archive, tmp_path: Path) -> Archive:
    """One record in each of two agencies; incidents, runs, comparisons and reviews about both."""
    for agency in AGENCIES:
        office = agency.removesuffix(".16")
        dossier = minimal_dossier(
            tmp_path / agency,
            code=f"000.00.16.{office}-250314-0001",
            archiving_agency=agency,
            procedure_code=f"1.002891.000.00.00.{office}",
        )
        archive.archive(dossier.folder)
    at = clock.now()
    with archive.service.database.write() as session:
        for copy in session.scalars(select(AipCopy).where(AipCopy.location == "kho-1")).all():
            for number in range(ROWS):
                session.add(
                    Incident(
                        copy_id=copy.id,
                        aip_id=copy.aip_id,
                        location="kho-1",
                        found="MISSING",
                        status="RECOVERED",
                        notice="",
                        opened_at=at - timedelta(days=number // 2),
                        closed_at=at,
                    )
                )
        for number in range(ROWS):
            enqueue(session, JobKind.STORE_SUBMISSION, new_id(), at=at)
            session.add(FixityRun(location="kho-1", started_at=at))
            run = Reconciliation(location="kho-1", apply=False, started_at=at)
            session.add(run)
            session.add(
                RetentionReview(on=date(2026, 1, 1) + timedelta(days=number), made_at=at, due_count=len(AGENCIES))
            )
        session.flush()
        for number in range(ROWS):
            session.add(StorageDrift(reconciliation_id=run.id, kind="MISSING", key=f"k{number}", detail=""))
        review = session.scalars(select(RetentionReview).order_by(RetentionReview.on)).first()
        assert review is not None
        for record in session.scalars(select(Record)).all():
            session.add(RetentionReviewItem(review_id=review.id, record_id=record.id, due_on=date(2025, 1, 1)))
    return archive


def _all(archive: Archive, path: str, limit: int, **rest: Any) -> list[Any]:
    """Follows a list to its end."""
    items: list[Any] = []
    params: dict[str, Any] = {"limit": limit}
    while True:
        answer = archive.call("GET", path, params=params, **rest)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next"] is None:
            return items
        params["cursor"] = page["next"]


def test_every_list_goes_on_to_its_end(busy: Archive) -> None:
    (run, *_) = _all(busy, "storage/reconciliations", 50, role=RoleName.ADMIN)
    with busy.service.database.read() as session:
        drifted = session.scalars(select(StorageDrift.reconciliation_id)).first()
    assert run["location"] == "kho-1"
    for path, role in (
        ("jobs", RoleName.ADMIN),
        ("preservation/fixity", RoleName.AUDITOR),
        ("preservation/incidents", RoleName.ARCHIVIST),
        ("storage/reconciliations", RoleName.RECORDS_HEAD),
        (f"storage/reconciliations/{drifted}/drifts", RoleName.ADMIN),
        ("retention/reviews", RoleName.AUDITOR),
    ):
        whole = _all(busy, path, 200, role=role)
        assert len(whole) >= ROWS, path
        for limit in (1, 2, ROWS):
            assert _all(busy, path, limit, role=role) == whole, path
        for cursor in ("x", "%00", "2026-99-99"):
            assert busy.call("GET", path, role=role, params={"cursor": cursor}).status_code == 422, path


@pytest.mark.parametrize("role", [RoleName.ARCHIVIST, RoleName.RECORDS_HEAD, RoleName.AUDITOR, RoleName.ADMIN])
def test_what_concerns_the_whole_installation_is_not_for_a_role_within_one_agency(
    archive: Archive, role: RoleName
) -> None:
    for path in INSTALLATION:
        assert archive.call("GET", path, role=role).status_code == 200, path
        within = archive.call("GET", path, role=role, agency="H56.16")
        assert (within.status_code, within.json()["code"]) == (403, "NOT_PERMITTED"), path


def test_incidents_are_those_of_the_own_agency(busy: Archive) -> None:
    with busy.service.database.read() as session:
        aips = {agency: {str(key) for key in session.scalars(_aips(agency))} for agency in AGENCIES}
    for agency in AGENCIES:
        seen = _all(busy, "preservation/incidents", 2, role=RoleName.ARCHIVIST, agency=agency)
        assert len(seen) == ROWS
        assert {item["aip_id"] for item in seen} == aips[agency]
    assert _all(busy, "preservation/incidents", 2, role=RoleName.ARCHIVIST, agency="H99.99") == []
    assert len(_all(busy, "preservation/incidents", 3, role=RoleName.ARCHIVIST)) == 2 * ROWS
    assert busy.call("GET", "preservation/incidents", role=RoleName.OFFICER).status_code == 403


def _aips(agency: str) -> Any:
    return select(Aip.id).join(Record, Record.id == Aip.record_id).where(Record.archiving_agency == agency)


def test_a_review_counts_the_records_of_the_own_agency(busy: Archive) -> None:
    def due(agency: str | None) -> list[int]:
        return [item["due"] for item in _all(busy, "retention/reviews", 2, role=RoleName.ARCHIVIST, agency=agency)]

    assert due(None) == [2] * ROWS
    assert due("H40") == [0] * (ROWS - 1) + [1]
    assert due("H99.99") == [0] * ROWS
    browser = person(busy, "lan", RoleName.ARCHIVIST, agency="H40")
    page = browser.get("/retention").text
    assert page.count('small">0 hồ sơ đến hạn') == ROWS - 1  # the chart has years without any, too
    assert "2 hồ sơ đến hạn" not in page
    with busy.service.database.read() as session:
        first = session.scalars(select(RetentionReview.id).order_by(RetentionReview.on)).first()
    assert "1 hồ sơ đến hạn" in browser.get(f"/retention/{first}").text
    assert browser.get(f"/retention/{new_id()}").status_code == 404
