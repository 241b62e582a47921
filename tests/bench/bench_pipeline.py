"""What one ordinary dossier costs from receiving to stored: CPU milliseconds per dossier of 8 files and 1.5 MB, without signatures.

In: opening, eight uploads, completing, the checks of description, formats and retention, the approval, the package, two copies written and
read back, all rows and events, the removal from staging, and taking and ending the three jobs. Out: HTTP and sign-in (in front of it),
signatures, renditions and the reading of texts (behind it). The archive is a used one: the folders of the year are there.

Beside it, measured with the same dossiers in the same run:
- `floor`: read the files, hash them, write two fsynced copies, read both back: what no archive can do without;
- `bare`: the calls to system, qpdf and SQLite that this pipeline's own way is made of, without the service around them: nine files made durable
  in staging, opened, hashed into the package, two copies, nine commits, files removed.

CPU is user and system time of this process; `others` is that of the processes it started (limited checks; PostgreSQL, as tests start it:
without flushing), their start left out. `best_tenth` is the dossier that a tenth of them stay below: nearer to an idle machine than the mean.

Run as `python -m tests.bench.bench_pipeline [dossiers] [--profile]`; --profile prints functions, of SQLite and checks in this process.
"""

import contextlib
import cProfile
import hashlib
import io
import json
import os
import pstats
import resource
import sqlite3
import statistics
import sys
import tempfile
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pikepdf
import pytest
from sqlalchemy import select

from archive_service import clock
from archive_service.audit import software
from archive_service.digests import CHUNK_BYTES, digest_bytes
from archive_service.dossier import Component
from archive_service.errors import StoredObjectDiffers
from archive_service.formats.report import FormatReport
from archive_service.identity.permissions import operator
from archive_service.ingest import check as ingest_check
from archive_service.ingest.check import Checkers
from archive_service.ingest.checkers import InlineCheckers
from archive_service.ingest.policies import CheckPolicies
from archive_service.ingest.submissions import Origin, find_submission, open_submission, read_dossier
from archive_service.ingest.uploads import ComponentUpload, complete, expected_component
from archive_service.jobs.checkers import LimitedCheckers
from archive_service.jobs.pool import settle_memory
from archive_service.jobs.work import load_registry
from archive_service.jobs.worker import Registry, run_next
from archive_service.models import Aip, JobKind, State
from archive_service.samples.small import eight_file_dossier, write_json
from archive_service.service import Service, open_service
from archive_service.settings import Settings
from archive_service.signatures.report import SignatureCheck
from archive_service.storage.port import store_key
from archive_service.transfer import store as transfer_store
from archive_service.transfer.decisions import DecisionKind, decide
from tests.postgres_server import NoServerError, running_server

AGENT: Final = software("bench")
OPERATOR: Final = operator(AGENT)
STAGES: Final = ("receive", "check", "decide", "store", "discard")
PARTS: Final = {
    (ingest_check, "_check_files"): "check: formats",
    (ingest_check, "_write"): "check: rows",
    (transfer_store, "aip_content"): "store: read rows",
    (transfer_store, "build_aip"): "store: package",
    (transfer_store, "_write_copy"): "store: copies",
    (transfer_store, "_read_back"): "store: copies",
    (transfer_store, "write_stored_rows"): "store: rows",
}
WARM: Final = 5
"""Dossiers before the measured ones: libraries loaded, statements compiled."""
FOLDERS_OF_A_YEAR: Final = 256


def cpu_s() -> float:
    """CPU seconds of this process, kernel included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def others_cpu_s() -> float:
    """CPU seconds of all living processes that this one started, and that they started."""
    parents, used = {}, {}
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit():
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
                used[int(entry.name)] = int(fields[11]) + int(fields[12])
    ours = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(used[number] for number in ours - {os.getpid()}) / os.sysconf("SC_CLK_TCK")


def resident_mib() -> int:
    """Resident set of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024**2


@dataclass
class Costs:
    """CPU and wall seconds by stage."""

    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    wall: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Adds what the block costs."""
        wall, cpu = clock.monotonic_s(), cpu_s()
        yield
        self.wall[stage] += clock.monotonic_s() - wall
        self.cpu[stage] += cpu_s() - cpu

    def wrapped(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function with its cost counted."""

        def counted(*args: Any, **named: Any) -> Any:
            with self.of(stage):
                return function(*args, **named)

        return counted

    def per(self, count: int) -> dict[str, dict[str, float]]:
        """Returns milliseconds per dossier."""
        return {
            stage: {
                "cpu_ms": round(self.cpu[stage] / count * 1000, 2),
                "wall_ms": round(self.wall[stage] / count * 1000, 2),
            }
            for stage in self.cpu
        }


