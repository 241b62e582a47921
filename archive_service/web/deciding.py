"""Deciding: on one or on the chosen submissions, on all that match a filter after a look at what they are, and what became of each.

What a person decides on is what the page showed: the form carries the ids, so that nothing that arrived since slips in.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Form, Request
from fastapi.responses import Response
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from archive_service import clock, i18n
from archive_service.access.submissions import Worst, waiting
from archive_service.errors import BadRequest, NotFound
from archive_service.findings import definition
from archive_service.i18n import N_
from archive_service.identity.permissions import Permission, in_scope
from archive_service.models import Decision, Job, JobKind, JobState, State, Submission
from archive_service.transfer.decisions import MAX_BATCH, Batch, DecisionKind, DecisionResult, decide_many
from archive_service.web.flash import Flash, Tone, put_flash
from archive_service.web.queue import FilterDep
from archive_service.web.templating import render
from archive_service.web.visitors import MemberDep, MemberSenderDep, OnlookerDep, Visitor, local_path, see_other

router = APIRouter(include_in_schema=False)

PAGE: Final = 100
_TOLD_ALONE: Final = 5
"""Failed items of one kind that a message names one by one; more are counted, with some codes."""
_IDS_CHARS: Final = 37 * MAX_BATCH
"""So many ids, written with a space between, one form may carry."""
_STOP_POLLING: Final = 286
"""What htmx takes as the last answer to a page that refreshes itself."""


@router.get("/submissions/decide")
def get_decide(request: Request, visitor: MemberDep, chosen: FilterDep) -> Response:
    """Shows what one decision on all that match the filter would be about, and takes it."""
    visitor.principal.require(Permission.SUBMISSION_DECIDE)
    with visitor.service.database.read() as session:
        found = waiting(session, chosen.query(), visitor.principal, limit=MAX_BATCH)
    return render(
        request,
        visitor,
        "decide.html",
        waiting=found,
        chosen=chosen,
        definition=definition,
        worsts=_all_kinds(found.worst),
    )


def _all_kinds(counts: Mapping[Worst, int]) -> list[tuple[str, int]]:
    return [(worst.value, counts.get(worst, 0)) for worst in Worst]


@router.post("/decisions")
def post_decisions(
    visitor: MemberSenderDep,
    decision: Annotated[DecisionKind, Form()],
    submission: Annotated[list[UUID] | None, Form()] = None,
    submissions: Annotated[str, Form(max_length=_IDS_CHARS)] = "",
    reason: Annotated[str, Form(max_length=2000)] = "",
    back: Annotated[str, Form(max_length=2000)] = "/submissions",
) -> Response:
    """Decides on the selected submissions; each stands on its own and is reported on the next page."""
    chosen = [*(submission or []), *_ids(submissions)]
    language = visitor.language
    if not chosen or (decision is not DecisionKind.APPROVE and not reason.strip()):
        text = N_("Chưa chọn hồ sơ nào.") if not chosen else N_("Cần ghi lý do khi trả lại hoặc từ chối.")
        response = see_other(local_path(back))
        put_flash(response, visitor, Flash(tone=Tone.BAD, text=i18n.translate(text, language)))
        return response
    visitor.principal.require(Permission.SUBMISSION_DECIDE)
    batch = decide_many(
        visitor.service.database,
        chosen,
        decision,
        principal=visitor.principal,
        reason=reason,
        at=clock.unique_now(),
    )
    with visitor.service.database.read() as session:
        flash = _told(session, visitor, batch, decision)
    target = local_path(back) if len(chosen) == 1 or not batch.made else f"/submissions/batches/{batch.id}"
    response = see_other("/submissions" if target.startswith("/submissions/decide") else target)
    put_flash(response, visitor, flash)
    return response


def _ids(text: str) -> list[UUID]:
    try:
        return [UUID(word) for word in text.split()]
    except ValueError:
        raise BadRequest("not ids of submissions", problems=[{"location": "submissions"}]) from None


_DONE: Final = {
    DecisionKind.APPROVE: N_("Đã duyệt %(n)s hồ sơ."),
    DecisionKind.RETURN: N_("Đã trả lại %(n)s hồ sơ."),
    DecisionKind.REJECT: N_("Đã từ chối %(n)s hồ sơ."),
}


def _told(session: Session, visitor: Visitor, batch: Batch, kind: DecisionKind) -> Flash:
    language = visitor.language
    failed = [result for result in batch.results if not result.decided]
    repeated = sum(result.repeated for result in batch.results)
    told = (
        (batch.made, _DONE[kind]),
        (repeated, N_("%(n)s hồ sơ đã có quyết định này từ trước.")),
        (len(failed), N_("%(n)s hồ sơ không xử lý được.")),
    )
    text = " ".join(i18n.translate(text, language) % {"n": i18n.format_number(n, language)} for n, text in told if n)
    return Flash(
        tone=Tone.BAD if failed else Tone.GOOD, text=text, details=tuple(_failures(session, visitor, failed, language))
    )


def _failures(session: Session, visitor: Visitor, failed: Sequence[DecisionResult], language: str) -> list[str]:
    """Returns a line for each item, or for each reason where many share it."""
    found = _known(session, visitor, [result.submission_id for result in failed])
    lines: dict[str, list[str]] = {}
    for result in failed:
        known = found.get(result.submission_id)
        name = (known.code if known else None) or str(result.submission_id)
        told = _why(result, known, language)
        lines.setdefault(told, []).append(name)
    texts = []
    for told, names in sorted(lines.items(), key=lambda line: -len(line[1])):
        if len(names) <= _TOLD_ALONE:
            texts += [f"{name}: {told}" for name in names]
        else:
            count = i18n.translate(N_("%(n)s hồ sơ"), language) % {"n": i18n.format_number(len(names), language)}
            texts.append(f"{count}: {told} ({', '.join(names[:3])} …)")
    return texts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What is told of a submission that could not be decided on."""

    code: str | None
    decision: Decision | None


