"""`verify`: what a third party was handed, without server, database or network. `dispute`: what a third party is handed.

Exit codes of `verify`: 0 everything PASSED, 1 something FAILED, 7 nothing failed but something could not be decided (INDETERMINATE), 2 to 6
as everywhere.
"""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from archive_service.cli.checking import AtOption, JsonOption, TrustOption, moment_of, worker_count
from archive_service.cli.common import DataOption, bytes_bar, opened_service, operator_principal
from archive_service.cli.output import EXIT_INDETERMINATE, print_json
from archive_service.disputes.verifying import Trusted, Verified, texts_of, trusted, verify_file, verify_record
from archive_service.errors import ArchiveError, BadRequest
from archive_service.ingest.policies import load_trust
from archive_service.packaging.verify import CheckResult, Outcome
from archive_service.settings import load_settings
from archive_service.signatures.pool import SignaturePool
from archive_service.storage.durable import durable_file

REASONS_SHOWN: Final = 20
TABLE_WIDTH: Final = 120
"""Columns of the table where the output is no terminal."""
_WORDS: Final = {
    Outcome.PASSED: ("ĐẠT", "green"),
    Outcome.FAILED: ("KHÔNG ĐẠT", "bold red"),
    Outcome.INDETERMINATE: ("CHƯA XÁC ĐỊNH", "yellow"),
}


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(verify)
    app.command()(dispute)


def verify(
    files: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, dir_okay=False, help="Gói AIP hoặc gói chứng cứ / AIP or dispute package ZIPs."),
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Tệp chứng cứ, hoặc Evidence Record cùng với --data / evidence file, or RFC 4998 record with --data.",
        ),
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="Tệp mà Evidence Record nói đến / files the record speaks of."),
    ] = None,
    trust: TrustOption = None,
    at: AtOption = None,
    as_json: JsonOption = False,
) -> None:
    """Kiểm tra lại mọi thứ, không cần máy chủ hay mạng / verify everything, without server or network. Exit 0, 1 failed, 7 undecided."""
    wanted = list(files or [])
    if not (wanted or evidence) or (data and (wanted or evidence is None)):
        raise BadRequest(
            "name packages (FILE.zip …), or an Evidence Record with its files: --evidence RECORD --data FILE"
        )
    if evidence is not None and len(wanted) > 1:
        raise BadRequest("--evidence belongs to one package; several find theirs beside them (NAME.evidence.json)")
    brought = trusted(trust, load_trust(trust) if trust else None, at=moment_of(at))
    if evidence is not None and not wanted:
        results: Iterator[Verified] = iter([verify_record(evidence, data or (), brought)])
    else:
        results = _verified(wanted, evidence, _Terms(trust=trust, at=at))
    outcomes = set()
    for result in results:
        outcomes.add(result.outcome)
        _show(result, as_json=as_json)
    if Outcome.FAILED in outcomes:
        raise typer.Exit(1)
    raise typer.Exit(EXIT_INDETERMINATE if Outcome.INDETERMINATE in outcomes else 0)


