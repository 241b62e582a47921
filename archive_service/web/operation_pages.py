"""What runs by itself: retention reviews, and background work that needs a look."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy import func, select

from archive_service import clock, i18n
from archive_service.access.records import record_scope
from archive_service.access.reviews import find_review, list_reviews
from archive_service.access.trends import due_by_year
from archive_service.errors import Conflict
from archive_service.i18n import N_
from archive_service.identity.permissions import Permission
from archive_service.jobs import queue
from archive_service.models import Job, JobState, Record, RetentionReviewItem
from archive_service.web.flash import Flash, Tone, put_flash
from archive_service.web.home import DUE_SOON
from archive_service.web.templating import render
from archive_service.web.visitors import MemberDep, MemberSenderDep, see_other

router = APIRouter(include_in_schema=False)

PAGE: Final = 50
_REVIEWS: Final = 100
_SINGLE_YEARS: Final = 10
"""Years ahead that the chart of due records shows one by one; later ones are shown by tens."""
_MOST_SPANS: Final = 20
"""Columns of the chart; the last one holds whatever comes later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DueYears:
    """Records that fall due in a span of years."""

    first: int
    last: int
    count: int


def due_years(counts: Mapping[int, int], *, this_year: int) -> list[DueYears]:
    """Returns the columns of the chart: what is overdue with the present year, ten years one by one, then by tens."""
    if not counts:
        return []
    spans = [(year, year) for year in range(this_year, this_year + _SINGLE_YEARS)]
    while spans[-1][1] < max(counts):
        first = spans[-1][1] + 1
        spans.append((first, first + 9 if len(spans) < _MOST_SPANS - 1 else max(counts)))
    overdue = sum(count for year, count in counts.items() if year < this_year)
    return [
        DueYears(
            first=first,
            last=last,
            count=sum(counts.get(year, 0) for year in range(first, last + 1)) + (overdue if first == this_year else 0),
        )
        for first, last in spans
    ]


@router.get("/retention")
def get_retention(request: Request, visitor: MemberDep) -> Response:
    """Shows how long records are kept, what falls due soon, and the reviews made."""
    visitor.principal.require(Permission.RETENTION_READ)
    scope = record_scope(visitor.principal, Permission.RETENTION_READ)
    until = clock.today() + DUE_SOON
    with visitor.service.database.read() as session:
        kinds = select(Record.retention_kind, func.count()).where(scope).group_by(Record.retention_kind)
        soon = select(Record).where(scope, Record.retention_due_on < until)
        unmatched = select(Record).where(scope, Record.retention_kind == "UNMATCHED")
        return render(
            request,
            visitor,
            "retention.html",
            kinds={kind: count for kind, count in session.execute(kinds)},  # noqa: C416 - rows are not tuples to a type checker
            soon=session.scalars(soon.order_by(Record.retention_due_on, Record.id).limit(PAGE)).all(),
            unmatched=session.scalars(unmatched.order_by(Record.stored_at.desc(), Record.id).limit(PAGE)).all(),
            reviews=list_reviews(session, visitor.principal, limit=_REVIEWS).items,
            years=due_years(due_by_year(session, visitor.principal), this_year=clock.today().year),
            until=until,
            today=clock.today(),
        )


@router.get("/retention/{review_id}")
def get_review(review_id: UUID, request: Request, visitor: MemberDep, cursor: UUID | None = None) -> Response:
    """Shows the records one review found due, within the person's agencies."""
    visitor.principal.require(Permission.RETENTION_READ)
    query = (
        select(RetentionReviewItem, Record)
        .join(Record, Record.id == RetentionReviewItem.record_id)
        .where(
            RetentionReviewItem.review_id == review_id,
            record_scope(visitor.principal, Permission.RETENTION_READ),
        )
        .order_by(RetentionReviewItem.record_id)
        .limit(PAGE + 1)
    )
    if cursor is not None:
        query = query.where(RetentionReviewItem.record_id > cursor)
    with visitor.service.database.read() as session:
        review = find_review(session, review_id, visitor.principal)
        rows = [(item, record) for item, record in session.execute(query)]
        following = rows[PAGE - 1][1].id if len(rows) > PAGE else None
        return render(request, visitor, "review.html", review=review, rows=rows[:PAGE], next=following, cursor=cursor)


@router.get("/jobs")
def get_jobs(
    request: Request,
    visitor: MemberDep,
    state: JobState = JobState.PARKED,
    after: Annotated[UUID | None, Query()] = None,
) -> Response:
    """Shows background work by state; what is parked with its error."""
    visitor.principal.require(Permission.JOB_READ)
    with visitor.service.database.read() as session:
        jobs = queue.list_jobs(session, state, after=after, limit=PAGE + 1)
        return render(
            request,
            visitor,
            "jobs.html",
            jobs=jobs[:PAGE],
            next=jobs[PAGE - 1].id if len(jobs) > PAGE else None,
            after=after,
            state=state.value,
            counts={name.value: count for name, count in queue.count_jobs(session).items()},
            max_attempts=visitor.service.settings.job_max_attempts,
        )


@router.post("/jobs/{job_id}/requeue")
def post_requeue(job_id: UUID, visitor: MemberSenderDep) -> Response:
    """Gives a parked job another round of tries."""
    visitor.principal.require(Permission.JOB_REQUEUE)
    response = see_other("/jobs")
    try:
        with visitor.service.database.write() as session:
            queue.requeue(session, job_id, agent=visitor.principal.agent, at=clock.unique_now())
            kind = session.get_one(Job, job_id).kind.value
    except Conflict as exc:
        text = i18n.error_text(exc.code, visitor.language)
        put_flash(response, visitor, Flash(tone=Tone.BAD, text=text, details=(exc.message,)))
        return response
    text = i18n.translate(N_("Đã đưa lại vào hàng đợi: %(kind)s."), visitor.language)
    name = i18n.name_of("job_kind", kind, visitor.language)
    put_flash(response, visitor, Flash(tone=Tone.GOOD, text=text % {"kind": name}))
    return response
