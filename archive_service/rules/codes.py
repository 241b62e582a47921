"""Codes, dates, lists and lengths of a dossier: every reason at once, never the first only (R002-R009, R016, R040).

Linear in the number of components; pure. Patterns and lists are dated data (code_profile.py).
"""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from typing import Final

from archive_service.clock import civil_date, require_aware
from archive_service.dossier import Component, Dossier, Role
from archive_service.findings import Finding
from archive_service.rules.code_profile import Agency, CodeProfile, default_code_profile, load_code_profile
from archive_service.rules.component_paths import check_component_paths, shown

__all__ = [
    "CodeProfile",
    "agency_groups",
    "agency_level",
    "check_codes",
    "default_code_profile",
    "load_code_profile",
    "result_code",
]

Params = dict[str, str | int | float | bool | None]

VERIFIED: Final = "V"
"""Mark of a code form that stands in a legal text that was read."""

CENTURY: Final = 2000
"""Dossier codes write the year with two digits; the codes exist since 2018."""

LEGACY_GROUPS: Final = 4
"""QCVN 102:2016 codes always have four groups."""

_LEVEL_1: Final = re.compile(r"[A-Y][0-9]{2}", re.ASCII)
"""QĐ 20/2020 Điều 4: MX1X2."""

AGENCY_FIELDS: Final = ("receiving_agency", "settling_agency", "archiving_agency")
_DOC_ORDINAL_DIGITS: Final = 7
"""TT 05/2025: docCode is the file's code and a seven-digit ordinal."""


def result_code(dossier_code: str, ordinal: int) -> str:
    """Returns the code of the n-th result, `{mã hồ sơ}-KQ(n)` (NĐ 45/2020 Điều 14 khoản 3).

    Raises:
        ValueError: `ordinal` is below 1.
    """
    if ordinal < 1:
        raise ValueError(f"result ordinals start at 1, got {ordinal}")
    return f"{dossier_code}-KQ({ordinal})"


def agency_groups(code: str) -> tuple[str, ...] | None:
    """Returns the groups of an agency code from level 1 down, whichever of the two orders it is written in.

    `H40.16` (QĐ 20/2020) and `000.00.16.H40` (QCVN 102:2016, where zero groups are levels not used) both give `("H40",
    "16")`. None when neither end is a level-1 group, as for `Zxy…` codes (QĐ 20/2020 Điều 6).
    """
    groups = code.split(".")
    if not _LEVEL_1.fullmatch(groups[0]):
        if len(groups) != LEGACY_GROUPS or not _LEVEL_1.fullmatch(groups[-1]):
            return None
        groups.reverse()
        while not groups[-1].strip("0"):
            groups.pop()
    return tuple(groups)


def is_agency_code(code: str) -> bool:
    """Returns whether a text has a form that agency codes have or had (R009)."""
    return any(form.pattern.fullmatch(code) for form in default_code_profile().agency_codes)


def agency_level(code: str) -> int | None:
    """Returns the level of an agency: 1 province or ministry, 2 below it, and so on.

    None when the code has no levels.
    """
    groups = agency_groups(code)
    return None if groups is None else len(groups)


def check_codes(dossier: Dossier, *, at: datetime, profile: CodeProfile) -> tuple[Finding, ...]:
    """Returns every way in which codes, dates, lists and lengths do not conform, judged at the moment `at`.

    1. Dossier code: form in force on the day of reception, real date inside, equal to the day of reception (R003).
    2. Procedure code and agency codes: form, list, validity (R008, R009).
    3. Order of dates; nothing in the future (R061 rests on them).
    4. Results: ordinals from 1 without gap or reuse (R004).
    5. Components: ids once, paths safe and distinct, listed types, lengths of the EAD fields (R040), repeated documents
       (R017).

    Raises:
        ValueError: `at` is naive.
    """
    require_aware(at)
    return (
        *_dossier_code(dossier, profile),
        *_procedure_code(dossier, profile),
        *_agencies(dossier, profile),
        *check_dates(dossier, at=at, profile=profile),
        *_results(dossier),
        *_lists(dossier, profile),
        *_lengths(dossier, profile),
        *_ids(dossier),
        *check_component_paths(dossier.components),
        *_repeated(dossier),
    )


def _civil(moment: datetime) -> date | None:
    """Returns the Vietnamese civil date, or None in the few hours at the ends of the calendar that have none."""
    try:
        return civil_date(moment)
    except OverflowError:
        return None


# ------------------------------------------------------------------ dossier and procedure code


def _dossier_code(dossier: Dossier, profile: CodeProfile) -> Iterator[Finding]:
    code = dossier.dossier_code
    matches = [(form, match) for form in profile.dossier_codes if (match := form.pattern.fullmatch(code))]
    if not matches:
        yield Finding(code="DOSSIER_CODE_INVALID", location="/dossier_code", params={"value": shown(code)})
        return
    received_on = _civil(dossier.received_at)
    in_force = [pair for pair in matches if received_on is not None and pair[0].in_force(received_on)]
    form, match = (in_force or matches)[0]
    if not in_force:
        params: Params = {"value": code, "form": form.id, "received_on": str(received_on)}
        yield Finding(code="DOSSIER_CODE_NOT_IN_FORCE", location="/dossier_code", params=params)
    if form.mark != VERIFIED:
        params = {"value": code, "form": form.id, "mark": form.mark}
        yield Finding(code="DOSSIER_CODE_FORM_UNCONFIRMED", location="/dossier_code", params=params)
    yield from _date_in_code(code, match["date"], received_on)
    yield from _agency_in_code(dossier, match["agency"])


