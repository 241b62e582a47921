"""What PREMIS of a package says was done to the dossier before packaging: reception, every check with its outcome, the decision and why.

Made of the event log and of what the checks left in rows, neither of which changes any more, so packaging again gives the same bytes. Notes
of checks are JSON with sorted names; the note of the approval is the approver's reason, word for word.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, bindparam, literal, select

from archive_service.db import Work
from archive_service.findings import Finding
from archive_service.ids import derived_id
from archive_service.models import Event, EventType
from archive_service.packaging.content import AgentType, PackagedFile, PremisAgent, PremisEvent
from archive_service.prepared import Prepared

SUCCESS: Final = "success"
WARNING: Final = "warning"
"""Terms of the PREMIS event outcome vocabulary, as `success`."""
NOT_CHECKED: Final = "not checked"
"""Outcome of a check that did not take place; the note says why."""
NO_SIGNATURES: Final = "no signatures"
REASONS_NAMED: Final = 10
"""Most different reasons why files were not scanned that one note repeats; findings.json has every one."""
_PASSED: Final = "TOTAL-PASSED"
_NOT_SCANNED: Final = "VIRUS_NOT_SCANNED"

_PREMIS_TYPES: Mapping[EventType, str] = {
    EventType.SUBMISSION_OPENED: "ingestion start",
    EventType.SUBMISSION_COMPLETED: "message digest calculation",
    EventType.SUBMISSION_CHECKED: "validation",
    EventType.SUBMISSION_APPROVED: "accession",
}
"""Terms of the PREMIS event type vocabulary for what happened before packaging."""

_HISTORY: Final = Prepared(
    select(Event.type, Event.at, Event.agent_id, Event.agent_name, Event.detail)
    .where(
        Event.subject_kind == "submission",
        Event.subject_id == bindparam("submission"),
        Event.type.in_([literal(kind, Event.type.type) for kind in _PREMIS_TYPES]),
    )
    .order_by(Event.seq)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One PREMIS event that an event of the log stands for."""

    type: str
    outcome: str
    note: str


def provenance(
    work: Work, submission_id: UUID, files: Sequence[PackagedFile], findings: Sequence[Finding]
) -> tuple[list[PremisEvent], list[PremisAgent]]:
    """Returns the events of a submission up to its approval, in order, and who acted in them."""
    rows = _HISTORY.rows(work, {"submission": str(submission_id)})
    agents = {row.agent_id: row.agent_name for row in rows}
    events = [
        PremisEvent(
            id=derived_id("premis-event", str(submission_id), row.type.value, row.at.isoformat(), step.type),
            type=step.type,
            at=row.at,
            detail=row.type.value,
            outcome=step.outcome,
            note=step.note,
            agent_id=row.agent_id,
        )
        for row in rows
        for step in _steps(row, files, findings)
    ]
    return events, [
        PremisAgent(id=agent_id, name=name, type=_agent_type(agent_id)) for agent_id, name in agents.items()
    ]


def _agent_type(agent_id: str) -> AgentType:
    return AgentType.PERSON if agent_id.startswith("account:") else AgentType.SOFTWARE


def _steps(row: Row[*tuple[Any, ...]], files: Sequence[PackagedFile], findings: Sequence[Finding]) -> Iterable[_Step]:
    if row.type is EventType.SUBMISSION_CHECKED:
        yield _identification(row.detail, files)
        yield _virus_check(row.detail, files, findings)
        yield _signature_validation(row.detail)
        yield _validation(row.detail)
    else:
        note = row.detail.get("reason", "") if row.type is EventType.SUBMISSION_APPROVED else ""
        yield _Step(type=_PREMIS_TYPES[row.type], outcome=SUCCESS, note=note)


def _identification(detail: Mapping[str, Any], files: Sequence[PackagedFile]) -> _Step:
    formats = Counter(file.puid for file in files if file.puid)
    identified = formats.total()
    return _Step(
        type="format identification",
        outcome=SUCCESS if identified == len(files) else WARNING,
        note=_note(
            {
                "files": len(files),
                "identified": identified,
                "formats": dict(formats),
                "policies": _policies(detail, "formats"),
            }
        ),
    )


def _virus_check(detail: Mapping[str, Any], files: Sequence[PackagedFile], findings: Sequence[Finding]) -> _Step:
    left_out = [finding for finding in findings if finding.code == _NOT_SCANNED]
    # One finding without a place speaks of the whole dossier.
    scanned = 0 if any(not finding.location for finding in left_out) else len(files) - len(left_out)
    reasons = sorted({str(finding.params.get("reason", "")) for finding in left_out})
    note = {"files": len(files), "scanned": scanned, "reasons": reasons[:REASONS_NAMED]}
    if scanners := detail.get("malware_scanners"):
        note["scanners"] = scanners
    partly = WARNING if left_out else SUCCESS
    return _Step(type="virus check", outcome=partly if scanned else NOT_CHECKED, note=_note(note))


def _signature_validation(detail: Mapping[str, Any]) -> _Step:
    counts: Mapping[str, int] = detail.get("signatures", {})
    codes = [code for code in detail.get("codes", ()) if code.startswith("SIGNATURE_")]
    outcome = SUCCESS if set(counts) == {_PASSED} and not codes else WARNING
    return _Step(
        type="digital signature validation",
        outcome=outcome if counts or codes else NO_SIGNATURES,
        note=_note(
            {
                "signatures": sum(counts.values()),
                "indications": counts,
                "codes": codes,
                "policies": _policies(detail, "signatures", "trust"),
            }
        ),
    )


def _validation(detail: Mapping[str, Any]) -> _Step:
    return _Step(
        type=_PREMIS_TYPES[EventType.SUBMISSION_CHECKED],
        outcome=WARNING if detail.get("warnings") else SUCCESS,
        note=_note(
            {
                "errors": detail.get("errors", 0),
                "warnings": detail.get("warnings", 0),
                "codes": detail.get("codes", []),
                "policies": _policies(detail, "formats", "codes", "completeness", "retention"),
            }
        ),
    )


def _policies(detail: Mapping[str, Any], *names: str) -> dict[str, Any]:
    pinned = detail.get("policies", {})
    return {name: pinned[name] for name in names if name in pinned}


def _note(value: Mapping[str, Any]) -> str:
    # The database keeps no order of names; the package must not depend on it.
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
