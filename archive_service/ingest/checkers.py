"""Checks of bytes run in this process: for offline use and tests. A service runs them in limited worker processes (jobs/checkers.py)."""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from archive_service.dossier import Component
from archive_service.formats.check import check_file
from archive_service.formats.report import FormatReport
from archive_service.ingest.policies import CheckPolicies
from archive_service.signatures.report import SignatureCheck
from archive_service.signatures.validate import validate_file


class InlineCheckers:
    """Runs every check right here, without time or memory limits."""

    def check_format(self, path: Path, component: Component, policies: CheckPolicies) -> FormatReport:
        """Identifies and checks the format of one component."""
        return check_file(path, name=component.path, component=component, policy=policies.formats)

    def check_signatures(
        self, path: Path, mime: str, policies: CheckPolicies, *, at: datetime, siblings: Mapping[str, Path]
    ) -> SignatureCheck:
        """Validates every signature of one component."""
        return validate_file(
            path, mime=mime, trust=policies.trust, at=at, policy=policies.signatures, siblings=siblings
        )
