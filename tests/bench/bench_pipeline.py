"""What one ordinary dossier costs from receiving to stored: CPU milliseconds per dossier of 8 files and 1.5 MB, without signatures.

Beside it, measured in the same run, the floor: read the files, hash them, write two fsynced copies, read both back.
Run as `python -m tests.bench.bench_pipeline [dossiers] [--profile]`.
"""

import cProfile
import hashlib
import json
import os
import pstats
import resource
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from archive_service import clock
from archive_service.audit import software
from archive_service.digests import CHUNK_BYTES
from archive_service.dossier import Component
from archive_service.formats.report import FormatReport
from archive_service.identity.permissions import operator
from archive_service.ingest.check import Checkers, check_submission
from archive_service.ingest.checkers import InlineCheckers
from archive_service.ingest.policies import CheckPolicies
from archive_service.ingest.staging_upkeep import discard_staging
from archive_service.ingest.submissions import Origin, find_submission, open_submission, read_dossier
from archive_service.ingest.uploads import ComponentUpload, complete, expected_component
from archive_service.jobs.checkers import LimitedCheckers
from archive_service.models import State
from archive_service.samples.small import eight_file_dossier, write_json
from archive_service.service import Service, open_service
from archive_service.settings import Settings
from archive_service.signatures.report import SignatureCheck
from archive_service.transfer import store as transfer_store
from archive_service.transfer.decisions import DecisionKind, decide

AGENT = software("bench")
OPERATOR = operator(AGENT)
PARTS_OF_STORE = {
    "aip_content": "store_read_rows",
    "build_aip": "store_package",
    "_copy": "store_copies",
    "write_stored_rows": "store_rows",
}


def cpu_s(*, children: bool = False) -> float:
    """CPU seconds of this process, kernel included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN if children else resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


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
    with service.database.write() as session:
        complete(session, service.staging, opened.submission_id, principal=OPERATOR, at=clock.unique_now())
    return opened.submission_id


def approve(service: Service, submission_id: UUID) -> None:
    """Decides as the operator."""
    with service.database.write() as session:
        decide(
            session,
            submission_id,
            DecisionKind.APPROVE,
            principal=OPERATOR,
            reason="",
            at=clock.unique_now(),
        )


def one(service: Service, folder: Path, checkers: Checkers, costs: Costs) -> None:
    """Takes one dossier all the way.

    Raises:
        RuntimeError: it was not stored.
    """
    with costs.of("receive"):
        submission_id = receive(service, folder)
    with costs.of("check"):
        check_submission(service, submission_id, checkers, at=clock.unique_now())
    with costs.of("decide"):
        approve(service, submission_id)
    with costs.of("store"):
        transfer_store.store_submission(service, submission_id)
    with costs.of("discard"):
        discard_staging(service, submission_id, at=clock.now())
    with service.database.read() as session:
        state = find_submission(session, submission_id).state
    if state is not State.STORED:
        raise RuntimeError(f"{folder.name} is {state}")


def floor(folder: Path, target: Path) -> None:
    """Read, hash, two fsynced copies, read back: what no archive can do without."""
    content = b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    digest = hashlib.sha256(content).digest()
    for number in range(2):
        path = target / f"{folder.name}-{number}"
        with path.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
            os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        directory = os.open(target, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        if hashlib.sha256(path.read_bytes()).digest() != digest:
            raise RuntimeError("read back other bytes")


def run(count: int, *, limited: bool, profile: bool) -> dict[str, Any]:
    """Returns the costs per dossier."""
    costs = Costs()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dossiers = [_dossier(folder / "dossiers", number) for number in range(count + 3)]
        service = open_service(Settings(data_dir=folder / "data"), migrate=True)
        limits = LimitedCheckers(service.settings) if limited else None
        checkers = WithoutSignatures(limits or InlineCheckers())
        for dossier in dossiers[:3]:  # libraries loaded, statements compiled
            one(service, dossier, checkers, Costs())
        for function, stage in PARTS_OF_STORE.items():
            setattr(transfer_store, function, costs.wrapped(stage, getattr(transfer_store, function)))
        profiler = cProfile.Profile()
        started = cpu_s()
        if profile:
            profiler.enable()
        for dossier in dossiers[3:]:
            one(service, dossier, checkers, costs)
        profiler.disable()
        total = cpu_s() - started
        with costs.of("floor"):
            for dossier in dossiers[3:]:
                floor(dossier, folder)
        if limits is not None:
            limits.close()
        service.close()
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(70)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
    return {
        "benchmark": "pipeline",
        "dossiers": count,
        "formats": "limited process" if limited else "inline",
        "cpu_ms_per_dossier": round(total / count * 1000, 2),
        "children_cpu_ms_per_dossier_with_start": round(cpu_s(children=True) / count * 1000, 2) if limited else 0,
        "stages": costs.per(count),
        "load_average": os.getloadavg()[0],
    }


def _dossier(folder: Path, number: int) -> Path:
    """Writes one dossier; withdrawn and without a result, which would have to be signed."""
    made = eight_file_dossier(folder, code=f"000.00.16.H56-250314-{number:04d}").folder
    described = json.loads((made / "dossier.json").read_bytes())
    described["outcome"] = "withdrawn"
    described["components"][-1] |= {"role": "other", "result_ordinal": None}
    write_json(made, described)
    return made


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    for with_limits in (False, True) if "--profile" not in sys.argv else (False,):
        print(json.dumps(run(*(numbers or [50]), limited=with_limits, profile="--profile" in sys.argv)))  # noqa: T201
