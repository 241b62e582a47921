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
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol, cast
from uuid import UUID

from sqlalchemy import JSON, Table, bindparam, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB

from archive_service.audit import software
from archive_service.clock import civil_date
from archive_service.db import Work
from archive_service.dossier import DOSSIER_FILE_NAME, Component, Dossier
from archive_service.errors import ConfigurationInvalid, NotFound
from archive_service.findings import Finding, Severity, rejects
from archive_service.followup import enqueue
from archive_service.formats import virus
from archive_service.formats.report import FormatReport
from archive_service.ingest.checkers import neighbours, scan_limits
from archive_service.ingest.evidence import MATERIAL_FILE_NAME, dump_material, kept_material
from archive_service.ingest.findings import finding_rows
from archive_service.ingest.packages import unpack
from archive_service.ingest.policies import CheckPolicies, load_policies
from archive_service.ingest.signer_agency import check_signer_agency
from archive_service.ingest.submissions import accepted_dossier
from archive_service.ingest.uploads import is_staged, staged_folder, staged_name
from archive_service.lifecycle import lock_submission, transition
from archive_service.models import Component as ComponentRow
from archive_service.models import JobKind, SignatureVerdict, State, Submission, SubmissionFinding
from archive_service.models.base import Base
from archive_service.prepared import Prepared
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


def _table(model: type[Base]) -> Table:
    return cast("Table", model.__table__)


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
    facts: list[dict[str, Any]] = field(default_factory=list)
    """Rows of what the formats are; of a large dossier they are written as they come."""
    signatures: dict[str, SignatureCheck] = field(default_factory=dict)
    retention: dict[str, Any] | None = None
    scanners: set[str] = field(default_factory=set)
    """Version lines of the malware scanners that answered, with their databases."""


def check_submission(
    service: Service,
    submission_id: UUID,
    checkers: Checkers,
    *,
    at: datetime,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    ending: Callable[[Work], None] = lambda _work: None,
) -> None:
    """Checks a submission and moves it to REJECTED or AWAITING_APPROVAL; idempotent.

    Args:
        service: The parts of this process.
        submission_id: What to check; anything not in CHECKING is left alone.
        checkers: Who checks bytes.
        at: Now; also the time signatures are judged at.
        progress: Told components done and to do.
        ending: Called last in the transaction that writes what was found.
    """
    with service.database.read_prepared() as work:
        submission = _STANDING.first(work, {"submission": submission_id})
    if submission is None:
        raise NotFound(f"submission {submission_id} not found")
    if submission.state is not State.CHECKING:
        return
    policies = load_policies(service.settings, on=civil_date(at))
    result = _Result()
    dossier = _dossier(service, submission_id, submission.form, result)
    if dossier is not None:
        _check_description(dossier, policies, result, at=at)
        _check_files(service, submission_id, dossier, policies, checkers, result, at=at, progress=progress)
    if result.signatures:
        material = dump_material(kept_material(result.signatures, policies.trust))
        service.staging.receive(submission_id, MATERIAL_FILE_NAME, [material], limit_bytes=len(material))
    with service.database.write_prepared() as work:
        _write(work, submission_id, result, policies, at=at)
        ending(work)


_STANDING: Final = Prepared(select(Submission.state, Submission.form).where(Submission.id == bindparam("submission")))


def _dossier(service: Service, submission_id: UUID, form: str, result: _Result) -> Dossier | None:
    if form != "package":
        return accepted_dossier(service.staging.path(submission_id, DOSSIER_FILE_NAME).read_bytes())
    unpacked = unpack(service, submission_id)
    result.findings += unpacked.findings
    return unpacked.pushed.dossier if unpacked.pushed else None


def _check_description(dossier: Dossier, policies: CheckPolicies, result: _Result, *, at: datetime) -> None:
    result.findings += check_codes(dossier, at=at, profile=policies.codes)
    result.findings += check_completeness(dossier, policies.completeness)
    assignment = retention.assign(policies.retention, dossier)
    result.findings += retention.check_retention(assignment, dossier)
    result.retention = retention.as_json(assignment)


