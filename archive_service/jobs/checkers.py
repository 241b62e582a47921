"""Checks of bytes in worker processes of their own: a hostile file may hang, crash or eat memory without harm to the worker that asked.

One format process and one signature process per job worker; both are started with the first file, replaced when they fail, and end with
the worker. Signatures of one component are validated while the formats of the next are looked at.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path

from archive_service.dossier import Component
from archive_service.formats.pool import FormatPool
from archive_service.formats.report import FormatReport
from archive_service.ingest.checkers import may_be_signed
from archive_service.ingest.policies import CheckPolicies
from archive_service.settings import Settings
from archive_service.signatures.pool import SignaturePool, SignatureTask
from archive_service.signatures.report import SignatureCheck


class LimitedCheckers:
    """Runs every check with hard limits of time and memory."""

    def __init__(self, settings: Settings) -> None:
        self._formats = FormatPool(workers=1)
        self._signatures = SignaturePool(
            1,
            time_limit_s=settings.signature_time_limit_s,
            memory_limit_bytes=settings.check_memory_limit_mb * 1024 * 1024,
        )

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
        return self._signatures.submit(
            SignatureTask(
                path=path, mime=mime, trust=policies.trust, at=at, policy=policies.signatures, siblings=dict(siblings)
            )
        )

    def close(self) -> None:
        """Ends both processes."""
        self._formats.close()
        self._signatures.close()