def _known(session: Session, visitor: Visitor, submission_ids: Sequence[UUID]) -> dict[UUID, _Known]:
    """Returns the code and the decision that stands, of those the person may see."""
    query = (
        select(Submission.id, Submission.dossier_code, Decision)
        .outerjoin(Decision, Decision.submission_id == Submission.id)
        .where(Submission.id.in_(submission_ids), _seen_by(visitor))
    )
    return {
        submission_id: _Known(code=code, decision=decision) for submission_id, code, decision in session.execute(query)
    }


def _seen_by(visitor: Visitor) -> ColumnElement[bool]:
    return in_scope(
        visitor.principal, Permission.SUBMISSION_READ, Submission.archiving_agency, Submission.settling_agency
    )


def _why(result: DecisionResult, known: _Known | None, language: str) -> str:
    decision = known.decision if known else None
    if decision is None:
        return i18n.error_text(result.error_code or "", language)
    text = N_("đã có quyết định khác (%(kind)s) của %(who)s lúc %(when)s")
    return i18n.translate(text, language) % {
        "kind": i18n.name_of("decision", decision.kind, language),
        "who": decision.agent_name,
        "when": i18n.format_datetime(decision.decided_at),
    }


# ------------------------------------------------------------------ what became of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the follow-up of an act is."""

    total: int
    states: Mapping[State, int]
    parked: int
    """Approved, but the work that stores them stopped after too many tries."""

    @property
    def stored(self) -> int:
        """Packaged and read back from every location."""
        return self.states.get(State.STORED, 0)

    @property
    def underway(self) -> int:
        """Approved and neither stored nor stopped."""
        return max(0, self.states.get(State.APPROVED, 0) - self.parked)

    def share(self, count: int) -> float:
        """Of the whole, 0 to 100."""
        return round(100 * count / self.total, 2) if self.total else 0.0


@router.get("/submissions/batches/{batch_id}")
def get_batch(batch_id: UUID, request: Request, visitor: MemberDep, cursor: UUID | None = None) -> Response:
    """Shows every item decided in one act, a page at a time, with what became of it since."""
    return _batch_page(batch_id, request, visitor, cursor, "batch.html")


@router.get("/submissions/batches/{batch_id}/status")
def get_batch_status(batch_id: UUID, request: Request, visitor: OnlookerDep, cursor: UUID | None = None) -> Response:
    """Returns the progress and the present states of the rows on a page, to be swapped in until nothing is under way."""
    return _batch_page(batch_id, request, visitor, cursor, "batch_status.html")


def _batch_page(batch_id: UUID, request: Request, visitor: Visitor, cursor: UUID | None, template: str) -> Response:
    visitor.principal.require(Permission.SUBMISSION_READ)
    clauses = [Decision.batch_id == batch_id, _seen_by(visitor)]
    query = select(Submission, Decision).join(Decision, Decision.submission_id == Submission.id).where(*clauses)
    if cursor is not None:
        query = query.where(Submission.id > cursor)
    with visitor.service.database.read() as session:
        rows = [(row, decision) for row, decision in session.execute(query.order_by(Submission.id).limit(PAGE + 1))]
        if not rows:
            raise NotFound(f"no decisions {batch_id}")
        progress = _progress(session, clauses)
        parked = _parked(session, [submission.id for submission, _ in rows])
        response = render(
            request,
            visitor,
            template,
            batch_id=batch_id,
            rows=rows[:PAGE],
            decision=rows[0][1],
            progress=progress,
            parked=parked,
            cursor=cursor,
            next=rows[PAGE - 1][0].id if len(rows) > PAGE else None,
        )
    if template == "batch_status.html" and not progress.underway:
        response.status_code = _STOP_POLLING
    return response


def _progress(session: Session, clauses: Sequence[ColumnElement[bool]]) -> Progress:
    chosen = select(Submission.id, Submission.state).join(Decision, Decision.submission_id == Submission.id)
    rows = session.execute(chosen.where(*clauses)).all()
    approved = [row.id for row in rows if row.state is State.APPROVED]
    return Progress(
        total=len(rows),
        states=Counter(row.state for row in rows),
        parked=len(_parked(session, approved)),
    )


def _parked(session: Session, submission_ids: Sequence[UUID]) -> frozenset[UUID]:
    """Returns those whose storing stopped after too many tries."""
    query = select(Job.subject).where(
        Job.state == JobState.PARKED,
        Job.kind == JobKind.STORE_SUBMISSION,
        Job.subject.in_([str(submission_id) for submission_id in submission_ids]),
    )
    return frozenset(UUID(subject) for subject in session.scalars(query))
