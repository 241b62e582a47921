"""Building a package without a server and without a database; verifying one is in `verifying`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from archive_service import __version__
from archive_service.cli.checking import AtOption, TrustOption, moment_of, policies_of, worker_count
from archive_service.clock import civil_date
from archive_service.digests import sha256
from archive_service.dossier import Component, Dossier
from archive_service.errors import PackageInvalid, StoreUnavailable
from archive_service.findings import Finding, rejects
from archive_service.ids import derived_id
from archive_service.ingest.evidence import kept_material
from archive_service.ingest.files import FileChecks, FilePolicies, FileResult, FileToCheck
from archive_service.ingest.policies import CheckPolicies, load_policies
from archive_service.ingest.signer_agency import check_signer_agency
from archive_service.packaging.aip import build_aip
from archive_service.packaging.content import AgentType, AipContent, CsipVersion, PackagedFile, PremisAgent, PremisEvent
from archive_service.packaging.dossier_zip import open_dossier_folder
from archive_service.rules import retention
from archive_service.rules.codes import check_codes
from archive_service.rules.completeness import check_completeness
from archive_service.settings import Settings, load_settings
from archive_service.signatures.acceptance import NO_ANCHORS
from archive_service.storage.durable import durable_file

NO_ANCHORS_TEXT: Final = (
    "Không có chứng thư gốc tin cậy (--trust): không kết luận được ai đã ký. / No trust anchors were named (--trust): nothing is said of"
    " who signed."
)
REFUSED_TEXT: Final = (
    "Gói đã được tạo, nhưng hồ sơ có lỗi và sẽ bị từ chối khi nộp. / The package was built, but the dossier has errors and intake would"
    " refuse it."
)


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(package)


def package(
    dossier_dir: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Thư mục hồ sơ / dossier folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Tệp ZIP đích / target ZIP.")],
    csip: Annotated[CsipVersion, typer.Option("--csip", help="E-ARK CSIP.")] = CsipVersion.V2_0_4,
    at: AtOption = None,
    trust: TrustOption = None,
) -> None:
    """Đóng gói AIP ngoài hệ thống / build an AIP offline; the same folder gives the same bytes.

    Exit 0 = built; findings stand in the package and on stderr.
    """
    opened, problems = open_dossier_folder(dossier_dir)
    if opened is None:
        raise PackageInvalid(
            "; ".join(f"{problem.code} {problem.location}: {problem.message()}" for problem in problems)
        )
    with opened:
        dossier = opened.dossier
        moment = moment_of(at) if at else dossier.closed_at
        settings = load_settings()
        judged_by = policies_of(settings, trust, moment)
        results = _check_files(dossier_dir, dossier, settings, judged_by, at=moment)
        policies = replace(load_policies(settings, on=civil_date(moment)), trust=judged_by.trust)
        findings = tuple(_findings(dossier, policies, results, at=moment))
        content = _content(
            dossier_dir, dossier, opened.dossier_json, policies, results, findings, csip=csip.value, at=moment
        )
    with durable_file(output.absolute(), replace=True) as target:
        built = build_aip(content, target)
    typer.echo(f"{output}: {built.objid}, {built.size_bytes} bytes, sha256 {built.digest.hex}")
    if judged_by.trust.digest == NO_ANCHORS:
        typer.echo(NO_ANCHORS_TEXT, err=True)
    for finding in findings:
        place = f" {finding.location}" if finding.location else ""
        typer.echo(f"{finding.severity.value} {finding.code}{place}: {finding.message()}", err=True)
    if rejects(findings):
        typer.echo(REFUSED_TEXT, err=True)


def _check_files(
    folder: Path, dossier: Dossier, settings: Settings, policies: FilePolicies, *, at: datetime
) -> dict[str, FileResult]:
    components = dossier.components
    files = [FileToCheck(path=folder / component.path, component=component) for component in components]
    with FileChecks(policies=policies, at=at, workers=min(worker_count(), len(files)), settings=settings) as checks:
        results = {component.id: result for component, result in zip(components, checks.run(files), strict=True)}
    unread = [result for result in results.values() if result.sha256 is None]
    if unread:
        raise StoreUnavailable("; ".join(f"{result.path}: {result.findings[-1].message('en')}" for result in unread))
    return results


def _findings(
    dossier: Dossier, policies: CheckPolicies, results: Mapping[str, FileResult], *, at: datetime
) -> Iterator[Finding]:
    """Yields what intake would have found (R016)."""
    yield from check_codes(dossier, at=at, profile=policies.codes)
    yield from check_completeness(dossier, policies.completeness)
    for component in dossier.components:
        result = results[component.id]
        yield from result.findings
        yield from check_signer_agency(
            result.signatures,
            component,
            settling_agency=dossier.settling_agency,
            codes=policies.codes,
            policy=policies.signatures,
        )
    yield from retention.check_retention(retention.assign(policies.retention, dossier), dossier)


def _content(
    folder: Path,
    dossier: Dossier,
    dossier_json: bytes,
    policies: CheckPolicies,
    results: Mapping[str, FileResult],
    findings: Sequence[Finding],
    *,
    csip: str,
    at: datetime,
) -> AipContent:
    assignment = retention.assign(policies.retention, dossier)
    reports = {
        component_id: [report.as_json() for report in result.signatures.reports]
        for component_id, result in results.items()
        if result.signatures.reports
    }
    software = f"software:archive-service-{__version__}"
    settings = load_settings()
    return AipContent(
        dossier=dossier,
        dossier_json=dossier_json,
        archive_code=settings.archive_code,
        fonds_code=settings.fonds_code,
        version=1,
        previous_objid=None,
        files=[_packaged(folder, component, results[component.id], reports) for component in dossier.components],
        findings=[finding.as_json() for finding in findings],
        signature_reports=reports,
        validation_material=kept_material(
            {component_id: result.signatures for component_id, result in results.items()}, policies.trust
        ),
        retention=retention.as_json(assignment),
        intake={"form": "offline", "source_system": "archive-service package", "policies": policies.pinned()},
        events=[
            PremisEvent(
                id=derived_id("premis-event", dossier.dossier_code, "validation", at.isoformat()),
                type="validation",
                at=at,
                detail="offline packaging",
                outcome="failure" if rejects(findings) else "success",
                agent_id=software,
            )
        ],
        agents=[PremisAgent(id=software, name=f"archive-service {__version__}", type=AgentType.SOFTWARE)],
        at=at,
        software_version=__version__,
        csip_version=csip,
    )


def _packaged(
    folder: Path, component: Component, result: FileResult, reports: Mapping[str, Sequence[Mapping[str, Any]]]
) -> PackagedFile:
    if result.formats is None:
        raise StoreUnavailable(f"{result.path} was not read")
    found = result.formats.identification
    return PackagedFile(
        component=component,
        source=folder / component.path,
        digest=sha256(component.sha256),
        size_bytes=component.size_bytes,
        mime=found.mime,
        puid=found.puid,
        format_name=found.format_name or "unknown",
        format_version=found.format_version,
        signatures=tuple(reports.get(component.id, ())),
    )
