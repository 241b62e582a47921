"""People decide: one or many, with reasons, within their agencies; what cannot be decided is told item by item."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from archive_service.ids import new_id
from archive_service.models import Decision, EventType, JobKind, JobState, RoleName, State
from archive_service.packaging.aip_reader import read_metadata
from archive_service.packaging.verify import Outcome, verify_aip
from archive_service.samples.small import minimal_dossier
from archive_service.transfer.decisions import MAX_BATCH
from tests.builders import advance, new_submission
from tests.crash.worlds import event_counts, open_jobs
from tests.pipeline import Archive

_AT = datetime(2026, 11, 20, 3, tzinfo=UTC)


@pytest.fixture
def waiting(archive: Archive, tmp_path: Path) -> str:
    """A checked submission that awaits a decision."""
    submission_id = archive.push(minimal_dossier(tmp_path / "dossiers").folder)
    archive.work()
    assert archive.submission(submission_id)["state"] == "AWAITING_APPROVAL"
    return submission_id


def _many(archive: Archive, count: int, *, agency: str = "H56.16") -> list[str]:
    """Adds submissions that await a decision."""
    with archive.service.database.write() as session:
        rows = []
        for number in range(count):
            row = new_submission(session, _AT, dossier_code=f"{agency}-250314-{number:04d}", archiving_agency=agency)
            advance(session, row, State.AWAITING_APPROVAL, _AT)
            rows.append(str(row.id))
    return rows


def _bulk(archive: Archive, ids: list[str], decision: str = "approve", reason: str = "đủ", **rest: Any) -> Any:
    body = {"decision": decision, "reason": reason, "submission_ids": ids}
    return archive.call("POST", "decisions", role=rest.pop("role", RoleName.ARCHIVIST), json=body, **rest)


@pytest.mark.parametrize(
    ("decision", "state", "event", "job"),
    [
        ("approve", "APPROVED", EventType.SUBMISSION_APPROVED, JobKind.STORE_SUBMISSION),
        ("return", "RETURNED", EventType.SUBMISSION_RETURNED, JobKind.DISCARD_STAGING),
        ("reject", "REJECTED", EventType.SUBMISSION_REFUSED, JobKind.DISCARD_STAGING),
    ],
)
def test_a_decision_moves_the_submission_and_queues_what_follows(
    archive: Archive, waiting: str, decision: str, state: str, event: EventType, job: JobKind
) -> None:
    answer = archive.decide(waiting, decision, "lý do").json()
    assert (answer["state"], answer["decision"]["decision"], answer["decision"]["reason"]) == (state, decision, "lý do")
    assert answer["decision"]["agent"] == "archivist None"
    assert event_counts(archive.service, "submission", waiting)[event] == 1
    assert [(row.kind, row.subject, row.state) for row in open_jobs(archive.service)] == [
        (job, waiting, JobState.READY)
    ]
    again = archive.decide(waiting, decision, "lý do khác").json()
    assert again["decision"]["reason"] == "lý do", "a repeat changes nothing"
    assert event_counts(archive.service, "submission", waiting)[event] == 1
    other = archive.decide(waiting, "reject" if decision == "approve" else "approve", "khác")
    assert (other.status_code, other.json()["code"]) == (409, "ILLEGAL_TRANSITION")


@pytest.mark.parametrize("decision", ["return", "reject"])
@pytest.mark.parametrize("reason", ["", "  \n"])
def test_a_refusal_needs_a_reason(archive: Archive, waiting: str, decision: str, reason: str) -> None:
    answer = archive.decide(waiting, decision, reason)
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")
    assert archive.submission(waiting)["state"] == "AWAITING_APPROVAL"
    assert open_jobs(archive.service) == []


def test_what_is_refused_leaves_no_bytes(archive: Archive, waiting: str) -> None:
    assert archive.decide(waiting, "reject", "sai thẩm quyền").status_code == 200
    archive.work()
    assert list(archive.service.settings.staging_dir.iterdir()) == []


@pytest.mark.parametrize("role", sorted(set(RoleName) - {RoleName.ARCHIVIST, RoleName.RECORDS_HEAD}), ids=str)
def test_only_the_archive_decides(archive: Archive, waiting: str, role: RoleName) -> None:
    answer = archive.call(
        "POST", f"submissions/{waiting}/decision", role=role, json={"decision": "approve", "reason": "x"}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "NOT_PERMITTED")
    assert _bulk(archive, [waiting], role=role).status_code == 403
    assert archive.submission(waiting)["state"] == "AWAITING_APPROVAL"


def test_a_submission_of_another_agency_is_not_found(archive: Archive, waiting: str) -> None:
    body = {"decision": "approve", "reason": "x"}
    answer = archive.call("POST", f"submissions/{waiting}/decision", role=RoleName.ARCHIVIST, agency="H40", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


def test_many_are_decided_and_each_that_cannot_be_says_why(archive: Archive) -> None:
    mine, theirs = _many(archive, 3), _many(archive, 1, agency="H40")
    assert _bulk(archive, [mine[0]], agency="H56.16").json()["results"][0]["decided"]
    unknown = str(new_id())
    answer = _bulk(archive, [*mine, theirs[0], unknown, mine[1]], "return", "thiếu dấu", agency="H56.16")
    assert answer.status_code == 200
    results = [
        (item["submission_id"], item["decided"], item["state"], item["code"]) for item in answer.json()["results"]
    ]
    assert results == [
        (mine[0], False, None, "ILLEGAL_TRANSITION"),
        (mine[1], True, "RETURNED", None),
        (mine[2], True, "RETURNED", None),
        (theirs[0], False, None, "NOT_FOUND"),
        (unknown, False, None, "NOT_FOUND"),
    ]
    with archive.service.database.read() as session:
        decisions = session.scalars(select(Decision)).all()
    assert sorted((row.kind, str(row.submission_id)) for row in decisions) == sorted(
        [("approve", mine[0]), ("return", mine[1]), ("return", mine[2])]
    )
    assert len({row.batch_id for row in decisions if row.kind == "return"}) == 1


def test_many_refusals_need_a_reason_each_time(archive: Archive) -> None:
    ids = _many(archive, 2)
    results = _bulk(archive, ids, "reject", " ").json()["results"]
    assert [(item["decided"], item["code"]) for item in results] == [(False, "BAD_REQUEST")] * 2
    assert [archive.submission(submission_id)["state"] for submission_id in ids] == ["AWAITING_APPROVAL"] * 2


def test_a_batch_has_a_limit(archive: Archive) -> None:
    answer = _bulk(archive, [str(new_id()) for _ in range(MAX_BATCH + 1)])
    assert (answer.status_code, answer.json()["code"]) == (422, "BAD_REQUEST")
    assert _bulk(archive, []).status_code == 422


@pytest.mark.parametrize(
    "body", [{}, {"decision": "perhaps"}, {"decision": "reject", "reason": "x" * 2001}, {"decision": None}]
)
def test_a_malformed_decision_is_a_problem(archive: Archive, waiting: str, body: dict[str, Any]) -> None:
    answer = archive.call("POST", f"submissions/{waiting}/decision", role=RoleName.ARCHIVIST, content=json.dumps(body))
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["problems"]


def test_the_reason_and_every_check_stand_in_the_package(archive: Archive, waiting: str) -> None:
    reason = "đợt 1: đủ <thành phần>"
    archive.decide(waiting, "approve", reason)
    archive.work()
    package, second = sorted(archive.service.settings.data_dir.rglob("storage/**/*.zip"))
    assert package.read_bytes() == second.read_bytes()
    metadata = read_metadata(package)
    told = {event.type: event for event in metadata.events}
    assert told["accession"].note == reason
    names = {agent.id: agent.name for agent in metadata.agents}
    assert names[told["accession"].agent_id] == archive.submission(waiting)["decision"]["agent"]
    assert told["virus check"].outcome == "not checked"
    assert "clamd" in told["virus check"].note
    assert {"format identification", "digital signature validation", "validation"} <= set(told)
    assert verify_aip(package).outcome is Outcome.PASSED
