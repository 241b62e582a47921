"""Checks of bytes in worker processes of their own: a hostile file may hang, crash or eat memory without harm to the worker that asked.

One format process and, by settings, one or more signature processes per job worker; all are started with the first file, replaced when they
fail, and end with the worker. Signatures are validated, across the processes, while the formats of further components are looked at.
"""

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from archive_service.dossier import Component
from archive_service.formats.limits import DEFAULT
from archive_service.formats.pool import FormatPool
from archive_service.formats.report import FormatReport
from archive_service.ingest.checkers import may_be_signed
from archive_service.ingest.policies import CheckPolicies
from archive_service.jobs.pool import worker_count
from archive_service.settings import Settings
from archive_service.signatures.fetch import Fetcher, fetch_material, lacks_evidence
from archive_service.signatures.pool import SignaturePool, SignatureTask
from archive_service.signatures.report import Reason, SignatureCheck


class LimitedCheckers:
    """Runs every check with hard limits of time and memory."""

    def __init__(self, settings: Settings) -> None:
        memory_bytes = settings.check_memory_limit_mb * 1024 * 1024
        self._formats = FormatPool(workers=1, limits=replace(DEFAULT, memory_bytes=memory_bytes))
        self._signatures = SignaturePool(
            signature_process_count(settings),
            time_limit_s=settings.signature_time_limit_s,
            memory_limit_bytes=memory_bytes,
        )
        self._fetching = _Fetching(settings, self._signatures) if settings.live_fetching else None

    def check_format(self, path: Path, component: Component, policies: CheckPolicies) -> FormatReport:
        """Identifies and checks the format of one component."""
        return self._formats.check(path, name=component.path, component=component, policy=policies.formats)

    def submit_signatures(
        self, path: Path, mime: str, policies: CheckPolicies, *, at: datetime, siblings: Mapping[str, Path]
    ) -> Future[SignatureCheck]:
        """Starts validating every signature of one component."""
        if not may_be_signed(mime):
            nothing: Future[SignatureCheck] = Future()
            nothing.set_result(SignatureCheck())
            return nothing
        task = SignatureTask(
            path=path, mime=mime, trust=policies.trust, at=at, policy=policies.signatures, siblings=dict(siblings)
        )
        offline = self._signatures.submit(task)
        return offline if self._fetching is None else self._fetching.complete(task, offline)

    def close(self) -> None:
        """Ends all processes."""
        if self._fetching is not None:
            self._fetching.close()
        self._formats.close()
        self._signatures.close()


def signature_process_count(settings: Settings) -> int:
    """Returns how many processes of one worker validate signatures: as configured, or its share of the cores."""
    return settings.signature_workers or max(1, len(os.sched_getaffinity(0)) // worker_count(settings))


class _Fetching:
    """Second judgement with what was fetched, for files whose first lacked status or issuer; one thread, so one request at a time."""

    def __init__(self, settings: Settings, pool: SignaturePool) -> None:
        hosts = frozenset(host.strip() for host in settings.live_fetching_hosts.split(",") if host.strip())
        self._fetcher = Fetcher(allowed_hosts=hosts)
        self._pool = pool
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fetching")

    def complete(self, task: SignatureTask, offline: Future[SignatureCheck]) -> Future[SignatureCheck]:
        """Returns the future of the better answer."""
        return self._thread.submit(self._complete, task, offline)

    def close(self) -> None:
        """Ends the thread when its work is done."""
        self._thread.shutdown()

    def _complete(self, task: SignatureTask, offline: Future[SignatureCheck]) -> SignatureCheck:
        first = offline.result()
        if not lacks_evidence(first):
            return first
        before = len(self._fetcher.failures)
        fetched = fetch_material(first.material, task.trust, self._fetcher)
        failures = tuple(f"FETCH_FAILED: {failure}" for failure in self._fetcher.failures[before:])
        if not fetched:
            return replace(first, not_checked=(*first.not_checked, *failures))

        def of(suffix: str) -> list[bytes]:
            return [content for name, content in sorted(fetched.items()) if name.endswith(f".{suffix}")]

        richer = task.trust.with_material(intermediates=of("cer"), crls=of("crl"), ocsps=of("ocsp"))
        again = self._pool.submit(replace(task, trust=richer)).result()
        mark = Reason(code="FETCHED_LIVE", params={"count": str(len(fetched)), "files": ", ".join(sorted(fetched))})
        reports = tuple(replace(report, remarks=(*report.remarks, mark)) for report in again.reports)
        return replace(again, reports=reports, not_checked=(*again.not_checked, *failures))
