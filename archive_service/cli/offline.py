"""Commands that need no server and no database: check files, build a package, verify a package."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from archive_service import __version__, clock
from archive_service.digests import digest_stream, sha256
from archive_service.dossier import DOSSIER_FILE_NAME, Component, Dossier
from archive_service.errors import PackageInvalid
from archive_service.findings import Finding, rejects
from archive_service.formats.check import check_file
from archive_service.formats.report import FormatReport
from archive_service.ids import derived_id
from archive_service.ingest.policies import CheckPolicies, load_policies
from archive_service.ingest.submissions import read_dossier
from archive_service.packaging.aip import build_aip
from archive_service.packaging.content import AgentType, AipContent, PackagedFile, PremisAgent, PremisEvent
from archive_service.packaging.dossier_zip import open_dossier_folder
from archive_service.packaging.verify import verify_aip
from archive_service.rules import retention
from archive_service.rules.codes import check_codes
from archive_service.rules.completeness import check_completeness
from archive_service.settings import load_settings
from archive_service.signatures.acceptance import findings_for
from archive_service.signatures.report import SignatureCheck
from archive_service.signatures.validate import validate_file
from archive_service.storage.durable import durable_file

TrustOption = Annotated[Path | None, typer.Option(exists=True, help="Kho chứng thư gốc tin cậy / trust anchors.")]
AtOption = Annotated[str | None, typer.Option(help="Thời điểm xét, ISO 8601 / time to judge at.")]
JsonOption = Annotated[bool, typer.Option("--json", help="In JSON, mỗi tệp một dòng / JSON, one line per file.")]


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(check)
    app.command()(package)
    app.command()(verify)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FileResult:
    """What was found out about one file."""

    path: Path
    size_bytes: int
    sha256: str
    formats: FormatReport
    signatures: SignatureCheck
    findings: tuple[Finding, ...]

    def as_json(self) -> dict[str, Any]:
        found = self.formats.identification
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "mime": found.mime,
            "puid": found.puid,
            "format": found.format_name,
            "signatures": [report.as_json() for report in self.signatures.reports],
            "findings": [finding.as_json() for finding in self.findings],
            "facts": dict(self.formats.facts),
            "checked": list(self.formats.checked),
            "not_checked": [*self.formats.not_checked, *self.signatures.not_checked],
            "accepted": not rejects(self.findings),
        }


def check(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Tệp hoặc thư mục / files or folders.")],
    trust: TrustOption = None,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Nhận dạng, kiểm tra định dạng và chữ ký số, không cần mạng / identify, validate format and signatures, offline."""
    moment = _moment(at)
    policies = _policies(trust, moment)
    refused = False
    for path, component, siblings in _files(paths):
        result = check_one(path, component, siblings, policies, at=moment)
        refused = refused or rejects(result.findings)
        if as_json:
            sys.stdout.write(json.dumps(result.as_json(), ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            _print_result(result)
    raise typer.Exit(1 if refused else 0)


def check_one(
    path: Path, component: Component | None, siblings: Mapping[str, Path], policies: CheckPolicies, *, at: datetime
) -> _FileResult:
    """Checks one file by content, format policy and signatures."""
    with path.open("rb") as source:
        digest, size_bytes = digest_stream(source)
    formats = check_file(path, name=path.name, component=component, policy=policies.formats)
    signatures = validate_file(
        path,
        mime=formats.identification.mime,
        trust=policies.trust,
        at=at,
        policy=policies.signatures,
        siblings=siblings,
    )
    findings = (*formats.findings, *findings_for(signatures, component=component, policy=policies.signatures))
    return _FileResult(
        path=path, size_bytes=size_bytes, sha256=digest.hex, formats=formats, signatures=signatures, findings=findings
    )


def _moment(at: str | None) -> datetime:
    if at is None:
        return clock.now()
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise typer.BadParameter(f"not an ISO 8601 time: {at}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=clock.LEGAL_ZONE)


def _policies(trust: Path | None, at: datetime) -> CheckPolicies:
    settings = load_settings(trust_dir=trust)
    return load_policies(settings, on=clock.civil_date(at))


def _files(paths: list[Path]) -> Iterator[tuple[Path, Component | None, Mapping[str, Path]]]:
    for path in paths:
        if path.is_file():
            yield path, None, _siblings(path)
            continue
        components = _components(path)
        for child in sorted(child for child in path.rglob("*") if child.is_file()):
            if child.name != DOSSIER_FILE_NAME:
                yield child, components.get(child.relative_to(path).as_posix()), _siblings(child)


def _siblings(path: Path) -> Mapping[str, Path]:
    """Files beside this one whose name says that they belong together: what a detached signature may have signed."""
    stem = path.name.rsplit(".", 1)[0]
    return {other.name: other for other in path.parent.glob(f"{_escaped(stem)}*") if other.is_file() and other != path}


def _escaped(text: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in text)


def _components(folder: Path) -> dict[str, Component]:
    source = folder / DOSSIER_FILE_NAME
    if not source.is_file():
        return {}
    return {component.path: component for component in read_dossier(source.read_bytes()).dossier.components}


def _print_result(result: _FileResult) -> None:
    console = Console(highlight=False, soft_wrap=True)
    found = result.formats.identification
    verdict = "[red]TỪ CHỐI / REJECTED[/red]" if rejects(result.findings) else "[green]CHẤP NHẬN / ACCEPTED[/green]"
    console.print(f"{verdict} {result.path}")
    console.print(
        f"    {found.format_name} ({found.puid or '-'}, {found.mime}), {result.size_bytes} bytes", markup=False
    )
    for report in result.signatures.reports:
        console.print(f"    {report.as_text('vi')}".replace("\n", "\n    "), markup=False)
    for finding in result.findings:
        console.print(f"    {finding.severity.value} {finding.code}: {finding.message()}", markup=False)


def package(
    dossier_dir: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Thư mục hồ sơ / dossier folder.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Tệp ZIP đích / target ZIP.")],
    csip: Annotated[str, typer.Option("--csip", help="2.0.4 | 2.1.0 | 2.2.0")] = "2.0.4",
    at: AtOption = None,
    trust: TrustOption = None,
) -> None:
    """Đóng gói AIP ngoài hệ thống / build an AIP offline; the same folder gives the same bytes."""
    opened, problems = open_dossier_folder(dossier_dir)
    if opened is None:
        raise PackageInvalid(
            "; ".join(f"{problem.code} {problem.location}: {problem.message()}" for problem in problems)
        )
    with opened:
        dossier = opened.dossier
        moment = _moment(at) if at else dossier.closed_at
        content = _content(dossier_dir, dossier, opened.dossier_json, _policies(trust, moment), csip=csip, at=moment)
    with durable_file(output.absolute(), replace=True) as target:
        built = build_aip(content, target)
    typer.echo(f"{output}: {built.objid}, {built.size_bytes} bytes, sha256 {built.digest.hex}")


def _content(
    folder: Path, dossier: Dossier, dossier_json: bytes, policies: CheckPolicies, *, csip: str, at: datetime
) -> AipContent:
    results = {
        component.id: check_one(folder / component.path, component, _siblings(folder / component.path), policies, at=at)
        for component in dossier.components
    }
    findings = [
        *check_codes(dossier, at=at, profile=policies.codes),
        *check_completeness(dossier, policies.completeness),
    ]
    findings += [finding for result in results.values() for finding in result.findings]
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
        validation_material={
            name: content for result in results.values() for name, content in result.signatures.material.items()
        },
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
    folder: Path, component: Component, result: _FileResult, reports: Mapping[str, list[dict[str, Any]]]
) -> PackagedFile:
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


def verify(
    package_file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Tệp AIP / AIP ZIP.")],
    as_json: JsonOption = False,
) -> None:
    """Kiểm tra lại mọi thứ trong một AIP, không cần máy chủ / re-derive everything in an AIP, without a server."""
    report = verify_aip(package_file)
    if as_json:
        sys.stdout.write(json.dumps(report.as_json(), ensure_ascii=False) + "\n")
    else:
        console = Console(highlight=False, soft_wrap=True)
        for result in report.checks:
            console.print(f"{result.outcome.value:<14} {result.name}", markup=False)
            for reason in result.reasons[:20]:
                console.print(f"    {reason}", markup=False)
        console.print(f"{report.outcome.value}  {package_file}", markup=False)
    raise typer.Exit(0 if report.outcome.value == "PASSED" else 1)