# ------------------------------------------------------------------ one process per core


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What each process makes its own trust from: certificates do not travel between processes."""

    trust: Path | None
    at: str | None

    def trusted(self) -> Trusted:
        return trusted(self.trust, load_trust(self.trust) if self.trust else None, at=moment_of(self.at))


_PROCESS: dict[str, SignaturePool] = {}
"""The signature process of a verifying process, kept from file to file."""


def _verified(files: Sequence[Path], evidence: Path | None, terms: _Terms) -> Iterator[Verified]:
    limit_s = load_settings().signature_time_limit_s
    processes = min(len(files), worker_count())
    if processes == 1:
        with SignaturePool(worker_count(), time_limit_s=limit_s) as pool:
            for file in files:
                yield verify_file(file, terms.trusted(), pool, evidence=evidence)
        return
    with ExitStack() as stack:
        bar = stack.enter_context(bytes_bar())
        task = bar.add_task("verify", total=sum(file.stat().st_size for file in files))
        executor = stack.enter_context(ProcessPoolExecutor(processes, mp_context=get_context("spawn")))
        for file, result in zip(files, executor.map(partial(_in_process, terms, limit_s), files), strict=True):
            bar.update(task, advance=file.stat().st_size)
            yield result


def _in_process(terms: _Terms, limit_s: int, file: Path) -> Verified:
    """Verifies one file in a process of its own; an error becomes a check that could not be made, so that the others go on."""
    pool = _PROCESS.setdefault("pool", SignaturePool(1, time_limit_s=limit_s))
    try:
        return verify_file(file, terms.trusted(), pool)
    except (ArchiveError, OSError) as exc:
        reason = f"not checked: {exc}"
        check = CheckResult(name="zip_structure", outcome=Outcome.INDETERMINATE, reasons=[reason])
        return Verified(path=str(file), kind="aip", checks=[check])


# ------------------------------------------------------------------ showing


def _show(result: Verified, *, as_json: bool) -> None:
    if as_json:
        print_json(result.as_json())
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else TABLE_WIDTH)
    word, style = _WORDS[result.outcome]
    table = Table(title=f"{result.path}", title_justify="left", show_lines=False, expand=False)
    table.add_column("Kết quả / outcome", no_wrap=True)
    table.add_column("Kiểm tra / check", ratio=2)
    table.add_column("Lý do / reason", ratio=3, overflow="fold")
    for check in result.checks:
        table.add_row(_outcome(check.outcome), Text(_title(check)), Text("\n".join(_reasons(check))))
    console.print(table)
    for note in _notes(result):
        console.print(note, markup=False, soft_wrap=True)
    for name, value in result.facts.items():
        if value not in (None, []):
            console.print(f"{name}: {value}", markup=False, soft_wrap=True)
    console.print(Text(f"{word} / {result.outcome.value}  {result.path}", style=style), soft_wrap=True)


def _notes(result: Verified) -> Iterator[str]:
    """Yields what a reader must know even where everything passed: whose trust anchors the answer rests on."""
    for check in result.checks:
        for note in check.detail.get("notes", ()):
            yield note["vi"]
            if note["en"] != note["vi"]:
                yield note["en"]


def _outcome(outcome: Outcome) -> Text:
    word, style = _WORDS[outcome]
    return Text(f"{word}\n{outcome.value}", style=style)


def _title(check: CheckResult) -> str:
    texts = texts_of(check)
    mark = check.name.rpartition("/")[0]
    title = texts["title_vi"] if texts["title_vi"] == texts["title_en"] else f"{texts['title_vi']}\n{texts['title_en']}"
    return f"[{mark}] {title}" if mark and mark[0] == "v" else title


def _reasons(check: CheckResult) -> Iterator[str]:
    texts = texts_of(check)
    if "meaning_vi" in texts:
        yield f"{texts['meaning_vi']} / {texts['meaning_en']}"
    elif check.outcome is Outcome.INDETERMINATE and check.reasons and check.reasons[0].startswith("not checked"):
        yield "Chưa kiểm tra được / could not be checked"
    yield from check.reasons[:REASONS_SHOWN]
    if len(check.reasons) > REASONS_SHOWN:
        yield f"… {len(check.reasons) - REASONS_SHOWN}"


# ------------------------------------------------------------------ dispute package


def dispute(
    record: Annotated[UUID, typer.Argument(help="Mã hồ sơ trong hệ thống / id of the record.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Tệp ZIP đích / target ZIP.")],
    component: Annotated[str | None, typer.Option(help="Chỉ một tài liệu / one document only.")] = None,
    data: DataOption = None,
) -> None:
    """Xuất gói chứng cứ của một hồ sơ hoặc tài liệu / one ZIP with all that proves a record, checkable by anyone."""
    from archive_service.disputes.package import write_dispute_package  # `verify` needs neither this nor a database

    with opened_service(data, migrate=False) as service, durable_file(output.absolute(), replace=True) as target:
        made = write_dispute_package(service, record, target, operator_principal(), component_id=component)
    typer.echo(f"{output}: {made.size_bytes} byte, sha256 {made.digest.hex}, {len(made.aips)} AIP")