def _check_files(
    service: Service,
    submission_id: UUID,
    dossier: Dossier,
    policies: CheckPolicies,
    checkers: Checkers,
    result: _Result,
    *,
    at: datetime,
    progress: Callable[[int, int], None],
) -> None:
    components = dossier.components
    folder = staged_folder(service.staging, submission_id)
    paths = {
        component.path: Path(f"{folder}/{staged_name(ordinal)}")
        for ordinal, component in enumerate(components, start=1)
    }
    near = neighbours(paths)
    if not service.settings.clamd:
        # Said once for the dossier: the same line under each of ten files would hide what differs.
        result.findings += virus.findings(virus.scan(next(iter(paths.values())), None), "")
    waiting: deque[tuple[Component, Future[SignatureCheck]]] = deque()
    for done, component in enumerate(components, start=1):
        path = paths[component.path]
        if not is_staged(folder, done):
            continue  # unpacking said why
        report = checkers.check_format(path, component, policies)
        result.findings += report.findings
        result.facts.append(_fact_row(submission_id, done, report))
        if len(result.facts) == ROWS_TOGETHER:
            _write_facts(service, result)
        if service.settings.clamd:
            scanned = virus.scan(path, service.settings.clamd, scan_limits(service.settings))
            result.findings += virus.findings(scanned, component.id)
            if scanned.database_version:
                result.scanners.add(scanned.database_version)
        started = checkers.submit_signatures(
            path, report.identification.mime, policies, at=at, siblings=near(component.path)
        )
        waiting.append((component, started))
        if len(waiting) > SIGNATURES_AHEAD:
            _take_signatures(dossier, *waiting.popleft(), policies, result)
        progress(done, len(components))
    while waiting:
        _take_signatures(dossier, *waiting.popleft(), policies, result)
    result.findings += result.signature_findings


def _take_signatures(
    dossier: Dossier,
    component: Component,
    started: Future[SignatureCheck],
    policies: CheckPolicies,
    result: _Result,
) -> None:
    check = started.result()
    result.signature_findings += findings_for(check, component=component, policy=policies.signatures)
    result.signature_findings += check_signer_agency(
        check,
        component,
        settling_agency=dossier.settling_agency,
        codes=policies.codes,
        policy=policies.signatures,
    )
    if check.reports:
        result.signatures[component.id] = check


def _write(work: Work, submission_id: UUID, result: _Result, policies: CheckPolicies, *, at: datetime) -> None:
    submission = lock_submission(work, submission_id)
    if submission.state is not State.CHECKING:
        return
    findings = result.findings
    refused = rejects(findings)
    if not refused and result.retention is None:
        raise ConfigurationInvalid(f"submission {submission_id} has neither an error nor a retention assignment")
    checked = {
        "policies": policies.pinned(),
        "error_count": sum(finding.severity is Severity.ERROR for finding in findings),
        "warning_count": sum(finding.severity is Severity.WARNING for finding in findings),
    }
    _CHECKED.run(work, {"b_submission": submission_id, "retention": result.retention, **checked})
    # Nothing leads back to CHECKING, so there are no rows of an earlier check.
    for statement, rows in (
        (_ADD_FINDINGS, finding_rows(submission_id, findings)),
        (_ADD_VERDICTS, _verdict_rows(submission_id, result.signatures)),
        (_FACTS, result.facts),
    ):
        for start in range(0, len(rows), ROWS_TOGETHER):
            statement.run_each(work, rows[start : start + ROWS_TOGETHER])
    detail = {
        "errors": checked["error_count"],
        "warnings": checked["warning_count"],
        "codes": sorted({finding.code for finding in findings}),
        "signatures": _verdict_counts(result),
        "policies": checked["policies"],
    }
    if result.scanners:
        detail["malware_scanners"] = sorted(result.scanners)
    transition(
        work, submission, State.REJECTED if refused else State.AWAITING_APPROVAL, agent=_AGENT, at=at, detail=detail
    )
    if refused:
        enqueue(work, JobKind.DISCARD_STAGING, submission_id, at=at)


_NULLABLE_JSON: Final = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
_CHECKED: Final = Prepared(
    update(_table(Submission))
    .where(_table(Submission).c.id == bindparam("b_submission"))
    .values(
        policies=bindparam("policies"),
        retention=bindparam("retention", type_=_NULLABLE_JSON),
        error_count=bindparam("error_count"),
        warning_count=bindparam("warning_count"),
    )
)
_ADD_FINDINGS: Final = Prepared(insert(_table(SubmissionFinding)).inline())
_ADD_VERDICTS: Final = Prepared(insert(_table(SignatureVerdict)).inline())
_FACTS: Final = Prepared(
    update(_table(ComponentRow))
    .where(
        _table(ComponentRow).c.submission_id == bindparam("b_submission"),
        _table(ComponentRow).c.ordinal == bindparam("b_ordinal"),
    )
    .values({name: bindparam(name) for name in ("mime", "puid", "format_name", "format_version", "facts")})
)


def _fact_row(submission_id: UUID, ordinal: int, report: FormatReport) -> dict[str, Any]:
    found = report.identification
    return {
        "b_submission": submission_id,
        "b_ordinal": ordinal,
        "mime": found.mime[:200],
        "puid": found.puid,
        "format_name": (found.format_name or "")[:300],
        "format_version": (found.format_version or "")[:60] or None,
        "facts": {**report.facts, "checked": list(report.checked), "not_checked": list(report.not_checked)},
    }


def _write_facts(service: Service, result: _Result) -> None:
    """Writes what has been found of formats so far; a check that is done again writes the same."""
    with service.database.write_prepared() as work:
        _FACTS.run_each(work, result.facts)
    result.facts.clear()


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
