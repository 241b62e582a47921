"""The rows of stored AIPs, from the AIPs themselves and the sealed events about them: what `transfer.store` wrote, written again.

Many packages at once: what is known of them already is asked for together, and each table gets its rows in one call, without row objects.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import Connection, Table, bindparam, func, insert, select, update
from sqlalchemy.orm import Session

from archive_service.followup import enqueue_each
from archive_service.ids import new_id
from archive_service.models import (
    TRANSITIONS,
    Aip,
    AipCopy,
    Base,
    Component,
    Decision,
    Event,
    EventType,
    JobKind,
    Record,
    RecordTerm,
    RetentionAssignment,
    SignatureVerdict,
    State,
    Submission,
    SubmissionFinding,
)
from archive_service.prepared import Prepared
from archive_service.preservation.package_reading import StoredAip, unsound
from archive_service.storage.port import Store
from archive_service.transfer.stored_rows import kept_for

STORED_EVENTS: Final = (EventType.RECORD_ACCESSIONED, EventType.RECORD_VERSION_ADDED)
_RECORD_STATES: Final[Mapping[EventType, State]] = {
    event: to for (_, to), event in TRANSITIONS.items() if event.value.startswith("record.")
}
_RECORD: Final = cast("Table", Record.__table__)
_CHANGE_RECORD: Final = update(_RECORD).where(_RECORD.c.id == bindparam("b_id"))
_CHANGE_SUBMISSION: Final = update(cast("Table", Submission.__table__)).where(Submission.id == bindparam("b_id"))
_ROWS_AT_ONCE: Final = 1000
"""Rows given to the database in one call: what is held for it does not grow with the number of files."""
_ADD: Final[Mapping[type[Base], Prepared]] = {
    model: Prepared(insert(cast("Table", model.__table__)).inline())
    for model in (
        Record,
        RecordTerm,
        RetentionAssignment,
        Submission,
        SubmissionFinding,
        SignatureVerdict,
        Decision,
        Aip,
        AipCopy,
        Component,
    )
}
_Values = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """What the sealed log says of an AIP."""

    at: datetime
    """When it was stored."""
    sha256: str
    copies: Sequence[Mapping[str, str]]
    """Location and digest of each copy it was stored with."""


def sealed_of(session: Session, found: Iterable[StoredAip]) -> dict[str, Sealed]:
    """Returns by OBJID what sealed events say of AIPs; those stored after the last seal are not in it."""
    records = {str(aip.record_id) for aip in found}
    query = select(Event.at, Event.detail).where(
        Event.subject_kind == "record", Event.subject_id.in_(records), Event.type.in_(STORED_EVENTS)
    )
    return {
        row.detail["aip"]: Sealed(at=row.at, sha256=row.detail["sha256"], copies=row.detail["copies"])
        for row in session.connection().execute(query.order_by(Event.seq.desc()))
    }


def package_problem(store: Store, aip: StoredAip, sealed: Sealed | None) -> str:
    """Returns why an AIP is not to be taken in; an empty text when its digest was sealed, or it proves right by itself.

    Raises:
        StoreUnavailable: the location does not answer.
    """
    if sealed is None:
        return unsound(store, aip)
    return "" if sealed.sha256 == aip.sha256 else "its digest is not the sealed one"


def record_states(session: Session, records: Iterable[UUID]) -> dict[UUID, State]:
    """Returns the state that each record's events lead to; those without such an event are STORED."""
    states = dict.fromkeys(records, State.STORED)
    query = select(Event.subject_id, Event.type).where(
        Event.subject_kind == "record",
        Event.subject_id.in_([str(record) for record in states]),
        Event.type.in_(list(_RECORD_STATES)),
    )
    for row in session.connection().execute(query.order_by(Event.seq)):
        states[UUID(row.subject_id)] = _RECORD_STATES[row.type]
    return states


