"""Retention arithmetic: which rule holds for each document, which one decides, when the dossier falls due (R060-R065).

Pure: a rule set and a dossier in, an assignment out; no clock, no database. The assignment carries the formula as data
and pins the rule set by version and digest, so that it can be shown, checked and repeated years later. What it
deliberately does not do: it never says that something may be destroyed. A due date is the day from which a review may
look at the record; holds, approvals and the state of the rule set (`sample`, `approved`) are weighed there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from archive_service.clock import civil_date
from archive_service.dossier import Component, Dossier, Role
from archive_service.errors import ConfigurationInvalid
from archive_service.findings import Finding
from archive_service.rules import rule_files
from archive_service.rules.codes import agency_level
from archive_service.rules.retention_rules import DEFAULT_RULE_SET, MAX_YEARS, Mark, RetentionRule, RuleSet, load_rules

__all__ = [
    "DEFAULT_RULE_SET",
    "MAINTENANCE_YEARS",
    "AppliedRule",
    "BlockedReason",
    "Conflict",
    "DocumentMatch",
    "FormulaStep",
    "Mark",
    "PeriodKind",
    "RetentionAssignment",
    "RetentionRule",
    "RuleSet",
    "Step",
    "as_json",
    "assign",
    "check_retention",
    "due_on",
    "explain",
    "from_json",
    "is_due",
    "load_rules",
    "maintenance_code",
]

MAINTENANCE_YEARS: Final = {"02": 70, "03": 50, "04": 30, "05": 20, "06": 10}
"""TT 05/2025 maintenance codes that name a number of years; 01 is permanent, 07 any other period (R065)."""

MAINTENANCE_PERMANENT: Final = "01"
MAINTENANCE_OTHER: Final = "07"


class PeriodKind(StrEnum):
    """What the rules say of a dossier as a whole."""

    PERMANENT = "PERMANENT"
    YEARS = "YEARS"
    UNMATCHED = "UNMATCHED"
    """No rule, or no clear rule: kept and flagged, never due (R064)."""


class BlockedReason(StrEnum):
    """Why no period could be assigned."""

    NO_RULE = "NO_RULE"
    AMBIGUOUS_RULES = "AMBIGUOUS_RULES"
    WORK_END_UNUSABLE = "WORK_END_UNUSABLE"
    """The closing time has no Vietnamese civil date, or the due date lies outside the calendar."""


class Step(StrEnum):
    """Kinds of formula step."""

    WORK_ENDED = "WORK_ENDED"
    DOCUMENTS = "DOCUMENTS"
    LONGEST = "LONGEST"
    PERMANENT = "PERMANENT"
    DUE = "DUE"
    BLOCKED = "BLOCKED"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedRule:
    """A rule that holds for at least one document of the dossier, as it stood in the rule set."""

    id: str
    title_vi: str
    title_en: str
    years: int | None
    """None means permanent."""
    basis: str
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentMatch:
    """What the rules say of one document."""

    component_id: str
    rule_id: str | None
    """None: no rule, or no clear one."""
    years: int | None
    """None with a rule means permanent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Equally narrow rules that give one document different periods."""

    component_ids: tuple[str, ...]
    rule_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormulaStep:
    """One step of the computation, with its numbers."""

    step: Step
    params: dict[str, str | int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionAssignment:
    """The period of one dossier and everything it was derived from."""

    kind: PeriodKind
    years: int | None
    """Of the deciding document; None unless `kind` is YEARS."""
    start_year: int | None
    """Year in which the work ended, Vietnamese civil time (R061); None when the closing time is unusable."""
    due_on: date | None
    """1 January after the last full year of the period; None means never due."""
    maintenance_code: str
    """TT 05/2025 maintenance code 01-07; 07 also stands for a dossier without a rule."""
    matched: tuple[DocumentMatch, ...]
    """One entry per component, in the dossier's order."""
    rules: tuple[AppliedRule, ...]
    """The rules named in `matched`, each once."""
    deciding_rule_id: str | None
    deciding_component_id: str | None
    """First component that the deciding rule holds for."""
    basis: str | None
    """Legal basis of the deciding rule."""
    rule_set_id: str
    rule_set_version: str
    rule_set_digest: str
    """`SHA-256:<hex>` of the rule file."""
    rule_set_sample: bool
    """The periods are examples: nothing may be destroyed under this assignment."""
    rule_set_approved: bool
    formula: tuple[FormulaStep, ...]
    conflicts: tuple[Conflict, ...]
    blocked_reason: BlockedReason | None
    """Why disposal is blocked for want of a clear rule; None when a period was assigned."""

    @property
    def applied(self) -> dict[str, AppliedRule]:
        """The applied rules by id."""
        return {rule.id: rule for rule in self.rules}