def _date_in_code(code: str, yymmdd: str, received_on: date | None) -> Iterator[Finding]:
    try:
        in_code = date(CENTURY + int(yymmdd[:2]), int(yymmdd[2:4]), int(yymmdd[4:6]))
    except ValueError:
        params: Params = {"value": code, "date": yymmdd}
        yield Finding(code="DOSSIER_CODE_DATE_INVALID", location="/dossier_code", params=params)
        return
    if in_code != received_on:
        params = {"value": code, "date": in_code.isoformat(), "received_on": str(received_on)}
        yield Finding(code="DOSSIER_CODE_DATE_MISMATCH", location="/dossier_code", params=params)


def _agency_in_code(dossier: Dossier, in_code: str) -> Iterator[Finding]:
    named = {agency_groups(dossier.receiving_agency), agency_groups(dossier.settling_agency)}
    if agency_groups(in_code) not in named:
        params: Params = {"agency": in_code, "receiving_agency": shown(dossier.receiving_agency)}
        yield Finding(code="DOSSIER_CODE_AGENCY_MISMATCH", location="/dossier_code", params=params)


def _procedure_code(dossier: Dossier, profile: CodeProfile) -> Iterator[Finding]:
    if not profile.procedure_code.fullmatch(dossier.procedure_code):
        params: Params = {"value": shown(dossier.procedure_code)}
        yield Finding(code="PROCEDURE_CODE_UNUSUAL", location="/procedure_code", params=params)


# ------------------------------------------------------------------ agencies


def _agencies(dossier: Dossier, profile: CodeProfile) -> Iterator[Finding]:
    for field in AGENCY_FIELDS:
        code: str = getattr(dossier, field)
        location = f"/{field}"
        if not any(form.pattern.fullmatch(code) for form in profile.agency_codes):
            yield Finding(code="AGENCY_CODE_INVALID", location=location, params={"value": shown(code)})
            continue
        listed = _listed(code, profile)
        on = _civil(dossier.received_at if field == "receiving_agency" else dossier.closed_at)
        if not listed:
            yield Finding(code="AGENCY_CODE_UNKNOWN", location=location, params={"value": code})
        elif on is not None and not any(agency.in_force(on) for agency in listed):
            yield Finding(code="AGENCY_CODE_NOT_IN_FORCE", location=location, params=_not_in_force(code, on, listed))


def _listed(code: str, profile: CodeProfile) -> tuple[Agency, ...]:
    """Returns the entries for the agency, or for the nearest one above it whose units are not listed singly."""
    groups = agency_groups(code)
    if groups is None:
        return profile.agencies.get(code, ())
    if entries := profile.agencies.get(".".join(groups)):
        return entries
    for depth in range(len(groups) - 1, 0, -1):
        if above := profile.agencies.get(".".join(groups[:depth])):
            return tuple(agency for agency in above if agency.covers_below)
    return ()


def _not_in_force(code: str, on: date, listed: tuple[Agency, ...]) -> Params:
    successors = sorted({successor for agency in listed for successor in agency.successors})
    return {"value": code, "name": listed[0].name, "on": on.isoformat(), "successors": ", ".join(successors) or "?"}


# ------------------------------------------------------------------ dates


def check_dates(dossier: Dossier, *, at: datetime, profile: CodeProfile) -> Iterator[Finding]:
    """Yields dates out of order and dates after `at` plus the clock skew the profile allows."""
    latest = at + profile.clock_skew
    moments = [("/received_at", dossier.received_at), ("/closed_at", dossier.closed_at)]
    moments += [(f"/process/{number}/at", step.at) for number, step in enumerate(dossier.process)]
    for location, moment in moments:
        if moment > latest:
            params: Params = {"value": moment.isoformat(), "at": at.isoformat(timespec="seconds")}
            yield Finding(code="DATE_IN_FUTURE", location=location, params=params)
    if dossier.closed_at < dossier.received_at:
        yield _out_of_order("/closed_at", dossier.received_at, dossier.closed_at)
    if dossier.due_at is not None and dossier.due_at < dossier.received_at:
        yield _out_of_order("/due_at", dossier.received_at, dossier.due_at)
    yield from _process_dates(dossier, profile)
    yield from _issue_dates(dossier, latest)


def _out_of_order(location: str, earlier: datetime, later: datetime) -> Finding:
    params: Params = {"earlier": earlier.isoformat(), "later": later.isoformat()}
    return Finding(code="DATE_ORDER", location=location, params=params)


