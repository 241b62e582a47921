"""What pages of lists cost with 100,000 records and as many submissions: p95 of milliseconds, on both engines where present.

Run as `python -m tests.bench.bench_lists [rows] [--plans]`; --plans prints how each engine goes about each list.
"""

import json
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Table, event, insert, text
from sqlalchemy.orm import Session

from archive_service import clock
from archive_service.access.pages import Cursor
from archive_service.access.records import RecordQuery, list_records
from archive_service.access.submissions import SubmissionQuery, choices, count_by_state, list_submissions
from archive_service.audit import software
from archive_service.db import Database
from archive_service.identity.permissions import ROLE_ACCESS, Grant, Principal, operator
from archive_service.ids import new_id
from archive_service.models import Record, RecordTerm, RoleName, State, Submission
from archive_service.service import open_service
from archive_service.settings import Settings
from archive_service.textfold import index_terms
from tests.postgres_server import NoServerError, running_server

BEGIN: Final = datetime(2024, 1, 1, tzinfo=UTC)
AGENCIES: Final = [f"000.00.{number:02d}.H56" for number in range(40)]
FIELDS: Final = ["Đất đai", "Hộ tịch", "Xây dựng", "Bảo trợ xã hội", "Đăng ký kinh doanh"]
NAMES: Final = ["Nguyễn Văn Ánh", "Trần Thị Bình", "Lê Hoàng Dũng", "Phạm Minh Đức", "Võ Thị Hạnh", "Đặng Quốc Khánh"]
ROWS_AT_ONCE: Final = 5_000
TRIES: Final = 40


def fill(database: Database, count: int) -> None:
    """Writes records with their search terms and submissions: one in fifty still waits."""
    chance = random.Random(1)  # noqa: S311 - the same rows every time
    for start in range(0, count, ROWS_AT_ONCE):
        submissions, records, terms = [], [], []
        for number in range(start, min(count, start + ROWS_AT_ONCE)):
            described = _described(number, chance)
            waits = number % 50 == 0
            submissions.append(described | _submission(number, waits=waits, chance=chance))
            record = described | _record(number)
            records.append(record)
            words = index_terms(record["dossier_code"], record["title"], record["applicant_name"])
            terms += [{"term": term, "record_id": record["id"]} for term in words]
        with database.write() as session:
            for model, rows in ((Submission, submissions), (Record, records), (RecordTerm, terms)):
                session.connection().execute(insert(cast("Table", model.__table__)), rows)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _described(number: int, chance: random.Random) -> dict[str, Any]:
    agency = chance.choice(AGENCIES)
    return {
        "dossier_code": f"{agency}-250314-{number:06d}",
        "archiving_agency": agency,
        "settling_agency": agency,
        "receiving_agency": agency,
        "procedure_code": f"1.{number % 300:06d}",
        "procedure_name": "Cấp giấy phép",
        "field": chance.choice(FIELDS),
        "title": f"Hồ sơ cấp giấy phép số {number}",
        "applicant_name": chance.choice(NAMES),
        "outcome": "result_returned",
        "closed_at": BEGIN,
        "access_mode": "01",
    }


def _submission(number: int, *, waits: bool, chance: random.Random) -> dict[str, Any]:
    return {
        "id": new_id(),
        "state": State.AWAITING_APPROVAL if waits else State.STORED,
        "form": "dossier",
        "source_system": "bench",
        "opened_at": BEGIN + timedelta(seconds=60 * number),
        "record_status": "NEW",
        "warning_count": chance.randrange(3),
        "policies": {},
    }


def _record(number: int) -> dict[str, Any]:
    return {
        "id": new_id(),
        "state": State.STORED,
        "archive_file_code": f"LTHH-{number:06d}",
        "stored_at": BEGIN + timedelta(seconds=60 * number + 30),
        "current_version": 1,
        "component_count": 8,
        "size_bytes": 1_500_000,
        "retention_kind": "PERMANENT",
        "retention_due_on": None,
    }


def of_agency(agency: str) -> Principal:
    """Returns an archivist of one agency."""
    agent = software("bench")
    grants = (Grant(role=RoleName.ARCHIVIST, agency=agency),)
    return Principal(id="bench", name="bench", agent=agent, grants=grants, access=ROLE_ACCESS[RoleName.ARCHIVIST])