def due_on(work_ended_at: datetime, years: int) -> date:
    """Returns 1 January of (year the work ended in Vietnam + `years` + 1): the full calendar year is kept (DESIGN D10).

    Raises:
        ValueError: `work_ended_at` is naive, or the result lies after the year 9999.
        OverflowError: the moment has no date in Vietnam.
    """
    return date(civil_date(work_ended_at).year + years + 1, 1, 1)


def is_due(assignment: RetentionAssignment, *, on: date) -> bool:
    """Returns whether a review may look at the record on the civil date `on`; no due date is never due (LESSONS 32)."""
    return assignment.due_on is not None and assignment.due_on <= on


def maintenance_code(kind: PeriodKind, years: int | None) -> str:
    """Returns the TT 05/2025 code of a period; what has no code of its own is 07 (other)."""
    if kind is PeriodKind.PERMANENT:
        return MAINTENANCE_PERMANENT
    return next((code for code, named in MAINTENANCE_YEARS.items() if named == years), MAINTENANCE_OTHER)


def assign(rules: RuleSet, dossier: Dossier) -> RetentionAssignment:
    """Derives the dossier's period.

    1. Start: the civil year in Vietnam in which the work ended (Luật 33/2024 Điều 15 khoản 3).
    2. Each document: the narrowest rule in force on that day that fits; equally narrow rules that differ decide nothing
       (R064).
    3. The dossier: permanent if any document is; else unmatched if any document has no clear rule, for that one might
       be the longest; else the longest period of its documents (Luật 33/2024 Điều 15 khoản 4).
    4. Due: 1 January of start year + period + 1.
    """
    ended_on = _work_ended_on(dossier)
    if ended_on is None:
        unmatched = tuple(DocumentMatch(component_id=part.id, rule_id=None, years=None) for part in dossier.components)
        return _assignment(rules, dossier, unmatched, (), None)
    candidates = _candidates(rules, dossier, ended_on)

    @cache  # documents of one role and type share their rules: 100,000 components cost a handful of look-ups
    def deciding(role: Role, type_code: str) -> tuple[RetentionRule, ...]:
        return _deciding(candidates, role, type_code)

    matched: list[DocumentMatch] = []
    in_conflict: dict[tuple[str, ...], list[str]] = {}
    for part in dossier.components:
        fitting = deciding(part.role, part.type_code)
        if len({rule.years for rule in fitting}) > 1:
            in_conflict.setdefault(tuple(rule.id for rule in fitting), []).append(part.id)
        matched.append(_match(part, fitting))
    conflicts = tuple(Conflict(component_ids=tuple(parts), rule_ids=ids) for ids, parts in in_conflict.items())
    return _assignment(rules, dossier, tuple(matched), conflicts, ended_on)


def _work_ended_on(dossier: Dossier) -> date | None:
    try:
        return civil_date(dossier.closed_at)
    except OverflowError:  # the first and last hours of the calendar have no date in another zone
        return None


def _candidates(rules: RuleSet, dossier: Dossier, ended_on: date) -> tuple[RetentionRule, ...]:
    level = agency_level(dossier.settling_agency)
    field = rule_files.fold(dossier.field)
    return tuple(
        rule
        for rule in rules.rules
        if rule.in_force(ended_on)
        and (not rule.outcomes or dossier.outcome in rule.outcomes)
        and rule.covers(dossier.procedure_code, field, level)
    )


def _deciding(candidates: Iterable[RetentionRule], role: Role, type_code: str) -> tuple[RetentionRule, ...]:
    """Returns the narrowest rules that fit a document; more than one only when they are equally narrow."""
    fitting = [
        rule
        for rule in candidates
        if (not rule.roles or role in rule.roles) and (not rule.type_codes or type_code in rule.type_codes)
    ]
    narrowest = max((rule.specificity for rule in fitting), default=None)
    return tuple(rule for rule in fitting if rule.specificity == narrowest)