def add_rows(session: Session, found: Iterable[StoredAip], sealed: Mapping[str, Sealed]) -> None:
    """Adds every row of AIPs; the caller has compared their digests with `sealed`. Those that are there already are left."""
    connection = session.connection()
    each = {aip.id: aip for aip in found}
    known = set(connection.execute(select(Aip.id).where(Aip.id.in_(each))).scalars())
    fresh = [aip for key, aip in each.items() if key not in known]
    if not fresh:
        return
    approvals = _approvals(connection, fresh)
    _submissions(connection, fresh, sealed, approvals)
    held = _held(connection, fresh)
    _records(session, fresh, sealed, held)
    _terms(connection, fresh, held)
    _add(connection, Aip, (_aip(aip, approvals) for aip in fresh))
    _add(connection, AipCopy, (row for aip in fresh for row in _copies(aip, sealed.get(aip.objid))))
    _add(connection, Component, ({**_of(aip), "aip_id": aip.id, **row} for aip in fresh for row in aip.components))
    _add(connection, SubmissionFinding, ({**_of(aip), **row} for aip in fresh for row in aip.findings))
    _add(connection, SignatureVerdict, ({**_of(aip), **row} for aip in fresh for row in aip.verdicts))
    _add(connection, RetentionAssignment, (_assignment(aip, sealed) for aip in fresh))
    # What the documents say is read again from them: it is derived, and not in the state hash.
    enqueue_each(session, JobKind.EXTRACT_TEXT, (aip.id for aip in fresh), at=fresh[0].read_at)


def _add(connection: Connection, model: type[Base], rows: Iterable[_Values]) -> None:
    left = iter(rows)
    while some := list(islice(left, _ROWS_AT_ONCE)):
        _ADD[model].run_each(connection, some)


def _of(aip: StoredAip) -> _Values:
    return {"submission_id": aip.submission_id}


def _stored_at(aip: StoredAip, sealed: Mapping[str, Sealed]) -> datetime:
    return sealed[aip.objid].at if aip.objid in sealed else aip.at


# ------------------------------------------------------------------ submission


def _approvals(connection: Connection, fresh: Sequence[StoredAip]) -> dict[UUID, _Values]:
    """Returns the decision on each submission, as its event tells it."""
    query = select(Event.subject_id, Event.at, Event.agent_id, Event.agent_name, Event.detail).where(
        Event.subject_kind == "submission",
        Event.subject_id.in_([str(aip.submission_id) for aip in fresh]),
        Event.type == EventType.SUBMISSION_APPROVED,
    )
    found = {}
    for event in connection.execute(query):
        batch = event.detail.get("batch_id")
        found[UUID(event.subject_id)] = {
            "submission_id": UUID(event.subject_id),
            "kind": "approve",
            "reason": event.detail["reason"],
            "agent_id": event.agent_id,
            "agent_name": event.agent_name,
            "decided_at": event.at,
            "batch_id": UUID(batch) if batch else None,
        }
    return found


def _decided_at(aip: StoredAip, approvals: Mapping[UUID, _Values]) -> datetime:
    approval = approvals.get(aip.submission_id)
    decided_at: datetime = aip.at if approval is None else approval["decided_at"]
    return decided_at


def _submissions(
    connection: Connection,
    fresh: Sequence[StoredAip],
    sealed: Mapping[str, Sealed],
    approvals: Mapping[UUID, _Values],
) -> None:
    """Adds the submissions with their decisions; a restored database may hold one as still on its way."""
    ids = [aip.submission_id for aip in fresh]
    known = set(connection.execute(select(Submission.id).where(Submission.id.in_(ids))).scalars())
    rows = {aip.submission_id: _submission(aip, _stored_at(aip, sealed), approvals) for aip in fresh}
    _add(connection, Submission, [{"id": key, **row} for key, row in rows.items() if key not in known])
    if known:
        connection.execute(_CHANGE_SUBMISSION, [{"b_id": key, **rows[key]} for key in known])
    _add(connection, Decision, [{"id": new_id(), **approvals[key]} for key in ids if key in approvals])


def _submission(aip: StoredAip, stored_at: datetime, approvals: Mapping[UUID, _Values]) -> _Values:
    return {
        **aip.submission,
        "state": State.STORED,
        "opened_at": aip.submission["opened_at"] or stored_at,
        "decided_at": _decided_at(aip, approvals),
        "stored_at": stored_at,
        "record_id": aip.record_id,
    }


# ------------------------------------------------------------------ record


def _held(connection: Connection, fresh: Sequence[StoredAip]) -> dict[UUID, _Values]:
    """Returns the records that are there already, with their first version."""
    ids = {aip.record_id for aip in fresh}
    lowest = func.min(Aip.version).label(_FIRST)
    query = select(Aip.record_id, lowest).where(Aip.record_id.in_(ids)).group_by(Aip.record_id)
    first = {row["record_id"]: row[_FIRST] for row in connection.execute(query).mappings()}
    rows = connection.execute(select(_RECORD).where(_RECORD.c.id.in_(first))).mappings()
    return {row["id"]: {**row, _FIRST: first[row["id"]]} for row in rows}


