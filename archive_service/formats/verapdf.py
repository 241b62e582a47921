"""veraPDF where the operator has installed it: a second, complete opinion on a PDF/A claim.

No package registry of ours carries it (STANDARDS 1.7), so it is an optional command; absent means our own checks
answer. It runs with a time limit and in its own process group, since it can take very long (LESSONS 39).
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lxml import etree

from archive_service.formats.limits import MIB, Limits
from archive_service.formats.sandbox import run_command

COMMAND: Final = "verapdf"
_FLAVOURS: Final = re.compile(r"[1-4][abuef]?")
_MAX_REPORT_BYTES: Final = 16 * MIB
_TIME_FACTOR: Final = 6
"""Starting the Java machine alone takes seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """veraPDF's answer."""

    checker: str
    problems: tuple[tuple[str, str], ...] | None
    """Clause and description of each failed rule; None: veraPDF could not judge, `reason` says why."""
    reason: str = ""


def validate(path: Path, claim: str, limits: Limits) -> Answer | None:
    """Asks veraPDF about a claimed flavour; None when there is no veraPDF."""
    program = shutil.which(COMMAND)
    if program is None or not _FLAVOURS.fullmatch(claim):
        return None
    arguments = [program, "--format", "xml", "--flavour", claim, str(path)]
    done = run_command(arguments, time_limit_s=limits.time_s * _TIME_FACTOR, output_bytes=_MAX_REPORT_BYTES)
    if done.reason:
        return Answer(checker=COMMAND, problems=None, reason=done.reason)
    return read_report(done.output)


def read_report(report: bytes) -> Answer:
    """Reads veraPDF's XML report (machine-readable, "mrr")."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        tree = etree.fromstring(report, parser)
    except (etree.XMLSyntaxError, ValueError) as exc:
        return Answer(checker=COMMAND, problems=None, reason=f"its report is not XML: {exc}")
    verdict = tree.find(".//{*}validationReport")
    release = tree.find(".//{*}releaseDetails")
    checker = f"{COMMAND} {release.get('version')}" if release is not None else COMMAND
    if verdict is None:
        return Answer(checker=checker, problems=None, reason="its report holds no verdict")
    rules = [rule for rule in verdict.iter("{*}rule") if rule.get("status") != "passed"]
    problems = tuple((str(rule.get("clause")), (rule.findtext("{*}description") or "").strip()) for rule in rules)
    if verdict.get("isCompliant") != "true" and not problems:
        problems = (("?", "not compliant"),)
    return Answer(checker=checker, problems=problems)
