"""`archive-service check`: files judged offline, each in limited processes; what `package` uses for the files it packs.

The libraries that judge files are imported when the command runs, so that asking for help costs nothing.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from archive_service import clock
from archive_service.cli.output import print_json
from archive_service.settings import Settings, load_settings

if TYPE_CHECKING:
    from archive_service.ingest.files import FilePolicies, FileResult

TrustOption = Annotated[
    Path | None,
    typer.Option(exists=True, help="Kho chứng thư gốc: thư mục hoặc tệp PEM / trust anchors: folder or PEM file."),
]
AtOption = Annotated[str | None, typer.Option(help="Thời điểm xét, ISO 8601 / time to judge at.")]
JsonOption = Annotated[bool, typer.Option("--json", help="In JSON, mỗi tệp một dòng / JSON, one line per file.")]

CHECK_DEPTH: Final = "full"
"""A person who asks about a file wants all that can be found out, PDF/A claims included; a service at intake follows its policy."""
WORKERS_MAX: Final = 4
"""Most processes of each kind: beyond that the disk decides how fast it goes."""


def add_commands(app: typer.Typer) -> None:
    """Adds this module's command."""
    app.command()(check)


def check(
    paths: Annotated[list[Path], typer.Argument(help="Tệp hoặc thư mục / files or folders.")],
    trust: TrustOption = None,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Nhận dạng, kiểm tra định dạng và chữ ký số, không cần mạng / identify, validate format and signatures, offline."""
    from archive_service.ingest.files import FileChecks, files_below

    moment = moment_of(at)
    settings = load_settings()
    policies = policies_of(settings, trust, moment)
    count, refused = 0, False
    with FileChecks(
        policies=policies, at=moment, workers=worker_count(), settings=settings, depth=CHECK_DEPTH
    ) as checks:
        for result in checks.run(files_below(paths)):
            count += 1
            refused = refused or not result.accepted
            if as_json:
                print_json(result.as_json())
            else:
                _print_text(result)
    if not count:
        typer.echo("không có tệp nào để kiểm tra / no file to check", err=True)
    raise typer.Exit(1 if refused else 0)


def worker_count() -> int:
    """Returns how many processes of each kind check files: one per core, within bounds."""
    return max(1, min(len(os.sched_getaffinity(0)), WORKERS_MAX))


def moment_of(at: str | None) -> datetime:
    """Returns the time to judge at: now, or what was asked for; without time zone it is legal time."""
    if at is None:
        return clock.now()
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise typer.BadParameter(f"not an ISO 8601 time: {at}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=clock.LEGAL_ZONE)


def policies_of(settings: Settings, trust: Path | None, at: datetime) -> "FilePolicies":
    """Returns the policies for a time, with the trust store that was asked for; says on standard error what in it cannot be read."""
    from archive_service.ingest.files import load_file_policies
    from archive_service.ingest.policies import load_trust

    policies = load_file_policies(settings, at=at, trust=load_trust(trust) if trust else None)
    for problem in policies.trust.unreadable:
        typer.echo(f"kho chứng thư / trust store: {problem}", err=True)
    return policies


def _print_text(result: "FileResult") -> None:
    from rich.console import Console

    from archive_service.ingest.files import printable

    console = Console(highlight=False, soft_wrap=True)
    verdict, colour = ("CHẤP NHẬN / ACCEPTED", "green") if result.accepted else ("TỪ CHỐI / REJECTED", "red")
    console.print(verdict, style=colour, end=" ")
    console.print(printable(result.path), markup=False)
    if result.formats is not None:
        found = result.formats.identification
        about = f"{found.format_name} ({found.puid or '-'}, {found.mime}), {result.size_bytes} bytes"
        console.print(f"    {about}", markup=False)
    for report in result.signatures.reports:
        console.print(f"    {report.as_text('vi')}".replace("\n", "\n    "), markup=False)
    for finding in result.findings:
        console.print(f"    {finding.severity.value} {finding.code}: {finding.message()}", markup=False)
