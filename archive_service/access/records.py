"""Finding and reading archived records: every query is scoped to the caller's agencies and goes through an index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import ColumnElement, CompoundSelect, Select, and_, false, select, union
from sqlalchemy.orm import Session

from archive_service.access import text_index
from archive_service.access.pages import Page, last_first, page_size
from archive_service.access.text_index import Term, terms_of
from archive_service.errors import ArchiveError, BadRequest, NotFound
from archive_service.identity.permissions import ROLE_PERMISSIONS, Permission, Principal, in_scope
from archive_service.models import (
    Aip,
    AipCopy,
    Component,
    ComponentText,
    Record,
    RecordTerm,
    RetentionAssignment,
    State,
    TextPiece,
)
from archive_service.textfold import Word, query_terms

_END = chr(0x10FFFF)
"""Sorts after every text: the upper end of a prefix range."""


class ContentSearchUnavailable(ArchiveError):
    """Records cannot be found by what their documents say: this SQLite was built without FTS5. Use PostgreSQL, or another SQLite."""

    code: ClassVar[str] = "CONTENT_SEARCH_UNAVAILABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordQuery:
    """What to list."""

    text: str | None = None
    """Words of code, title or applicant; every word must match the beginning of one."""
    content: str | None = None
    """Words, and phrases between quotation marks, that must all stand in what the record's documents say."""
    anywhere: str | None = None
    """The same, each of them in code, title, applicant or documents."""
    dossier_code: str | None = None
    state: State | None = None
    archiving_agency: str | None = None
    procedure_code: str | None = None
    due_before: date | None = None
    cursor: str | None = None
    limit: int | None = None


def list_records(session: Session, query: RecordQuery, principal: Principal) -> Page[Record]:
    """Returns a page of records, last stored first, within the principal's scope.

    Raises:
        NotPermitted: the principal may search nowhere; or searches content and may read nowhere.
        BadRequest: a malformed cursor, a page size out of bounds, or no word to look for in the content.
        ContentSearchUnavailable: content is searched and this database has no index of words.
    """
    limit = page_size(query.limit)
    principal.require(Permission.RECORD_SEARCH)
    statement = select(Record).where(record_scope(principal, Permission.RECORD_SEARCH))
    statement = _filtered(statement, query)
    if query.content is not None:
        principal.require(Permission.RECORD_READ)
        for term in _content_terms(session, query.content):
            statement = statement.where(Record.id.in_(_holding(session, term, principal)))
    if not _is_blank(query.anywhere):
        words = terms_of(query.anywhere or "")
        for term in words:
            statement = statement.where(Record.id.in_(_anywhere(session, term, principal)))
        statement = statement if words else statement.where(false())
    return last_first(session, statement, Record.stored_at, Record.id, cursor=query.cursor, limit=limit)


def _content_terms(session: Session, query: str) -> Sequence[Term]:
    terms = terms_of(query)
    if not terms:
        raise BadRequest("no word to look for", problems=[{"location": "text", "reason": "no word"}])
    if not text_index.available(session):
        raise ContentSearchUnavailable("this database has no index of words: SQLite without FTS5")
    return terms


def _holding(session: Session, term: Term, principal: Principal) -> Select[UUID]:
    """Returns a query for the records whose documents hold a term and may be read: finding words is reading."""
    found = select(TextPiece.record_id).where(TextPiece.id.in_(text_index.pieces_with(session, term)))
    if _reads_all_it_finds(principal):
        return found
    return found.join(Record, Record.id == TextPiece.record_id).where(record_scope(principal, Permission.RECORD_READ))


def _reads_all_it_finds(principal: Principal) -> bool:
    """Returns whether every grant for searching is one for reading too; most people's are, and their searches need no second look."""
    permissions = [ROLE_PERMISSIONS[grant.role] for grant in principal.grants]
    return all(Permission.RECORD_READ in has for has in permissions if Permission.RECORD_SEARCH in has)


def _anywhere(session: Session, term: Term, principal: Principal) -> Select[UUID] | CompoundSelect[UUID]:
    described = None if term.is_phrase else select(RecordTerm.record_id).where(_term_range(term.words[0]))
    searches_content = principal.may(Permission.RECORD_READ) and text_index.available(session)
    if not searches_content:
        return select(Record.id).where(false()) if described is None else described
    held = _holding(session, term, principal)
    return held if described is None else union(described, held)


def _term_range(word: Word) -> ColumnElement[bool]:
    return and_(RecordTerm.term >= word.written, RecordTerm.term < word.written + _END)


def record_scope(principal: Principal, permission: Permission) -> ColumnElement[bool]:
    """Returns the condition that keeps a query over records to those the principal may use in this way."""
    return in_scope(
        principal, permission, Record.archiving_agency, Record.settling_agency, access_column=Record.access_mode
    )