_FIRST: Final = "first_version"
"""Beside the columns of a record: its lowest version taken in so far, which gave it its codes."""


def _records(
    session: Session, fresh: Sequence[StoredAip], sealed: Mapping[str, Sealed], held: Mapping[UUID, _Values]
) -> None:
    states = record_states(session, {aip.record_id for aip in fresh} - held.keys())
    rows = dict(held)
    for aip in fresh:
        row = rows.get(aip.record_id)
        if row is None:
            row = {"id": aip.record_id, "state": states[aip.record_id]}
        rows[aip.record_id] = _with_version(row, aip, _stored_at(aip, sealed))
    plain = [{name: value for name, value in row.items() if name != _FIRST} for row in rows.values()]
    connection = session.connection()
    _add(connection, Record, [row for row in plain if row["id"] not in held])
    changed = [{"b_id": row.pop("id"), **row} for row in plain if row["id"] in held]
    if changed:
        connection.execute(_CHANGE_RECORD, changed)


def _with_version(row: _Values, aip: StoredAip, stored_at: datetime) -> _Values:
    """Returns a record's columns with one version more: the first gives the codes, the newest describes it, the longest keeps it."""
    counts = {"component_count": len(aip.components), "size_bytes": aip.submission["size_bytes"]}
    retention = {"retention_kind": aip.retention_kind, "retention_due_on": aip.retention_due_on}
    if "stored_at" not in row:
        return row | {**aip.coded, **aip.described, **counts, **retention, "stored_at": stored_at, _FIRST: aip.version}
    changed: _Values = {name: row[name] + count for name, count in counts.items()}
    if aip.version < row[_FIRST]:  # not by the time: the clock may have gone back between versions
        changed |= {**aip.coded, "stored_at": stored_at, _FIRST: aip.version}
    if aip.version > row["current_version"]:
        changed |= aip.described
    if kept_for(aip.retention_kind, aip.retention_due_on) > kept_for(row["retention_kind"], row["retention_due_on"]):
        changed |= retention
    return row | changed


def _terms(connection: Connection, fresh: Sequence[StoredAip], held: Iterable[UUID]) -> None:
    known = {
        (row.record_id, row.term)
        for row in connection.execute(
            select(RecordTerm.record_id, RecordTerm.term).where(RecordTerm.record_id.in_(list(held)))
        )
    }
    wanted = dict.fromkeys((aip.record_id, term) for aip in fresh for term in aip.terms)
    _add(
        connection,
        RecordTerm,
        [{"record_id": record, "term": term} for record, term in wanted if (record, term) not in known],
    )


def _assignment(aip: StoredAip, sealed: Mapping[str, Sealed]) -> _Values:
    return {
        "record_id": aip.record_id,
        "ordinal": aip.version,
        "kind": aip.retention_kind,
        "due_on": aip.retention_due_on,
        "assigned_at": _stored_at(aip, sealed),
        "assignment": aip.assignment,
    }


# ------------------------------------------------------------------ package


def _aip(aip: StoredAip, approvals: Mapping[UUID, _Values]) -> _Values:
    return {
        "id": aip.id,
        "record_id": aip.record_id,
        "submission_id": aip.submission_id,
        "version": aip.version,
        "objid": aip.objid,
        "store_key": aip.key,
        "sha256": aip.sha256,
        "size_bytes": aip.size_bytes,
        "csip_version": aip.csip_version,
        "packaged_at": _decided_at(aip, approvals),
    }


def _copies(aip: StoredAip, sealed: Sealed | None) -> Iterable[_Values]:
    """The copy that was read is INTACT; the others are known from the event only and say so until fixity has read them."""
    same = {"aip_id": aip.id, "version_id": None}
    yield {
        "id": new_id(),
        **same,
        "location": aip.location,
        "version_id": aip.version_id,
        "read_back_sha256": aip.sha256,
        "verified_at": aip.read_at,
        "state": "INTACT",
    }
    for copy in sealed.copies if sealed is not None else ():
        if sealed is not None and copy["location"] != aip.location:
            yield {
                "id": new_id(),
                **same,
                "location": copy["location"],
                "read_back_sha256": copy["read_back_sha256"],
                "verified_at": sealed.at,
                "state": "UNREAD",
            }