def _match(part: Component, fitting: Sequence[RetentionRule]) -> DocumentMatch:
    if len({rule.years for rule in fitting}) != 1:
        return DocumentMatch(component_id=part.id, rule_id=None, years=None)
    return DocumentMatch(component_id=part.id, rule_id=fitting[0].id, years=fitting[0].years)


def _assignment(
    rules: RuleSet,
    dossier: Dossier,
    matched: tuple[DocumentMatch, ...],
    conflicts: tuple[Conflict, ...],
    ended_on: date | None,
) -> RetentionAssignment:
    used = {match.rule_id for match in matched}
    applied = tuple(_applied(rule) for rule in rules.rules if rule.id in used)
    decided = _longest(matched)
    blocked = _blocked(matched, conflicts, ended_on, decided)
    kind = _kind(decided, blocked)
    years = decided.years if decided and kind is PeriodKind.YEARS else None
    due = None if years is None or ended_on is None else date(ended_on.year + years + 1, 1, 1)
    decider = None if kind is PeriodKind.UNMATCHED else decided
    basis = next((rule.basis for rule in applied if decider and rule.id == decider.rule_id), None)
    return RetentionAssignment(
        kind=kind,
        years=years,
        start_year=ended_on.year if ended_on else None,
        due_on=due,
        maintenance_code=maintenance_code(kind, years),
        matched=matched,
        rules=applied,
        deciding_rule_id=decider.rule_id if decider else None,
        deciding_component_id=decider.component_id if decider else None,
        basis=basis,
        rule_set_id=rules.id,
        rule_set_version=rules.version,
        rule_set_digest=str(rules.digest),
        rule_set_sample=rules.sample,
        rule_set_approved=rules.approved,
        formula=_formula(dossier, matched, decider, ended_on, due, blocked),
        conflicts=conflicts,
        blocked_reason=blocked,
    )


def _applied(rule: RetentionRule) -> AppliedRule:
    return AppliedRule(
        id=rule.id, title_vi=rule.title_vi, title_en=rule.title_en, years=rule.years, basis=rule.basis, mark=rule.mark
    )


def _longest(matched: Sequence[DocumentMatch]) -> DocumentMatch | None:
    """Returns the first document with the longest period; permanent is longer than any number of years (R062)."""
    with_rule = [match for match in matched if match.rule_id is not None]
    return max(with_rule, key=lambda match: (match.years is None, match.years or 0), default=None)


def _blocked(
    matched: Sequence[DocumentMatch],
    conflicts: Sequence[Conflict],
    ended_on: date | None,
    decided: DocumentMatch | None,
) -> BlockedReason | None:
    if ended_on is None:
        return BlockedReason.WORK_END_UNUSABLE
    if decided is not None and decided.years is None:
        return None  # permanent: no other document can be longer
    if conflicts:
        return BlockedReason.AMBIGUOUS_RULES
    if decided is None or any(match.rule_id is None for match in matched):
        return BlockedReason.NO_RULE
    if ended_on.year + (decided.years or 0) + 1 > date.max.year:
        return BlockedReason.WORK_END_UNUSABLE
    return None


def _kind(decided: DocumentMatch | None, blocked: BlockedReason | None) -> PeriodKind:
    if blocked or decided is None:
        return PeriodKind.UNMATCHED
    return PeriodKind.PERMANENT if decided.years is None else PeriodKind.YEARS


def _formula(
    dossier: Dossier,
    matched: Sequence[DocumentMatch],
    decider: DocumentMatch | None,
    ended_on: date | None,
    due: date | None,
    blocked: BlockedReason | None,
) -> tuple[FormulaStep, ...]:
    without = sum(match.rule_id is None for match in matched)
    steps = [
        FormulaStep(
            step=Step.WORK_ENDED,
            params={
                "closed_at": dossier.closed_at.isoformat(),
                "outcome": dossier.outcome.value,
                "ended_on": ended_on.isoformat() if ended_on else None,
                "start_year": ended_on.year if ended_on else None,
            },
        ),
        FormulaStep(step=Step.DOCUMENTS, params={"documents": len(matched), "without_rule": without}),
    ]
    if decider is not None:
        chosen: dict[str, str | int | None] = {
            "component_id": decider.component_id,
            "rule_id": decider.rule_id,
            "years": decider.years,
        }
        steps.append(FormulaStep(step=Step.LONGEST, params=chosen))
    if due is not None and ended_on is not None and decider is not None:
        numbers = {"start_year": ended_on.year, "years": decider.years, "due_year": due.year}
        steps.append(FormulaStep(step=Step.DUE, params={**numbers, "due_on": due.isoformat()}))
    elif blocked is not None:
        steps.append(FormulaStep(step=Step.BLOCKED, params={"reason": blocked.value}))
    else:
        steps.append(FormulaStep(step=Step.PERMANENT, params={}))
    return tuple(steps)


