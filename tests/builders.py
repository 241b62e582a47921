"""Rows that tests start from. States are only ever reached by legal steps."""

from collections import deque
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from archive_service.audit import Agent, software
from archive_service.ids import new_id, record_id
from archive_service.lifecycle import transition
from archive_service.models import TRANSITIONS, Record, State, Submission

TESTER: Agent = software("tests")


def new_submission(session: Session, at: datetime, **values: Any) -> Submission:
    """Adds a submission that has just been opened."""
    row = Submission(state=State.RECEIVING, form="dossier", source_system="tests", opened_at=at, policies={}, **values)
    session.add(row)
    session.flush()
    return row


def new_record(session: Session, at: datetime, *, agency: str = "000.00.01.H40", **values: Any) -> Record:
    """Adds a record as stored."""
    code = values.pop("dossier_code", f"000.00.16.H40-{new_id().hex[:12]}")
    columns: dict[str, Any] = {
        "archive_file_code": f"LTHH-{code}",
        "settling_agency": "000.00.16.H40",
        "receiving_agency": "000.00.16.H40",
        "procedure_code": "1.002891.000.00.00.H40",
        "procedure_name": "Cấp giấy phép xây dựng",
        "field": "Xây dựng",
        "title": "Hồ sơ cấp giấy phép xây dựng",
        "applicant_name": "Nguyễn Văn Ánh",
        "outcome": "result_returned",
        "access_mode": "01",
        "closed_at": at,
        "stored_at": at,
        "current_version": 1,
        "component_count": 1,
        "size_bytes": 1,
        "retention_kind": "PERMANENT",
    }
    key = record_id(agency, code)
    row = Record(id=key, state=State.STORED, dossier_code=code, archiving_agency=agency, **(columns | values))
    session.add(row)
    session.flush()
    return row


def legal_path(start: State, goal: State) -> list[State]:
    """Returns the shortest list of steps from one state to another, by the table of transitions."""
    queue: deque[list[State]] = deque([[start]])
    seen = {start}
    while queue:
        path = queue.popleft()
        if path[-1] is goal:
            return path[1:]
        for source, target in TRANSITIONS:
            if source is path[-1] and target not in seen:
                seen.add(target)
                queue.append([*path, target])
    raise LookupError(f"no way from {start} to {goal}")


def advance(session: Session, subject: Submission | Record, goal: State, at: datetime) -> None:
    """Takes a submission or record to a state by legal steps."""
    for state in legal_path(subject.state, goal):
        transition(session, subject, state, agent=TESTER, at=at)
