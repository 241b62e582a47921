"""`archive-service demo`: the main job end to end, through the real service over HTTP, on generated dossiers.

Starts `serve` on an empty data folder, pushes good and bad dossiers like a resolution system would, approves what passed like an archivist
would, waits until it is stored, issues one certified paper copy, and prints what happened to each dossier as the service tells it.
"""

import json
import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from archive_service import clock, i18n
from archive_service.cli.common import operator_principal
from archive_service.cli.push import INCOMPLETE, Client, Outcome, push_all
from archive_service.errors import ArchiveError
from archive_service.identity import accounts, tokens
from archive_service.identity.permissions import Grant
from archive_service.models import RoleName
from archive_service.samples.dossiers import generate
from archive_service.samples.facts import place_of
from archive_service.samples.pki import TestPki
from archive_service.samples.small import SampleDossier
from archive_service.service import Service, open_service
from archive_service.settings import load_settings

SETTLE_S: Final = 300
"""Longest wait for the service to store what was approved."""
SHOWN_AT: Final = "http://127.0.0.1:8000"
"""Where `serve` shows the demonstration afterwards, by its own defaults."""
_READY: Final = re.compile(r"(http://\S+)")
_console = Console(highlight=False, soft_wrap=True)


class DemoFailed(ArchiveError):
    """The demonstration did not go the way it should; the message says where."""

    code = "DEMO_FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Callers:
    """One client per kind of caller, each with its own token."""

    submitter: Client
    archivist: Client
    copy_officer: Client


def add_commands(app: typer.Typer) -> None:
    """Adds this module's command."""
    app.command()(demo)


def demo(
    dossiers: Annotated[int, typer.Option(min=1, max=500, help="Số hồ sơ / dossiers to generate.")] = 24,
    data: Annotated[
        Path | None, typer.Option(help="Thư mục dữ liệu trống / an empty data folder; default a new one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Cùng số = cùng hồ sơ / same number, same dossiers.")] = 2025,
) -> None:
    """Chạy thử trọn vòng đời hồ sơ / the main job end to end on generated dossiers."""
    started = clock.monotonic_s()
    folder = data or Path(tempfile.mkdtemp(prefix="archive-demo-"))
    at = clock.now()
    samples = _generate(folder / "dossiers", count=dossiers, seed=seed, at=at, trust=folder / "trust")
    service = open_service(load_settings({}, data_dir=folder), migrate=True)
    password = _account(service, at=at)
    with _served(folder) as url, _callers(service, url) as callers:
        _console.print(f"==> Dịch vụ / service: {url}")
        outcomes = push_all(callers.submitter, [sample.handed_over for sample in samples], wait=True)
        _take_back(callers.submitter, outcomes)
        _approve(callers.archivist, outcomes)
        _await_stored(callers.submitter, outcomes)
        stored = [
            _tell(callers, folder, number, *pair)
            for number, pair in enumerate(zip(samples, outcomes, strict=True), start=1)
        ]
        copy = _certified_copy(callers.copy_officer, [record for record in stored if record], folder)
    service.close()
    _summary(samples, outcomes, copy, folder, password, seconds=clock.monotonic_s() - started)


def _generate(target: Path, *, count: int, seed: int, at: datetime, trust: Path) -> list[SampleDossier]:
    _console.print(f"==> Tạo {count} hồ sơ mẫu có ký số / generating {count} signed sample dossiers")
    pki = TestPki.create(seed, at=at)
    made = generate(target, count=count, seed=seed, at=at, pki=pki)
    pki.write_trust(trust)
    return made