class WithoutSignatures:
    """Checks formats as given and no signatures."""

    def __init__(self, formats: Checkers) -> None:
        self._formats = formats

    def check_format(self, path: Path, component: Component, policies: CheckPolicies) -> FormatReport:
        """Identifies and checks the format of one component."""
        return self._formats.check_format(path, component, policies)

    def submit_signatures(self, *_arguments: object, **_named: object) -> Future[SignatureCheck]:
        """Finds none."""
        nothing: Future[SignatureCheck] = Future()
        nothing.set_result(SignatureCheck())
        return nothing


# ------------------------------------------------------------------ the pipeline


def receive(service: Service, folder: Path) -> UUID:
    """Opens, uploads and completes at library level, as the HTTP endpoints do."""
    pushed = read_dossier((folder / "dossier.json").read_bytes())
    origin = Origin(principal=OPERATOR, source_system="bench", sent_at=None)
    opened = open_submission(service.database, service.staging, pushed, origin, at=clock.unique_now())
    for component in pushed.dossier.components:
        with service.database.read_prepared() as work:
            expected = expected_component(work, service.staging, opened.submission_id, component.id, OPERATOR)
        upload = ComponentUpload(service.staging, expected, limit_bytes=service.settings.max_component_bytes)
        with (folder / component.path).open("rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                upload.write(chunk)
        upload.finish(service.database)
    with service.database.write_prepared() as work:
        complete(work, service.staging, opened.submission_id, principal=OPERATOR, at=clock.unique_now())
    return opened.submission_id


def approve(service: Service, submission_id: UUID) -> None:
    """Decides as the operator."""
    with service.database.write_prepared() as work:
        decide(work, submission_id, DecisionKind.APPROVE, principal=OPERATOR, reason="", at=clock.unique_now())


def one(service: Service, registry: Registry, folder: Path, costs: Costs) -> None:
    """Takes one dossier all the way.

    Raises:
        RuntimeError: it was not stored.
    """

    def work() -> None:
        run_next(service.database, service.settings, registry, threading.Event(), owner="bench", busy=True)

    with costs.of("receive"):
        submission_id = receive(service, folder)
    with costs.of("check"):
        work()
    with costs.of("decide"):
        approve(service, submission_id)
    with costs.of("store"):
        work()
    with costs.of("discard"):
        work()
    with service.database.read() as session:
        state = find_submission(session, submission_id).state
    if state is not State.STORED or service.staging.path(submission_id, "dossier.json").exists():
        raise RuntimeError(f"{folder.name} is {state}")


def use(service: Service) -> None:
    """Makes the folders that the packages of a year share, as an archive in use has them."""
    with service.database.read() as session:
        key = session.scalars(select(Aip.store_key)).first() or ""
    shared = Path(key).parent.name
    for number in range(FOLDERS_OF_A_YEAR):
        for store in service.stores.values():
            with contextlib.suppress(StoredObjectDiffers):  # one of the dossiers has it
                other = store_key(key.replace(f"/{shared}/", f"/{number:02x}/"))
                store.put(other, io.BytesIO(), expected=digest_bytes(b""), size_bytes=0)


# ------------------------------------------------------------------ what it is compared with


def floor(folder: Path, target: Path) -> None:
    """Read, hash, two fsynced copies, read back: what no archive can do without."""
    content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    _two_copies(content, hashlib.sha256(content).digest(), target / folder.name)


def bare(folder: Path, target: Path, database: sqlite3.Connection) -> None:
    """The calls this pipeline's way is made of, and nothing else."""
    staging = target / f"staging-{folder.name}"
    staging.mkdir()
    _flush_folder(target)
    _commits(database, 1)
    package = io.BytesIO()
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        hashlib.sha256(content).digest()
        _durable(staging / f".{path.name}", content, forget=False)
        (staging / f".{path.name}").replace(staging / path.name)
        _flush_folder(staging)
    _commits(database, 1)
    for path in sorted(staging.iterdir()):
        content = path.read_bytes()
        if path.suffix == ".pdf":
            pikepdf.open(path, suppress_warnings=True).close()
    _commits(database, 3)  # job taken, rows and job done; decision
    whole = hashlib.sha256()
    for path in sorted(staging.iterdir()):
        content = path.read_bytes()
        hashlib.sha256(content).digest()
        zlib.crc32(content)
        whole.update(content)
        package.write(content)
    _two_copies(package.getvalue(), whole.digest(), target / f"bare-{folder.name}")
    _commits(database, 2)
    for path in staging.iterdir():
        path.unlink()
    staging.rmdir()
    _flush_folder(target)
    _commits(database, 2)


def _two_copies(content: bytes, digest: bytes, target: Path) -> None:
    for number in range(2):
        path = target.with_name(f"{target.name}-{number}")
        _durable(path, content, forget=True)
        _flush_folder(target.parent)
        if hashlib.sha256(path.read_bytes()).digest() != digest:
            raise RuntimeError("read back other bytes")


def _durable(path: Path, content: bytes, *, forget: bool) -> None:
    with path.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
        if forget:
            os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _commits(database: sqlite3.Connection, count: int) -> None:
    for _ in range(count):
        with database:
            database.executemany("INSERT INTO row VALUES (?, ?)", [(number, "x" * 200) for number in range(6)])


def _bare_database(folder: Path) -> sqlite3.Connection:
    database = sqlite3.connect(folder / "bare.db")
    database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE row (a, b)")
    return database


# ------------------------------------------------------------------ runs


def run(count: int, *, limited: bool, profile: bool = False, database_url: str = "") -> dict[str, Any]:
    """Returns the costs per dossier."""
    each: list[dict[str, float]] = []
    walls = Costs()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dossiers = [_dossier(folder / "dossiers", number) for number in range(count + WARM)]
        service = open_service(Settings(data_dir=folder / "data", database_url=database_url), migrate=True)
        limits = LimitedCheckers(service.settings) if limited else None
        everything = load_registry(WithoutSignatures(limits or InlineCheckers()))
        kinds = (JobKind.CHECK_SUBMISSION, JobKind.STORE_SUBMISSION, JobKind.DISCARD_STAGING)
        registry = {kind: everything[kind] for kind in kinds}
        bare_database = _bare_database(folder)
        for dossier in dossiers[:WARM]:
            one(service, registry, dossier, Costs())
        use(service)
        settle_memory()
        resident, others = resident_mib(), others_cpu_s()
        profiler = cProfile.Profile()
        for dossier in dossiers[WARM:]:
            costs = Costs()
            with _parts_counted(costs), profiler if profile else contextlib.nullcontext():
                one(service, registry, dossier, costs)
            each.append(dict(costs.cpu))
            for stage, wall in costs.wall.items():
                walls.wall[stage] += wall
        others, resident_then = others_cpu_s() - others, resident_mib()
        for number, dossier in enumerate(dossiers[WARM:]):
            costs = Costs()
            with costs.of("floor"):
                floor(dossier, folder)
            with costs.of("bare"):
                bare(dossier, folder, bare_database)
            each[number] |= costs.cpu
        if limits is not None:
            limits.close()
        service.close()
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(70)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    return {
        "benchmark": "pipeline",
        "engine": "postgresql" if database_url else "sqlite",
        "formats": "limited process" if limited else "this process",
        "dossiers": count,
        "cpu_ms": _spread([sum(costs[stage] for stage in STAGES) for costs in each]),
        "others_cpu_ms": round(others / count * 1000, 2),
        "floor_cpu_ms": _spread([costs["floor"] for costs in each]),
        "bare_cpu_ms": _spread([costs["bare"] for costs in each]),
        "wall_ms": round(sum(walls.wall[stage] for stage in STAGES) / count * 1000, 2),
        "stages_cpu_ms": {
            stage: _spread([costs.get(stage, 0.0) for costs in each]) for stage in (*STAGES, *PARTS.values())
        },
        "resident_mib": {"before": resident, "after": resident_then},
        "load_average": os.getloadavg()[0],
    }


@contextmanager
def _parts_counted(costs: Costs) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for (module, name), stage in PARTS.items():
            patch.setattr(module, name, costs.wrapped(stage, getattr(module, name)))
        yield


def _spread(seconds: list[float]) -> dict[str, float]:
    """Returns mean and best tenth in milliseconds."""
    best = sorted(seconds)[len(seconds) // 10]
    return {"mean": round(statistics.fmean(seconds) * 1000, 2), "best_tenth": round(best * 1000, 2)}


def _dossier(folder: Path, number: int) -> Path:
    """Writes one dossier; withdrawn and without a result, which would have to be signed."""
    made = eight_file_dossier(folder, code=f"000.00.16.H56-250314-{number:04d}").folder
    described = json.loads((made / "dossier.json").read_bytes())
    described["outcome"] = "withdrawn"
    described["components"][-1] |= {"role": "other", "result_ordinal": None}
    write_json(made, described)
    return made


def main() -> None:
    """Runs both engines where present, and formats in this process and in a limited one."""
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    count = numbers[0] if numbers else 100
    if "--profile" in sys.argv:
        print(json.dumps(run(count, limited=False, profile=True)))  # noqa: T201
        return
    for limited in (False, True):
        print(json.dumps(run(count, limited=limited)), flush=True)  # noqa: T201
    try:
        with running_server() as server:
            url = server.create().render_as_string(hide_password=False)
            print(json.dumps(run(count, limited=False, database_url=url)))  # noqa: T201
    except NoServerError as exc:
        print(json.dumps({"benchmark": "pipeline", "engine": "postgresql", "not_run": str(exc)}))  # noqa: T201


if __name__ == "__main__":
    main()