def _process_dates(dossier: Dossier, profile: CodeProfile) -> Iterator[Finding]:
    for number, step in enumerate(dossier.process):
        # differences, not shifted moments: those would leave the calendar at its ends
        early, late = dossier.received_at - step.at, step.at - dossier.closed_at
        if max(early, late) > profile.clock_skew:
            params: Params = {"value": step.at.isoformat(), "step": shown(step.step)}
            yield Finding(code="PROCESS_DATE_OUTSIDE", location=f"/process/{number}/at", params=params)


def _issue_dates(dossier: Dossier, latest: datetime) -> Iterator[Finding]:
    today = _civil(latest)
    for part in dossier.components:
        if part.issued_on is not None and today is not None and part.issued_on > today:
            params: Params = {"value": part.issued_on.isoformat(), "at": today.isoformat()}
            yield Finding(code="DATE_IN_FUTURE", location=part.id, params=params)


# ------------------------------------------------------------------ results


def _results(dossier: Dossier) -> Iterator[Finding]:
    used: dict[int, str] = {}
    for part in dossier.components:
        if part.role is not Role.RESULT:
            if part.result_ordinal is not None:
                yield Finding(code="RESULT_ORDINAL_UNEXPECTED", location=part.id, params={"role": part.role.value})
        elif part.result_ordinal is None:
            yield Finding(code="RESULT_ORDINAL_MISSING", location=part.id)
        elif part.result_ordinal in used:
            params: Params = {"ordinal": part.result_ordinal, "other": used[part.result_ordinal]}
            yield Finding(code="RESULT_ORDINAL_REUSED", location=part.id, params=params)
        else:
            used[part.result_ordinal] = part.id
    # n results are numbered 1 to n: the lowest missing number says where the first gap is, whatever the size of the
    # numbers
    missing = next((number for number in range(1, len(used) + 1) if number not in used), None)
    if missing is not None:
        params = {"missing": missing, "code": result_code(dossier.dossier_code, missing)}
        yield Finding(code="RESULT_ORDINAL_GAP", location="/components", params=params)


# ------------------------------------------------------------------ lists, lengths, repetition


def _lists(dossier: Dossier, profile: CodeProfile) -> Iterator[Finding]:
    if dossier.access_mode not in profile.lists["access_mode"]:
        yield Finding(code="ACCESS_MODE_UNKNOWN", location="/access_mode", params={"value": dossier.access_mode})
    declared = dossier.declared_maintenance
    if declared is not None and declared not in profile.lists["maintenance"]:
        yield Finding(code="MAINTENANCE_UNKNOWN", location="/declared_maintenance", params={"value": declared})
    for part in dossier.components:
        if part.type_code not in profile.lists["type_code"]:
            yield Finding(code="TYPE_CODE_UNKNOWN", location=part.id, params={"value": part.type_code})


def _lengths(dossier: Dossier, profile: CodeProfile) -> Iterator[Finding]:
    arc_file_code = f"{dossier.archiving_agency}.{dossier.dossier_code}"
    doc_code = f"{arc_file_code}.{'0' * _DOC_ORDINAL_DIGITS}"
    yield from _too_long("/title", "title", dossier.title, profile)
    yield from _too_long("/dossier_code", "arc_file_code", arc_file_code, profile)
    yield from _too_long("/dossier_code", "doc_code", doc_code, profile)
    for part in dossier.components:
        for name, value in _document_fields(part):
            yield from _too_long(part.id, name, value, profile)


def _document_fields(part: Component) -> tuple[tuple[str, str | None], ...]:
    return (
        ("subject", part.title),
        ("code_number", part.number),
        ("code_notation", part.symbol),
        ("organ_name", part.issuer),
        ("language", part.language),
    )


def _too_long(location: str, field: str, value: str | None, profile: CodeProfile) -> Iterator[Finding]:
    limit = profile.lengths[field]
    if value is not None and len(value) > limit:
        yield Finding(
            code="FIELD_TOO_LONG", location=location, params={"field": field, "length": len(value), "limit": limit}
        )


def _ids(dossier: Dossier) -> Iterator[Finding]:
    counts = Counter(part.id for part in dossier.components)
    for component_id, count in counts.items():
        if count > 1:
            yield Finding(code="COMPONENT_ID_DUPLICATE", location=component_id, params={"count": count})


def _repeated(dossier: Dossier) -> Iterator[Finding]:
    """Yields documents whose bytes or whose number, symbol and issuer stand in the dossier before (R017)."""
    by_content: dict[str, str] = {}
    by_number: dict[tuple[str, str, str], str] = {}
    for part in dossier.components:
        first = by_content.setdefault(part.sha256.lower(), part.id)
        if first != part.id:
            yield Finding(code="COMPONENT_CONTENT_REPEATED", location=part.id, params={"other": first})
        if not (part.number and part.symbol and part.issuer):
            continue
        first = by_number.setdefault((part.number, part.symbol, part.issuer), part.id)
        if first != part.id:
            params: Params = {"other": first, "number": f"{part.number}/{part.symbol}", "issuer": part.issuer}
            yield Finding(code="DOCUMENT_NUMBER_REPEATED", location=part.id, params=params)
