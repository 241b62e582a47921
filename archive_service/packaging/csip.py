"""The E-ARK CSIP rules, one by one, on any information package: folder or ZIP (CSIP 2.0.4, 2.1.0, 2.2.0; AIP 2.2.0).

Each rule carries the requirement id of the specification. A rule that finds something wrong weighs as its requirement
does: MUST an error, SHOULD a warning, MAY a note. Rules for the package level look at the root METS, rules on
references and ids at every METS. What a rule means where the text leaves room is what the DILCIS test corpus says it
means (tests/conformance).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final

from archive_service.packaging.content import CsipVersion
from archive_service.packaging.csip_context import Context, Rule, vocabularies
from archive_service.packaging.csip_files import FILE_RULES
from archive_service.packaging.csip_header import AIP_RULES, HEADER_RULES, SIP_RULES
from archive_service.packaging.csip_metadata import METADATA_RULES
from archive_service.packaging.csip_structmap import STRUCT_MAP_RULES
from archive_service.packaging.csip_structure import STRUCTURE_RULES, read_documents
from archive_service.packaging.mets_reader import Mets
from archive_service.packaging.package_view import PackageView


class Level(StrEnum):
    """How strongly the specification asks."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """What one requirement said of one package."""

    id: str
    level: Level
    problems: Sequence[str]
    """Empty when the requirement holds or does not apply."""

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class CsipReport:
    """Every requirement's result."""

    version: str
    results: Sequence[RuleResult]

    @property
    def valid(self) -> bool:
        """Whether every MUST holds."""
        return all(result.holds for result in self.results if result.level is Level.MUST)

    def failed(self) -> Mapping[str, RuleResult]:
        """Returns the requirements that do not hold, by id."""
        return {result.id: result for result in self.results if not result.holds}

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON form: counts, and the requirements that do not hold."""
        failed = self.failed().values()
        return {
            "csip_version": self.version,
            "valid": self.valid,
            "checked": len(self.results),
            "failed": [{"id": item.id, "level": item.level.value, "problems": list(item.problems)} for item in failed],
        }


_PROBLEMS_MAX: Final = 20
"""Of one rule; a package of 100,000 files can be wrong 100,000 times in the same way."""


def check_package(
    view: PackageView,
    *,
    version: str = CsipVersion.V2_0_4,
    at: datetime | None = None,
    package_type: str | None = None,
    documents: Sequence[Mets] | None = None,
) -> CsipReport:
    """Checks a package against every rule.

    `at` is the time after which a date lies in the future; without it that is not asked. `package_type` "AIP" or "SIP"
    adds the profile's own rules; without it the package's own OAISPACKAGETYPE decides. `documents` are all METS documents of the package,
    root first, when the caller has read them already.
    """
    words = vocabularies()
    context = Context(view=view, words=words, at=at)
    if documents is None:
        read_documents(context)
    else:
        context.documents.extend(documents)
    rules: dict[str, Rule] = dict(STRUCTURE_RULES)
    if context.root is not None:
        rules |= HEADER_RULES | METADATA_RULES | FILE_RULES | STRUCT_MAP_RULES
        kind = package_type or context.package_type()
        rules |= {"AIP": AIP_RULES, "SIP": SIP_RULES}.get(kind, {})
    results = []
    for rule_id, rule in rules.items():
        problems = []
        for problem in rule(context):
            problems.append(problem)
            if len(problems) == _PROBLEMS_MAX:
                break
        results.append(RuleResult(id=rule_id, level=_level(rule_id, version), problems=problems))
    return CsipReport(version=version, results=results)


@cache
def _level(rule_id: str, version: str) -> Level:
    words = vocabularies()
    kinds = {"CSIPSTR": "structure", "CSIP": version, "AIPM": "aip"}
    prefix = rule_id.rstrip("0123456789")
    if prefix == "SIP":
        return Level.MUST if rule_id in {"SIP2", "SIP4"} else Level.MAY
    table = words.levels[kinds[prefix]]
    number = int(rule_id.removeprefix(prefix))
    if number in table["should"]:
        return Level.SHOULD
    return Level.MAY if number in table["may"] else Level.MUST
