"""How the databases go about lists: through indexes, from where the page before ended, and through nothing once for every row."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from archive_service.access.pages import Cursor
from archive_service.access.records import RecordQuery, list_records
from archive_service.access.submissions import SubmissionQuery, list_submissions
from archive_service.audit import software
from archive_service.db import Database
from archive_service.identity.permissions import operator
from archive_service.ids import new_id
from archive_service.models import State
from tests.builders import new_record

EVERYTHING = operator(software("test"))


def _plans(database: Database, listing: Callable[[Session], object]) -> str:
    """Returns how the database goes about the queries of a list."""
    plans: list[str] = []
    ask = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            cursor.execute(ask + statement, parameters)
            plans.extend(str(row[-1]) for row in cursor.fetchall())

    with database.read() as session:
        if not database.is_sqlite:
            session.execute(text("SET LOCAL enable_seqscan = off"))  # a test's few rows are read at once otherwise
        event.listen(database.engine, "before_cursor_execute", explain)
        try:
            listing(session)
        finally:
            event.remove(database.engine, "before_cursor_execute", explain)
    return "\n".join(plans)


@pytest.mark.parametrize("words", ["giay zzz", "nguyen van anh"])
def test_a_search_goes_through_no_index_once_for_every_record(database: Database, words: str) -> None:
    plan = _plans(database, lambda session: list_records(session, RecordQuery(text=words), EVERYTHING))
    assert "record_term" in plan
    assert "CORRELATED" not in plan
    assert "SubPlan" not in plan


@pytest.mark.parametrize("what", ["records", "submissions"])
def test_a_page_begins_where_the_one_before_ended(database: Database, at: datetime, what: str) -> None:
    cursor = Cursor(at, new_id()).encode()
    plan = _plans(
        database,
        lambda session: (
            list_records(session, RecordQuery(cursor=cursor), EVERYTHING)
            if what == "records"
            else list_submissions(session, SubmissionQuery(cursor=cursor, states=(State.CHECKING,)), EVERYTHING)
        ),
    )
    begins = "<(?,?)" if database.is_sqlite else "Index Cond: "
    assert any(begins in line for line in plan.splitlines() if "SEARCH" in line or "ROW(" in line), plan


def test_rows_of_one_moment_are_each_on_one_page(database: Database, at: datetime) -> None:
    with database.write() as session:
        ids = [
            new_record(session, at, dossier_code=f"K-{number}", stored_at=at + timedelta(seconds=number // 5)).id
            for number in range(12)
        ]
    found = []
    cursor: str | None = None
    with database.read() as session:
        while True:
            page = list_records(session, RecordQuery(limit=2, cursor=cursor), EVERYTHING)
            found += [(row.stored_at, row.id) for row in page.items]
            cursor = page.next
            if cursor is None:
                break
    assert found == sorted(found, reverse=True)
    assert {row for _, row in found} == set(ids)
    assert len(found) == len(ids)
