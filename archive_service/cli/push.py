"""`archive-service submit`: pushes dossier folders and ZIPs over HTTP with a progress bar; safe to stop and repeat at any point."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Self

import httpx
import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from archive_service import clock
from archive_service.cli.output import print_json
from archive_service.digests import CHUNK_BYTES
from archive_service.dossier import DOSSIER_FILE_NAME
from archive_service.errors import BadRequest, StoreUnavailable

TRIES: Final = 5
"""Tries of one request before the dossier is given up for this run; repeating the command goes on where it stopped."""
ANSWER_S: Final = 120.0
"""Longest wait for an answer to little or nothing sent."""
SLOWEST_BYTES_PER_S: Final = 10 * 1024 * 1024
"""A service that makes a large file durable before it answers is given time as for a disk of this speed."""
UNSETTLED: Final = frozenset({"RECEIVING", "CHECKING"})


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(submit)


INCOMPLETE: Final = "INCOMPLETE"
"""Some files were refused; the submission waits for the right ones, or is taken back."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one pushed path."""

    path: Path
    submission_id: str | None = None
    state: str = "FAILED"
    problems: list[str] = field(default_factory=list)
    unanswered: bool = False
    """The service did not answer: nothing is known of the dossier."""

    @property
    def failed(self) -> bool:
        """Whether the dossier was not taken, or what became of it could not be asked."""
        return self.state in {"FAILED", "REJECTED", INCOMPLETE} or (self.state in UNSETTLED and bool(self.problems))


def submit(
    paths: Annotated[
        list[Path], typer.Argument(exists=True, help="Thư mục hồ sơ hoặc tệp ZIP / dossier folders or ZIPs.")
    ],
    url: Annotated[str, typer.Option(help="Địa chỉ dịch vụ / address of the service.")],
    token: Annotated[str, typer.Option(envvar="ARCHIVE_TOKEN", help="Mã truy cập / token.")],
    wait: Annotated[bool, typer.Option(help="Chờ kết quả kiểm tra / wait for the checks.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="In kết quả dạng JSON / print JSON.")] = False,
) -> None:
    """Nộp hồ sơ: tiếp tục được khi đứt, lặp lại vô hại / push dossiers: resumable, safe to repeat.

    Exit 0 = all taken, 1 = some were not, 6 = the service does not answer.
    """
    dossiers = list(find_dossiers(paths))
    if not dossiers:
        raise BadRequest("no dossier folder or ZIP found under the given paths")
    with Client(url, token) as client:
        outcomes = push_all(client, dossiers, wait=wait)
    for outcome in outcomes:
        if as_json:
            print_json(_as_json(outcome))
        else:
            typer.echo("\n    ".join([f"{outcome.path.name}: {outcome.state}", *outcome.problems]))
    if any(outcome.unanswered for outcome in outcomes):
        sys.exit(6)
    if any(outcome.failed for outcome in outcomes):
        sys.exit(1)


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "path": str(outcome.path),
        "id": outcome.submission_id,
        "state": outcome.state,
        "problems": outcome.problems,
    }


def find_dossiers(paths: Sequence[Path]) -> Iterator[Path]:
    """Yields dossier folders (those with dossier.json) and ZIPs among and directly below the given paths, in order of name.

    Raises:
        BadRequest: a path is neither file nor readable folder.
    """
    for path in paths:
        if path.is_file() or (path / DOSSIER_FILE_NAME).is_file():
            yield path
        else:
            try:
                below = sorted(path.iterdir())
            except OSError as exc:
                raise BadRequest(f"{path}: {exc.strerror or exc}") from exc
            yield from (
                child for child in below if (child / DOSSIER_FILE_NAME).is_file() or child.suffix.lower() == ".zip"
            )


class Client:
    """A connection to the service that repeats what may be repeated: every push can run twice.

    Raises:
        BadRequest: not an HTTP address, or a token that no header can carry.
    """

    def __init__(self, url: str, token: str) -> None:
        if not _is_address(url):
            raise BadRequest(f"not an address of a service: {url!r}; it looks like http://127.0.0.1:8000")
        if not (token.isascii() and token.isprintable()):
            raise BadRequest("not a token: it looks like arch_…")
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=httpx.Timeout(ANSWER_S, connect=10)
        )
        self.on_sent: Callable[[int], None] = lambda _count: None
        """Told the bytes of each chunk of a file as it is taken to be sent."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._http.close()

    def send(self, method: str, path: str, *, source: Path | bytes | None = None) -> httpx.Response:
        """Sends a request, again after network errors and 429/503 answers, with growing pauses.

        Raises:
            StoreUnavailable: no answer after `TRIES` tries.
        """
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                clock.sleep(min(0.2 * 2**attempt, 5.0))
            try:
                answer = self._sent(method, path, source)
            except httpx.TransportError as exc:
                reason = str(exc) or type(exc).__name__
                continue
            if answer.status_code not in {429, 503}:
                return answer
            reason = f"HTTP {answer.status_code}"
        raise StoreUnavailable(f"the service does not answer: {reason}")

    def _sent(self, method: str, path: str, source: Path | bytes | None) -> httpx.Response:
        headers = {"X-Sent-At": clock.now().isoformat(), "Content-Type": "application/json"}
        if not isinstance(source, Path):
            return self._http.request(method, path, content=source, headers=headers)
        size = source.stat().st_size
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        timeout = httpx.Timeout(ANSWER_S + size / SLOWEST_BYTES_PER_S, connect=10)
        return self._http.request(method, path, content=self._chunks(source), headers=headers, timeout=timeout)

    def _chunks(self, path: Path) -> Iterator[bytes]:
        with path.open("rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                self.on_sent(len(chunk))
                yield chunk


def _is_address(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    return parsed.scheme in {"http", "https"} and bool(parsed.host)


def push_all(client: Client, dossiers: Sequence[Path], *, wait: bool) -> list[Outcome]:
    """Pushes every dossier, then, when asked to, waits until each was checked; a service that does not answer is not asked for the others."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("Nộp / push", total=len(dossiers))
        sent_bytes = 0

        def tell(count: int) -> None:
            nonlocal sent_bytes
            sent_bytes += count
            progress.update(task, description=f"Nộp / push {decimal(sent_bytes)}")

        client.on_sent = tell  # one file may take an hour, with no dossier finished meanwhile
        outcomes: list[Outcome] = []
        for path in dossiers:
            outcomes.append(_not_sent(path) if outcomes and outcomes[-1].unanswered else push(client, path))
            progress.advance(task)
        if wait:
            task = progress.add_task("Kiểm tra / check", total=len(dossiers))
            for outcome in outcomes:
                wait_for(client, outcome)
                progress.advance(task)
    return outcomes