def check_retention(assignment: RetentionAssignment, dossier: Dossier) -> tuple[Finding, ...]:
    """Returns what the assignment and the sender's declared period say of each other (R063, R064)."""
    rule_set = f"{assignment.rule_set_id}/{assignment.rule_set_version}"
    found: list[Finding] = []
    if assignment.blocked_reason is not None:
        params = {"reason": assignment.blocked_reason.value, "rule_set": rule_set}
        found.append(Finding(code=_BLOCKED_FINDING[assignment.blocked_reason], location="", params=params))
    found += _declared_findings(assignment, dossier.declared_maintenance)
    return tuple(found)


_BLOCKED_FINDING: Final = {
    BlockedReason.NO_RULE: "RETENTION_RULE_MISSING",
    BlockedReason.AMBIGUOUS_RULES: "RETENTION_RULE_AMBIGUOUS",
    BlockedReason.WORK_END_UNUSABLE: "RETENTION_START_UNUSABLE",
}


def _declared_findings(assignment: RetentionAssignment, declared: str | None) -> list[Finding]:
    if declared is None or declared == MAINTENANCE_OTHER or assignment.kind is PeriodKind.UNMATCHED:
        return []  # nothing to compare: no declaration, one without a number, or no rule
    forever = MAX_YEARS + 1  # longer than any number of years a rule or a code may give
    declared_years = MAINTENANCE_YEARS.get(declared, forever)
    rule_years = forever if assignment.years is None else assignment.years
    if declared_years == rule_years:
        return []
    code = "RETENTION_DECLARED_SHORTER" if declared_years < rule_years else "RETENTION_DECLARED_LONGER"
    params: dict[str, str | int | float | bool | None] = {
        "declared": _period_words(None if declared_years == forever else declared_years, "vi"),
        "declared_en": _period_words(None if declared_years == forever else declared_years, "en"),
        "assigned": _period_words(assignment.years, "vi"),
        "assigned_en": _period_words(assignment.years, "en"),
        "rule": assignment.deciding_rule_id,
    }
    return [Finding(code=code, location="/declared_maintenance", params=params)]


def _period_words(years: int | None, language: str) -> str:
    if language == "en":
        return "permanent" if years is None else f"{years} years"
    return "vĩnh viễn" if years is None else f"{years} năm"


_ASSIGNMENT: Final = TypeAdapter(RetentionAssignment)


def as_json(assignment: RetentionAssignment) -> dict[str, Any]:  # JSON values are Any by nature
    """Returns the JSON form that goes into the database and the AIP."""
    value: dict[str, Any] = _ASSIGNMENT.dump_python(assignment, mode="json")
    return value


def from_json(value: Any) -> RetentionAssignment:
    """Reads what `as_json` wrote.

    Raises:
        ConfigurationInvalid: not the JSON form of an assignment.
    """
    try:
        return _ASSIGNMENT.validate_python(value)
    except ValidationError as exc:
        raise ConfigurationInvalid(f"not a retention assignment: {exc}") from exc


def explain(assignment: RetentionAssignment, language: str = "vi") -> list[str]:
    """Returns the formula as lines in `language` ("vi" or "en"), with basis, mark and rule set (DESIGN D10)."""
    english = language == "en"
    lines = [_explain_step(step, assignment, english=english) for step in assignment.formula]
    lines += [_explain_rule(rule, english=english) for rule in assignment.rules]
    lines += [_explain_conflict(conflict, english=english) for conflict in assignment.conflicts]
    lines.append(_explain_rule_set(assignment, english=english))
    return lines


