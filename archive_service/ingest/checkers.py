"""Checks of bytes run in this process: for offline use and tests. A service runs them in limited worker processes (jobs/checkers.py)."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Final

from archive_service.dossier import Component
from archive_service.formats.check import check_file
from archive_service.formats.report import FormatReport
from archive_service.formats.virus import ScanLimits
from archive_service.ingest.policies import CheckPolicies
from archive_service.settings import Settings
from archive_service.signatures.report import SignatureCheck
from archive_service.signatures.validate import validate_file

SIBLINGS_MAX: Final = 200
"""Most components offered to a detached signature as what it may have signed; a dossier with more names them alike."""


def may_be_signed(mime: str) -> bool:
    """Returns whether a file of this media type can carry or be a signature; pictures, sound and film cannot."""
    return mime.partition("/")[0] not in {"image", "audio", "video"} or mime.endswith("xml")


def scan_limits(settings: Settings) -> ScanLimits:
    """Returns the bounds of a virus scan: a clean answer counts only for files that clamd reads to the end."""
    return ScanLimits(trusted_bytes=settings.clamd_max_mb * 1024 * 1024)


def neighbours(paths: Mapping[str, Path]) -> Callable[[str], Mapping[str, Path]]:
    """Returns what a detached signature at a path may have signed: all other files of a small dossier, those of like name in a large one."""
    if len(paths) <= SIBLINGS_MAX:
        return lambda path: {name: other for name, other in paths.items() if name != path}
    by_stem: dict[str, dict[str, Path]] = {}
    for name, other in paths.items():
        by_stem.setdefault(_stem(name), {})[name] = other
    return lambda path: {name: other for name, other in by_stem[_stem(path)].items() if name != path}


def _stem(path: str) -> str:
    folder, _, name = path.rpartition("/")
    return f"{folder}/{name.split('.', 1)[0]}"


class InlineCheckers:
    """Runs every check right here, without time or memory limits."""

    def check_format(self, path: Path, component: Component, policies: CheckPolicies) -> FormatReport:
        """Identifies and checks the format of one component."""
        return check_file(path, name=component.path, component=component, policy=policies.formats)

    def submit_signatures(
        self, path: Path, mime: str, policies: CheckPolicies, *, at: datetime, siblings: Mapping[str, Path]
    ) -> Future[SignatureCheck]:
        """Validates every signature of one component; the answer is there at once."""
        answer: Future[SignatureCheck] = Future()
        if not may_be_signed(mime):
            answer.set_result(SignatureCheck())
            return answer
        answer.set_result(
            validate_file(path, mime=mime, trust=policies.trust, at=at, policy=policies.signatures, siblings=siblings)
        )
        return answer
