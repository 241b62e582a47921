"""The WHERE clause of a principal's scope agrees, row by row, with what the principal may do; on both engines."""

from datetime import datetime
from itertools import combinations

import pytest
from sqlalchemy import select

from archive_service.db import Database
from archive_service.identity.permissions import ALL, Grant, Permission, Principal, in_scope, operator
from archive_service.models import Record, RoleName, Submission
from tests.builders import TESTER, new_record, new_submission

AGENCIES = ("H40", "000.00.16.H40", "h40", "H4", "H40 ", "%", "000.00.01.H40")
GRANTS = (
    Grant(role=RoleName.OFFICER, agency="H40"),
    Grant(role=RoleName.OFFICER, agency="000.00.16.H40"),
    Grant(role=RoleName.ARCHIVIST, agency="000.00.01.H40"),
    Grant(role=RoleName.OFFICER, agency="%"),
    Grant(role=RoleName.AUDITOR, agency=None),
    Grant(role=RoleName.SUBMITTER, agency=None),
    Grant(role=RoleName.COUNCIL, agency=None),
)


def _principal(*grants: Grant, access: frozenset[str] = frozenset({"01", "02", "03"})) -> Principal:
    return Principal(id=TESTER.id, name="x", agent=TESTER, grants=grants, access=access)


@pytest.mark.parametrize("permission", [Permission.RECORD_READ, Permission.RECORD_SEARCH, Permission.COPY_ISSUE])
def test_the_clause_is_the_same_as_asking_row_by_row(database: Database, at: datetime, permission: Permission) -> None:
    with database.write() as session:
        for number, agency in enumerate(AGENCIES):
            other = AGENCIES[-1 - number]
            new_record(session, at, agency=agency, settling_agency=other, access_mode=f"0{number % 3 + 1}")
    choices = [(), *((grant,) for grant in GRANTS), *combinations(GRANTS, 2)]
    with database.read() as session:
        rows = session.scalars(select(Record)).all()
        for grants in choices:
            for access in (frozenset({"01", "02", "03"}), frozenset({"01"}), frozenset[str]()):
                principal = _principal(*grants, access=access)
                columns = (Record.archiving_agency, Record.settling_agency)
                clause = in_scope(principal, permission, *columns, access_column=Record.access_mode)
                seen = set(session.scalars(select(Record.id).where(clause)))
                expected = {
                    row.id
                    for row in rows
                    if principal.may(permission, row.archiving_agency, row.settling_agency, access_mode=row.access_mode)
                }
                assert seen == expected, (grants, access)


def test_an_agency_is_compared_exactly(database: Database, at: datetime) -> None:
    with database.write() as session:
        ids = {agency: new_record(session, at, agency=agency).id for agency in AGENCIES}
    with database.read() as session:
        for agency in ("H40", "%"):
            officer = _principal(Grant(role=RoleName.OFFICER, agency=agency))
            clause = in_scope(officer, Permission.RECORD_READ, Record.archiving_agency)
            assert session.scalars(select(Record.id).where(clause)).all() == [ids[agency]]


def test_a_row_without_agency_is_for_those_who_see_all(database: Database, at: datetime) -> None:
    with database.write() as session:
        submission_id = new_submission(session, at).id
    here = _principal(Grant(role=RoleName.ARCHIVIST, agency="H40"))
    everywhere = _principal(Grant(role=RoleName.ARCHIVIST, agency=None))
    with database.read() as session:
        for principal, expected in ((here, []), (everywhere, [submission_id]), (operator(TESTER), [submission_id])):
            clause = in_scope(principal, Permission.SUBMISSION_READ, Submission.archiving_agency)
            assert session.scalars(select(Submission.id).where(clause)).all() == expected
            assert principal.may(Permission.SUBMISSION_READ, None) == bool(expected)


def test_who_may_nothing_sees_nothing(database: Database, at: datetime) -> None:
    with database.write() as session:
        new_record(session, at)
    nobody = _principal()
    assert nobody.agencies(Permission.RECORD_READ) == frozenset()
    assert _principal(GRANTS[4]).agencies(Permission.RECORD_SEARCH) is ALL
    with database.read() as session:
        assert session.scalars(select(Record).where(in_scope(nobody, Permission.RECORD_READ))).all() == []