def _filtered(statement: Select[Record], query: RecordQuery) -> Select[Record]:
    exact: Sequence[tuple[Any, Any]] = (  # column and value of any type
        (Record.dossier_code, query.dossier_code),
        (Record.state, query.state),
        (Record.archiving_agency, query.archiving_agency),
        (Record.procedure_code, query.procedure_code),
    )
    for column, value in exact:
        if value:
            statement = statement.where(column == value)
    if query.due_before:
        statement = statement.where(Record.retention_due_on.is_not(None), Record.retention_due_on < query.due_before)
    words = query_terms(query.text or "")
    for term in words:
        statement = statement.where(_has_term(term))
    return statement if words or _is_blank(query.text) else statement.where(false())


def _is_blank(text: str | None) -> bool:
    """Returns whether nothing was typed; what was typed and holds no word finds nothing, instead of everything."""
    return not (text or "").strip()


def _has_term(term: str) -> ColumnElement[bool]:
    # Not EXISTS: SQLite then goes through the records of a common word once for every record.
    found = select(RecordTerm.record_id).where(RecordTerm.term >= term, RecordTerm.term < term + _END)
    return Record.id.in_(found)


def find_record(session: Session, record_id: UUID, principal: Principal, permission: Permission) -> Record:
    """Returns a record the principal may use in this way; one out of scope is not found.

    Raises:
        NotFound: no such record, or none in the principal's scope.
        NotPermitted: the principal has the permission nowhere.
    """
    principal.require(permission)
    statement = select(Record).where(Record.id == record_id, record_scope(principal, permission))
    record = session.scalars(statement).one_or_none()
    if record is None:
        raise NotFound(f"record {record_id} not found")
    return record


def versions(session: Session, record_id: UUID) -> Sequence[Aip]:
    """Returns every package version of a record, newest first."""
    return session.scalars(select(Aip).where(Aip.record_id == record_id).order_by(Aip.version.desc())).all()


def version_of(session: Session, record_id: UUID, version: int | None = None) -> Aip:
    """Returns one package version of a record, the newest when none is named.

    Raises:
        NotFound: no such version.
    """
    statement = select(Aip).where(Aip.record_id == record_id).order_by(Aip.version.desc()).limit(1)
    if version is not None:
        statement = statement.where(Aip.version == version)
    aip = session.scalars(statement).one_or_none()
    if aip is None:
        raise NotFound(f"record {record_id} has no package version {version or ''}".rstrip())
    return aip


def copies(session: Session, aip_ids: Sequence[UUID]) -> Sequence[AipCopy]:
    """Returns the copies of package versions, by location."""
    return session.scalars(
        select(AipCopy).where(AipCopy.aip_id.in_(aip_ids)).order_by(AipCopy.aip_id, AipCopy.location)
    ).all()


def components(session: Session, aip_id: UUID, *, after: int = 0, limit: int = 200) -> Sequence[Component]:
    """Returns the components of a package version in dossier order, after ordinal `after` (keyset)."""
    statement = select(Component).where(Component.aip_id == aip_id, Component.ordinal > after)
    return session.scalars(statement.order_by(Component.ordinal).limit(limit)).all()


def component(
    session: Session, record_id: UUID, component_id: str, *, version: int | None = None
) -> tuple[Aip, Component]:
    """Returns one component of the newest (or the given) version that holds it.

    Raises:
        NotFound: no version of the record holds it.
    """
    statement = (
        select(Aip, Component)
        .join(Component, Component.aip_id == Aip.id)
        .where(Aip.record_id == record_id, Component.component_id == component_id)
        .order_by(Aip.version.desc())
    )
    if version is not None:
        statement = statement.where(Aip.version == version)
    row = session.execute(statement.limit(1)).one_or_none()
    if row is None:
        raise NotFound(f"record {record_id} holds no component {component_id!r}")
    return row[0], row[1]


def texts(session: Session, components: Sequence[Component]) -> dict[str, ComponentText]:
    """Returns what came of reading the text of components of one package version, by component id."""
    statement = select(ComponentText).where(
        ComponentText.aip_id.in_({row.aip_id for row in components}),
        ComponentText.component_id.in_([row.component_id for row in components]),
    )
    return {row.component_id: row for row in session.scalars(statement)}


def assignments(session: Session, record_id: UUID) -> Sequence[RetentionAssignment]:
    """Returns the retention assignments of a record, newest first."""
    statement = select(RetentionAssignment).where(RetentionAssignment.record_id == record_id)
    return session.scalars(statement.order_by(RetentionAssignment.ordinal.desc())).all()
