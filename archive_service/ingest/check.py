"""Checking a received dossier: everything that can be found out is found out, then one transaction writes findings, verdicts and state.

Steps; all but the last only read:
  1. unpack a one-shot ZIP into staging, if that is how the dossier came (ingest/packages.py);
  2. codes, dates and paths (R002-R004, R009), completeness by outcome and process (R005, R006);
  3. format of every component by content (R021) and virus scan (R012);
  4. signatures of every component (R030-R035);
  5. retention assignment, proposed to the approver (R060-R064);
  6. findings, verdicts, facts and the next state, with its event, in one transaction.
A finding of severity error rejects; the sender gets every reason at once (R016). Running it twice gives the same rows.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import bindparam, delete, insert, update
from sqlalchemy.orm import Session

from archive_service.audit import software
from archive_service.clock import civil_date
from archive_service.dossier import DOSSIER_FILE_NAME, Component
from archive_service.errors import ConfigurationInvalid
from archive_service.findings import Finding, Severity, rejects
from archive_service.followup import enqueue
from archive_service.formats import virus
from archive_service.formats.report import FormatReport
from archive_service.ingest.checkers import neighbours, scan_limits
from archive_service.ingest.evidence import MATERIAL_FILE_NAME, dump_material, kept_material
from archive_service.ingest.findings import finding_rows
from archive_service.ingest.packages import unpack
from archive_service.ingest.policies import CheckPolicies, load_policies
from archive_service.ingest.submissions import PushedDossier, find_submission, read_dossier
from archive_service.ingest.uploads import staged_name
from archive_service.lifecycle import locked_submission, transition
from archive_service.models import Component as ComponentRow
from archive_service.models import JobKind, SignatureVerdict, State, SubmissionFinding
from archive_service.rules import retention
from archive_service.rules.codes import check_codes
from archive_service.rules.completeness import check_completeness
from archive_service.service import Service
from archive_service.signatures.acceptance import findings_for
from archive_service.signatures.report import SignatureCheck

_AGENT: Final = software("check")
SIGNATURES_AHEAD: Final = 64
"""Most signature checks begun and not yet taken in: enough to keep the processes busy, flat for any number of files."""
ROWS_TOGETHER: Final = 1000
"""Rows of one statement: of 20,000 components only so many exist a second time as parameters."""


class Checkers(Protocol):
    """The checks of bytes, run where a hostile file can do no harm (worker processes with limits)."""

    def check_format(self, path: Path, component: Component, policies: CheckPolicies) -> FormatReport:
        """Identifies and checks the format of one component."""
        ...

    def submit_signatures(
        self, path: Path, mime: str, policies: CheckPolicies, *, at: datetime, siblings: Mapping[str, Path]
    ) -> Future[SignatureCheck]:
        """Starts validating every signature of one component."""
        ...


@dataclass(slots=True, kw_only=True)
class _Result:
    """What one check has found so far."""

    findings: list[Finding] = field(default_factory=list)
    signature_findings: list[Finding] = field(default_factory=list)
    """Apart until the end, so that the order told does not depend on how far ahead formats are."""
    formats: dict[str, FormatReport] = field(default_factory=dict)
    signatures: dict[str, SignatureCheck] = field(default_factory=dict)
    retention: dict[str, Any] | None = None


def check_submission(
    service: Service,
    submission_id: UUID,
    checkers: Checkers,
    *,
    at: datetime,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> None:
    """Checks a submission and moves it to REJECTED or AWAITING_APPROVAL; idempotent.

    Args:
        service: The parts of this process.
        submission_id: What to check; anything not in CHECKING is left alone.
        checkers: Who checks bytes.
        at: Now; also the time signatures are judged at.
        progress: Told components done and to do.
    """
    with service.database.read() as session:
        submission = find_submission(session, submission_id)
    if submission.state is not State.CHECKING:
        return
    policies = load_policies(service.settings, on=civil_date(at))
    result = _Result()
    pushed = _dossier(service, submission_id, submission.form, result)
    if pushed is not None:
        _check_description(pushed, policies, result, at=at)
        _check_files(service, submission_id, pushed, policies, checkers, result, at=at, progress=progress)
    material = dump_material(kept_material(result.signatures, policies.trust))
    service.staging.receive(submission_id, MATERIAL_FILE_NAME, [material], limit_bytes=len(material))
    with service.database.write() as session:
        _write(session, submission_id, result, policies, at=at)


def _dossier(service: Service, submission_id: UUID, form: str, result: _Result) -> PushedDossier | None:
    if form == "package":
        unpacked = unpack(service, submission_id)
        result.findings += unpacked.findings
        pushed = unpacked.pushed
    else:
        pushed = read_dossier(service.staging.path(submission_id, DOSSIER_FILE_NAME).read_bytes())
    # The models say it all; of 20,000 components the JSON beside them would be the larger half.
    return replace(pushed, content=b"", value=None) if pushed else None


def _check_description(pushed: PushedDossier, policies: CheckPolicies, result: _Result, *, at: datetime) -> None:
    dossier = pushed.dossier
    result.findings += check_codes(dossier, at=at, profile=policies.codes)
    result.findings += check_completeness(dossier, policies.completeness)
    assignment = retention.assign(policies.retention, dossier)
    result.findings += retention.check_retention(assignment, dossier)
    result.retention = retention.as_json(assignment)


def _check_files(
    service: Service,
    submission_id: UUID,
    pushed: PushedDossier,
    policies: CheckPolicies,
    checkers: Checkers,
    result: _Result,
    *,
    at: datetime,
    progress: Callable[[int, int], None],
) -> None:
    components = pushed.dossier.components
    paths = {
        component.path: service.staging.path(submission_id, staged_name(ordinal))
        for ordinal, component in enumerate(components, start=1)
    }
    near = neighbours(paths)
    if not service.settings.clamd:
        # Said once for the dossier: the same line under each of ten files would hide what differs.
        result.findings += virus.findings(virus.scan(next(iter(paths.values())), None), "")
    waiting: deque[tuple[Component, Future[SignatureCheck]]] = deque()
    for done, component in enumerate(components, start=1):
        path = paths[component.path]
        if not path.exists():
            continue  # unpacking said why
        report = checkers.check_format(path, component, policies)
        result.formats[component.id] = report
        result.findings += report.findings
        if service.settings.clamd:
            scanned = virus.scan(path, service.settings.clamd, scan_limits(service.settings))
            result.findings += virus.findings(scanned, component.id)
        started = checkers.submit_signatures(
            path, report.identification.mime, policies, at=at, siblings=near(component.path)
        )
        waiting.append((component, started))
        if len(waiting) > SIGNATURES_AHEAD:
            _take_signatures(*waiting.popleft(), policies, result)
        progress(done, len(components))
    while waiting:
        _take_signatures(*waiting.popleft(), policies, result)
    result.findings += result.signature_findings


def _take_signatures(
    component: Component, started: Future[SignatureCheck], policies: CheckPolicies, result: _Result
) -> None:
    check = started.result()
    result.signature_findings += findings_for(check, component=component, policy=policies.signatures)
    if check.reports:
        result.signatures[component.id] = check


def _write(session: Session, submission_id: UUID, result: _Result, policies: CheckPolicies, *, at: datetime) -> None:
    submission = locked_submission(session, submission_id)
    if submission.state is not State.CHECKING:
        return
    _replace_rows(session, submission_id, result)
    findings = result.findings
    submission.checked_at = at
    submission.policies = policies.pinned()
    submission.retention = result.retention
    submission.error_count = sum(finding.severity is Severity.ERROR for finding in findings)
    submission.warning_count = sum(finding.severity is Severity.WARNING for finding in findings)
    refused = rejects(findings)
    if not refused and result.retention is None:
        raise ConfigurationInvalid(f"submission {submission_id} has neither an error nor a retention assignment")
    detail = {
        "errors": submission.error_count,
        "warnings": submission.warning_count,
        "codes": sorted({finding.code for finding in findings}),
        "signatures": _verdict_counts(result),
        "policies": submission.policies,
    }
    transition(
        session, submission, State.REJECTED if refused else State.AWAITING_APPROVAL, agent=_AGENT, at=at, detail=detail
    )
    if refused:
        submission.decided_at = at
        enqueue(session, JobKind.DISCARD_STAGING, submission_id, at=at)


def _replace_rows(session: Session, submission_id: UUID, result: _Result) -> None:
    for table in (SubmissionFinding, SignatureVerdict):
        session.execute(delete(table).where(table.submission_id == submission_id))
    findings = finding_rows(submission_id, result.findings)
    if findings:
        session.execute(insert(SubmissionFinding), findings)
    verdicts = _verdict_rows(submission_id, result.signatures)
    if verdicts:
        session.execute(insert(SignatureVerdict), verdicts)
    facts = _fact_rows(submission_id, result.formats)
    while batch := list(islice(facts, ROWS_TOGETHER)):
        session.connection().execute(_FACTS, batch)


_FACTS: Final = (
    update(ComponentRow)
    .where(
        ComponentRow.__table__.c.submission_id == bindparam("b_submission"),
        ComponentRow.__table__.c.component_id == bindparam("b_component"),
    )
    .values(
        mime=bindparam("b_mime"),
        puid=bindparam("b_puid"),
        format_name=bindparam("b_format_name"),
        format_version=bindparam("b_format_version"),
        facts=bindparam("b_facts"),
    )
)


def _fact_rows(submission_id: UUID, formats: Mapping[str, FormatReport]) -> Iterator[dict[str, Any]]:
    for component_id, report in formats.items():
        yield {
            "b_submission": submission_id,
            "b_component": component_id,
            "b_mime": report.identification.mime[:200],
            "b_puid": report.identification.puid,
            "b_format_name": (report.identification.format_name or "")[:300],
            "b_format_version": (report.identification.format_version or "")[:60] or None,
            "b_facts": {**report.facts, "checked": list(report.checked), "not_checked": list(report.not_checked)},
        }


def _verdict_rows(submission_id: UUID, checks: Mapping[str, SignatureCheck]) -> list[dict[str, Any]]:
    return [
        {
            "submission_id": submission_id,
            "component_id": component_id,
            "ordinal": ordinal,
            "kind": report.kind.value,
            "indication": report.indication.value,
            "sub_indication": report.sub_indication.value if report.sub_indication else None,
            "level": report.level.value if report.level else None,
            "signer": report.signer[:500] if report.signer else None,
            "signing_time": report.signing_time,
            "report": report.as_json(),
        }
        for component_id, check in checks.items()
        for ordinal, report in enumerate(check.reports, start=1)
    ]


def _verdict_counts(result: _Result) -> dict[str, int]:
    counts: dict[str, int] = {}
    for check in result.signatures.values():
        for report in check.reports:
            counts[report.indication.value] = counts.get(report.indication.value, 0) + 1
    return counts
