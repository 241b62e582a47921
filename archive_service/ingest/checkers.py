"""Checks of bytes run in this process: for offline use and tests. A service runs them in limited worker processes (jobs/checkers.py)."""

from collections.abc import Mapping
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path

from archive_service.dossier import Component
from archive_service.formats.check import check_file
from archive_service.formats.report import FormatReport
from archive_service.ingest.policies import CheckPolicies
from archive_service.signatures.report import SignatureCheck
from archive_service.signatures.validate import validate_file


def may_be_signed(mime: str) -> bool:
    """Returns whether a file of this media type can carry or be a signature; pictures, sound and film cannot."""
    return mime.partition("/")[0] not in {"image", "audio", "video"} or mime.endswith("xml")


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