def lists(count: int) -> dict[str, Callable[[Session], object]]:
    """Returns every list that is measured."""
    everything, one = operator(software("bench")), of_agency(AGENCIES[7])
    waiting = SubmissionQuery(states=(State.AWAITING_APPROVAL,))
    deep = Cursor(BEGIN + timedelta(seconds=60 * count / 10), UUID(int=0)).encode()
    return {
        "records": lambda session: list_records(session, RecordQuery(), everything),
        "records, last tenth": lambda session: list_records(session, RecordQuery(cursor=deep), everything),
        "records of one agency": lambda session: list_records(session, RecordQuery(), one),
        "records of one agency, last tenth": lambda session: list_records(session, RecordQuery(cursor=deep), one),
        "search, common words": lambda session: list_records(session, RecordQuery(text="nguyen van anh"), everything),
        "search, one agency": lambda session: list_records(session, RecordQuery(text="nguyen van anh"), one),
        "search, rare word": lambda session: list_records(session, RecordQuery(text="4711"), everything),
        "search, no such word": lambda session: list_records(session, RecordQuery(text="giấy zzz"), everything),
        "search anywhere": lambda session: list_records(session, RecordQuery(anywhere="nguyen anh"), everything),
        "queue": lambda session: list_submissions(session, waiting, everything),
        "queue of one agency": lambda session: list_submissions(session, waiting, one),
        "queue, all states, last tenth": lambda session: list_submissions(
            session, SubmissionQuery(cursor=deep), everything
        ),
        "queue with warnings": lambda session: list_submissions(session, replace(waiting, field=FIELDS[1]), one),
        "counts by state": lambda session: count_by_state(session, everything),
        "counts by state, one agency": lambda session: count_by_state(session, one),
        "choices of the queue": lambda session: choices(session, waiting, everything),
        "choices of the queue, one agency": lambda session: choices(session, waiting, one),
        "choices, all states": lambda session: choices(session, SubmissionQuery(), everything),
    }


def measure(database: Database, count: int) -> dict[str, dict[str, float]]:
    """Returns median and p95 of each list in milliseconds."""
    told = {}
    for name, listing in lists(count).items():
        taken = []
        for _ in range(TRIES):
            started = clock.monotonic_s()
            with database.read() as session:
                listing(session)
            taken.append((clock.monotonic_s() - started) * 1000)
        told[name] = {
            "median_ms": round(statistics.median(taken), 1),
            "p95_ms": round(sorted(taken)[int(TRIES * 0.95) - 1], 1),
        }
    return told


@contextmanager
def _plans_printed(database: Database) -> Iterator[None]:
    """Prints the plan of every query of the block."""
    ask = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN (ANALYZE, BUFFERS) "

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.startswith("SELECT"):
            cursor.execute(ask + statement, parameters)
            print("  ", *[row[-1] for row in cursor.fetchall()], sep="\n    ")  # noqa: T201

    event.listen(database.engine, "before_cursor_execute", explain)
    yield
    event.remove(database.engine, "before_cursor_execute", explain)


def run(count: int, *, plans: bool, database_url: str = "") -> dict[str, Any]:
    """Fills a database and returns what its lists cost."""
    with tempfile.TemporaryDirectory() as name:
        service = open_service(Settings(data_dir=Path(name), database_url=database_url), migrate=True)
        fill(service.database, count)
        if plans:
            for listing_name, listing in lists(count).items():
                print(listing_name)  # noqa: T201
                with service.database.read() as session, _plans_printed(service.database):
                    listing(session)
        result = {
            "benchmark": "lists",
            "engine": "sqlite" if service.database.is_sqlite else "postgresql",
            "rows": count,
            "lists": measure(service.database, count),
        }
        service.close()
    return result


def main() -> None:
    """Runs both engines where present."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    count, plans = numbers[0] if numbers else 100_000, "--plans" in sys.argv
    print(json.dumps(run(count, plans=plans), ensure_ascii=False), flush=True)  # noqa: T201
    try:
        with running_server() as server:
            url = server.create().render_as_string(hide_password=False)
            print(json.dumps(run(count, plans=plans, database_url=url), ensure_ascii=False))  # noqa: T201
    except NoServerError as exc:
        print(json.dumps({"benchmark": "lists", "engine": "postgresql", "not_run": str(exc)}))  # noqa: T201


if __name__ == "__main__":
    main()
