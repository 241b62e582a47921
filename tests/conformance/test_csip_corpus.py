"""The CSIP rules against the DILCIS board's test corpus: a rule speaks exactly where the corpus says the package is wrong."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from archive_service.packaging.csip import check_package
from archive_service.packaging.package_view import open_package
from tests.conftest import NotRun

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(os.environ.get("ARCHIVE_CORPORA") or ROOT.parent / "shared" / "corpora") / "eark-ip"
AT = datetime(2026, 11, 22, tzinfo=UTC)

KNOWN_DIFFERENCES = {
    # The corpus came through git with line ends changed: the file has not the size and digest its METS states.
    ("CSIP54", "valid_IP_with_SHOULD_MAY_1_rep"),
    ("CSIP56", "valid_IP_with_SHOULD_MAY_1_rep"),
    # Labelled valid although its representation has no METS.xml, which is what the rule's own text warns of.
    ("CSIPSTR12", "IP_18000_CSIPSTR12_1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    requirement: str
    rule: str
    package: Path
    valid: bool


def cases() -> Iterator[Case]:
    for path in sorted(CORPUS.glob("*/*/testCase.xml")):
        root: Any = etree.parse(path).getroot()
        requirement = root.find("id").get("requirementId")
        if root.get("testable") == "FALSE":
            continue
        for rule in root.iter("rule"):
            for package in rule.iter("package"):
                folder = path.parent / (package.findtext("path") or "").strip()
                if package.get("isImplemented") == "TRUE" and folder.is_dir():
                    valid = package.get("isValid") == "TRUE"
                    yield Case(requirement=requirement, rule=rule.get("id"), package=folder, valid=valid)


@pytest.fixture(name="found", scope="module")
def _found(not_run: NotRun) -> list[Case]:
    if not CORPUS.is_dir():
        not_run("CSIP corpus", "no folder corpora/eark-ip beside the checkout (ARCHIVE_CORPORA)")
    return list(cases())


def test_rules_agree_with_the_corpus(found: list[Case]) -> None:
    per_rule: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    different: set[tuple[str, str]] = set()
    for case in found:
        kind = "SIP" if case.requirement.startswith("SIP") else None
        with open_package(case.package) as view:
            report = check_package(view, at=AT, package_type=kind)
        agrees = (case.requirement not in report.failed()) == case.valid
        per_rule[case.requirement][0 if agrees else 1] += 1
        if not agrees:
            different.add((case.requirement, case.package.name))
    agreed = sum(counts[0] for counts in per_rule.values())
    total = sum(sum(counts) for counts in per_rule.values())
    short = {rule: f"{counts[0]}/{sum(counts)}" for rule, counts in per_rule.items() if counts[1]}
    print(f"CSIP corpus: {agreed} of {total} cases agree over {len(per_rule)} requirements; not in full: {short}")  # noqa: T201
    assert different == KNOWN_DIFFERENCES
    assert len(per_rule) > 50