def _not_sent(path: Path) -> Outcome:
    return Outcome(path=path, problems=["not sent: the service does not answer"], unanswered=True)


def push(client: Client, path: Path) -> Outcome:
    """Pushes one dossier folder or ZIP; every reason for a refusal is in the outcome."""
    outcome = Outcome(path=path)
    try:
        _push_zip(client, path, outcome) if path.is_file() else _push_folder(client, path, outcome)
    except (StoreUnavailable, OSError) as exc:
        outcome.problems.append(str(exc))
        outcome.unanswered = isinstance(exc, StoreUnavailable)
    return outcome


def _push_zip(client: Client, path: Path, outcome: Outcome) -> None:
    _take(outcome, client.send("POST", "/api/v1/packages", source=path))


def _push_folder(client: Client, path: Path, outcome: Outcome) -> None:
    content = (path / DOSSIER_FILE_NAME).read_bytes()
    body = _take(outcome, client.send("POST", "/api/v1/submissions", source=content))
    if body is None:
        return
    named = {part["id"]: part["path"] for part in json.loads(content)["components"]}
    for upload in body["uploads"]:
        source = path / named[upload["component_id"]]
        if not source.is_file() or not source.resolve().is_relative_to(path.resolve()):
            outcome.problems.append(f"{upload['component_id']}: {named[upload['component_id']]} is not in the folder")
            continue
        _take(outcome, client.send("PUT", upload["url"], source=source), keep_state=True)
    if outcome.problems:
        outcome.state = INCOMPLETE
    else:
        _take(outcome, client.send("POST", f"/api/v1/submissions/{outcome.submission_id}/complete"))


def _take(outcome: Outcome, answer: httpx.Response, *, keep_state: bool = False) -> dict[str, Any] | None:
    if not answer.is_success:
        outcome.problems += _reasons(answer)
        return None
    if keep_state:
        return None
    try:
        body: dict[str, Any] = answer.json()
        outcome.submission_id, outcome.state = body["id"], body["state"]
    except (ValueError, KeyError, TypeError):
        outcome.problems.append(
            f"HTTP {answer.status_code}, but not the answer of an archive service: is the address right?"
        )
        return None
    return body


def _reasons(answer: httpx.Response) -> list[str]:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        where = answer.headers.get("Location")
        return [f"HTTP {answer.status_code}" + (f", moved to {where}" if where else "")]
    reasons = [
        f"{finding['code']} {finding['location']}: {finding['message']}" for finding in problem.get("findings", [])
    ]
    reasons += [f"{place['pointer']}: {place['held']} → {place['pushed']}" for place in problem.get("difference", [])]
    return [f"{problem.get('code')}: {problem.get('detail')}", *reasons]


def _told(body: Mapping[str, Any]) -> list[str]:
    """Returns the findings of an answer that matter, and how many it leaves out with the address where they are."""
    lines = [
        f"{finding['severity']} {finding['code']} {finding['location']}: {finding['message']}"
        for finding in body["findings"]
        if finding["severity"] != "info"
    ]
    if body.get("findings_next"):
        left = body["finding_count"] - len(body["findings"])
        lines.append(f"… còn {left} vấn đề / {left} more findings: GET {body['findings_next']}")
    return lines


def wait_for(client: Client, outcome: Outcome, *, limit_s: float = 600) -> None:
    """Waits until a pushed dossier was checked and takes its findings into the outcome; one checked before tells them again."""
    if outcome.submission_id is None or outcome.problems:
        return
    deadline = clock.monotonic_s() + limit_s
    pause = 0.05
    while clock.monotonic_s() < deadline:
        try:
            body = _take(outcome, client.send("GET", f"/api/v1/submissions/{outcome.submission_id}"))
        except StoreUnavailable as exc:
            outcome.problems.append(f"what the checks say is not known: {exc}")
            outcome.unanswered = True
            return
        if body is None:
            return
        if outcome.state not in UNSETTLED:
            outcome.problems += _told(body)
            return
        clock.sleep(pause)
        pause = min(pause * 1.5, 1.0)