_STEP_TEXT: Final = {
    Step.WORK_ENDED: (
        "Công việc kết thúc ngày {ended_on} theo giờ Việt Nam (hồ sơ ghi {closed_at}): tính từ năm {start_year}.",
        "Work ended on {ended_on} in Vietnamese time (the dossier says {closed_at}): counted from the year {start_year}.",
    ),
    Step.DOCUMENTS: (
        "Hồ sơ có {documents} tài liệu; {without_rule} tài liệu không có quy tắc rõ ràng.",
        "The dossier has {documents} documents; {without_rule} without a clear rule.",
    ),
    Step.LONGEST: (
        "Thời hạn dài nhất quyết định: tài liệu {component_id}, quy tắc {rule_id}, {period}.",
        "The longest period decides: document {component_id}, rule {rule_id}, {period}.",
    ),
    Step.PERMANENT: ("Bảo quản vĩnh viễn: không bao giờ đến hạn.", "Kept permanently: never due."),
    Step.DUE: (
        "Đến hạn xem xét: 01/01/({start_year} + {years} + 1) = 01/01/{due_year}.",
        "Due for review: 1 January ({start_year} + {years} + 1) = 1 January {due_year}.",
    ),
    Step.BLOCKED: (
        "Không xác định thời hạn, giữ lại và đánh dấu: {why}.",
        "No period assigned, kept and flagged: {why}.",
    ),
}

_BLOCKED_TEXT: Final = {
    BlockedReason.NO_RULE: ("có tài liệu không khớp quy tắc nào", "at least one document fits no rule"),
    BlockedReason.AMBIGUOUS_RULES: ("các quy tắc mâu thuẫn nhau", "rules contradict each other"),
    BlockedReason.WORK_END_UNUSABLE: ("ngày kết thúc công việc không dùng được", "the day work ended is unusable"),
}


def _explain_step(step: FormulaStep, assignment: RetentionAssignment, *, english: bool) -> str:
    why = _BLOCKED_TEXT[assignment.blocked_reason][english] if assignment.blocked_reason else ""
    period = _period_words(assignment.years, "en" if english else "vi")
    spoken = {name: _spoken(value) if name in _TIMES else value for name, value in step.params.items()}
    texts = _NO_DAY_TEXT if step.step is Step.WORK_ENDED and not step.params["ended_on"] else _STEP_TEXT[step.step]
    return texts[english].format(**{**spoken, "period": period, "why": why})


_NO_DAY_TEXT: Final = (
    "Hồ sơ ghi công việc kết thúc lúc {closed_at}: không tính được ngày theo giờ Việt Nam.",
    "The dossier says work ended at {closed_at}: no day in Vietnamese time can be told from it.",
)
_TIMES: Final = frozenset({"closed_at", "ended_on"})


def _spoken(value: str | int | None) -> str:
    """Returns a day or moment of a formula as people write it, a moment with the zone it was given in."""
    if not isinstance(value, str):
        return ""
    at = datetime.fromisoformat(value)
    if len(value) == len("2025-03-28"):
        return f"{at:%d/%m/%Y}"
    zone = f"{at:%z}"
    return f"{at:%d/%m/%Y %H:%M}" + (f" UTC{zone[:3]}:{zone[3:5]}" if zone else "")


def _explain_rule(rule: AppliedRule, *, english: bool) -> str:
    period = _period_words(rule.years, "en" if english else "vi")
    if english:
        return f"Rule {rule.id} ({rule.title_en}): {period}. Basis: {rule.basis} [{rule.mark}]"
    return f"Quy tắc {rule.id} ({rule.title_vi}): {period}. Căn cứ: {rule.basis} [{rule.mark}]"


def _explain_conflict(conflict: Conflict, *, english: bool) -> str:
    rules, count = ", ".join(conflict.rule_ids), len(conflict.component_ids)
    if english:
        return f"Contradiction for {count} documents between the rules {rules}."
    return f"Mâu thuẫn đối với {count} tài liệu giữa các quy tắc {rules}."


def _explain_rule_set(assignment: RetentionAssignment, *, english: bool) -> str:
    name = f"{assignment.rule_set_id}/{assignment.rule_set_version} ({assignment.rule_set_digest})"
    if english:
        notes = "; examples only, not for disposal" if assignment.rule_set_sample else ""
        approval = "approved" if assignment.rule_set_approved else "not approved"
        return f"Rule set {name}: {approval}{notes}."
    notes = "; chỉ là ví dụ, không dùng để xét hủy" if assignment.rule_set_sample else ""
    approval = "đã được phê duyệt" if assignment.rule_set_approved else "chưa được phê duyệt"
    return f"Bộ quy tắc {name}: {approval}{notes}."