def _account(service: Service, *, at: datetime) -> str:
    password = f"Xem-{secrets.token_urlsafe(9)}-1a"
    roles = (RoleName.ARCHIVIST, RoleName.RECORDS_HEAD, RoleName.COPY_OFFICER, RoleName.OFFICER, RoleName.ADMIN)
    with service.database.write() as session:
        if not accounts.any_account(session):
            accounts.create_account(
                session,
                accounts.Person(username="demo", display_name="Nguyễn Thị Lưu Trữ", position="Lưu trữ viên"),
                password=password,
                grants=[Grant(role=role, agency=None) for role in roles],
                agent=operator_principal().agent,
                at=at,
                must_change_password=False,
            )
    return password


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Runs `serve` as its own process group and yields its address; stops it with SIGTERM at the end."""
    command = [sys.executable, "-m", "archive_service", "serve", "--data", str(folder), "--port", "0"]
    # the certified copy stays: its QR code leads to where `serve` will show it, not to the port of this run
    environment = {"ARCHIVE_PUBLIC_URL": SHOWN_AT, **os.environ}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)  # noqa: S603 - our own program
    try:
        line = process.stdout.readline() if process.stdout else ""
        ready = _READY.search(line)
        if ready is None:
            raise DemoFailed(f"the service did not start: {line.strip() or 'no output'}")
        yield ready.group(1)
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
    if code not in {0, -signal.SIGTERM}:
        raise DemoFailed(f"the service ended with {code} instead of stopping cleanly")


@contextmanager
def _callers(service: Service, url: str) -> Iterator[_Callers]:
    def token(role: RoleName, name: str) -> str:
        with service.database.write() as session:
            agent = operator_principal().agent
            return tokens.create_token(session, name=name, role=role, agency=None, agent=agent, at=clock.unique_now())

    with (
        Client(url, token(RoleName.SUBMITTER, "Hệ thống giải quyết TTHC (mẫu)")) as submitter,
        Client(url, token(RoleName.ARCHIVIST, "Lưu trữ viên (mẫu)")) as archivist,
        Client(url, token(RoleName.COPY_OFFICER, "Văn thư sao y (mẫu)")) as copy_officer,
    ):
        yield _Callers(submitter=submitter, archivist=archivist, copy_officer=copy_officer)


def _take_back(client: Client, outcomes: Sequence[Outcome]) -> None:
    """Ends pushes whose files did not have the declared digests, as their sender would."""
    for outcome in outcomes:
        if outcome.state == INCOMPLETE:
            body = json.dumps({"reason": "; ".join(outcome.problems)[:2000]}).encode()
            client.send("POST", f"/api/v1/submissions/{outcome.submission_id}/withdraw", source=body)


def _approve(client: Client, outcomes: Sequence[Outcome]) -> None:
    waiting = [outcome.submission_id for outcome in outcomes if outcome.state == "AWAITING_APPROVAL"]
    if not waiting:
        return
    body = json.dumps({"submission_ids": waiting, "decision": "approve", "reason": "Đủ điều kiện nộp lưu"}).encode()
    answer = client.send("POST", "/api/v1/decisions", source=body)
    refused = [result for result in answer.json().get("results", []) if not result["decided"]]
    if answer.is_error or refused:
        raise DemoFailed(f"approval failed: {refused or answer.text}")


def _await_stored(client: Client, outcomes: Sequence[Outcome]) -> None:
    deadline = clock.monotonic_s() + SETTLE_S
    waiting = [outcome for outcome in outcomes if outcome.state == "AWAITING_APPROVAL"]
    for outcome in track(waiting, "Đóng gói, lưu / package, store", console=Console(stderr=True)):
        while outcome.state != "STORED":
            if clock.monotonic_s() > deadline:
                raise DemoFailed(f"{outcome.path.name} is {outcome.state} after {SETTLE_S} s")
            clock.sleep(0.05)
            outcome.state = client.send("GET", f"/api/v1/submissions/{outcome.submission_id}").json()["state"]


def _tell(
    callers: _Callers, folder: Path, number: int, sample: SampleDossier, outcome: Outcome
) -> dict[str, Any] | None:
    """Prints what happened to one dossier and returns its record when it was stored."""
    fault = f"  [dim](lỗi cố ý / deliberate fault: {sample.fault})[/dim]" if sample.fault else ""
    _console.print(f"\n[bold]{number:>2}. {sample.dossier_code}[/bold]  {escape(sample.title)}{fault}")
    if outcome.submission_id is None:
        _line("kết quả / outcome", "[red]TỪ CHỐI NGAY KHI NỘP / REFUSED AT PUSH[/red]")
        for text in outcome.problems:
            _console.print(f"      {text}", markup=False)
        return None
    body = callers.submitter.send("GET", f"/api/v1/submissions/{outcome.submission_id}").json()
    opened_at = i18n.format_datetime(datetime.fromisoformat(body["opened_at"]))
    size = i18n.format_size(body["size_bytes"], "vi")
    _line("nhận / received", f"{body['components']} tệp / files, {size}, {opened_at}")
    _tell_checks(body, outcome)
    if body["state"] != "STORED":
        _line("kết quả / outcome", _coloured(body["state"], "red" if body["state"] == "REJECTED" else "yellow"))
        return None
    decision = body["decision"]
    _line(
        "kết quả / outcome",
        f"[green]STORED[/green], duyệt bởi / approved by {escape(decision['agent'] + ': ' + decision['reason'])}",
    )
    record: dict[str, Any] = callers.archivist.send("GET", f"/api/v1/records/{body['record_id']}").json()
    _tell_archive(callers, folder, record)
    return record


_LABEL_WIDTH: Final = 22
_VERDICT_COLOURS: Final = {"TOTAL-PASSED": "green", "INDETERMINATE": "yellow", "TOTAL-FAILED": "red"}
_SEVERITY_COLOURS: Final = {"error": "red", "warning": "yellow"}


def _line(label: str, text: str) -> None:
    """Prints one fact of a dossier, its texts under one another."""
    _console.print(f"    [dim]{label:<{_LABEL_WIDTH}}[/dim] {text}")


def _coloured(text: str, colour: str | None) -> str:
    return f"[{colour}]{text}[/{colour}]" if colour else text


def _tell_checks(body: dict[str, Any], outcome: Outcome) -> None:
    counts = Counter(signature["indication"] for signature in body["signatures"])
    verdicts = [
        f"{_coloured(name, _VERDICT_COLOURS.get(name))} {counts[name]}" for name in sorted(counts, reverse=True)
    ]
    _line("chữ ký / signatures", ", ".join(verdicts) or "không có / none")
    findings = [finding for finding in body["findings"] if finding["severity"] != "info"]
    _line("phát hiện / findings", str(len(findings)))
    for finding in findings:
        severity = finding["severity"]
        place = f" {finding['location']}" if finding["location"] else ""
        _console.print(
            f"      {_coloured(f'{severity:<8}', _SEVERITY_COLOURS.get(severity))}{finding['code']}{place}: ", end=""
        )
        _console.print(finding["message"], markup=False)
    for text in outcome.problems if not findings else ():
        _console.print(f"      {text}", markup=False)


def _tell_archive(callers: _Callers, folder: Path, record: dict[str, Any]) -> None:
    aip = record["aips"][0]
    for copy in aip["copies"]:
        name = aip["store_key"].rsplit("/", 1)[-1]
        path = next((folder / "storage" / copy["location"]).rglob(name), aip["store_key"])
        _line(f"AIP {copy['location']}", escape(str(path)))
        _line("  đọc lại / read back", f"sha256 {copy['read_back_sha256']}")
    retention = callers.archivist.send("GET", f"/api/v1/records/{record['id']}/retention").json()
    newest = retention["assignments"][0]
    due = retention["due_on"] and i18n.format_date(date.fromisoformat(retention["due_on"]))
    never = "không bao giờ / never" if retention["kind"] == "PERMANENT" else "chưa xác định, giữ lại / unmatched, kept"
    _line("bảo quản / retention", f"{newest['deciding_rule_id'] or '-'}, đến hạn / due: {due or never}")


def _certified_copy(client: Client, records: Sequence[dict[str, Any]], folder: Path) -> tuple[Path, dict[str, Any]]:
    for record in records:
        results = [
            part for part in record["contents"] if part["role"] == "result" and part["mime"] == "application/pdf"
        ]
        if not results:
            continue
        body = {
            "component_id": results[0]["id"],
            "purpose": "Nộp cho ngân hàng / for a bank",
            "recipient": record["applicant_name"],
            "place": place_of(record["archiving_agency"]),
            "position": "Chuyên viên",
        }
        answer = client.send("POST", f"/api/v1/records/{record['id']}/copies", source=json.dumps(body).encode())
        if answer.is_error:
            raise DemoFailed(f"certified copy: {answer.text}")
        copy: dict[str, Any] = answer.json()
        target = folder / f"ban-sao-{copy['number']:02d}-{copy['year']}.pdf"
        target.write_bytes(client.send("GET", copy["pdf_url"]).content)
        return target, copy
    raise DemoFailed("no stored record holds a PDF result to copy")


def _summary(
    samples: Sequence[SampleDossier],
    outcomes: Sequence[Outcome],
    copy: tuple[Path, dict[str, Any]],
    folder: Path,
    password: str,
    *,
    seconds: float,
) -> None:
    stored = sum(outcome.state == "STORED" for outcome in outcomes)
    path, row = copy
    refused = len(outcomes) - stored
    _console.print(
        f"\n==> [green]{stored} hồ sơ đã lưu / stored[/green], [red]{refused} bị từ chối / refused[/red], {seconds:.0f} s"
    )
    _console.print(f"==> Bản sao giấy số / certified copy no. {row['number']:02d}/{row['year']}: {path}")
    _console.print(f"    mã tra cứu / verify: {row['verify_url']}")
    _console.print(f"==> Xem tất cả tại / see it all at {SHOWN_AT} sau khi chạy / after running:")
    _console.print(f"    [bold]./dev run serve --data {shlex.quote(str(folder))}[/bold]")
    _console.print(f"    tài khoản / account: demo   mật khẩu / password: {password}", markup=False)
    wrong = [
        sample.dossier_code
        for sample, outcome in zip(samples, outcomes, strict=True)
        if sample.good != (outcome.state == "STORED")
    ]
    if wrong:
        raise DemoFailed(f"not as expected: {', '.join(wrong)}")
