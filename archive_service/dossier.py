"""dossier.json: what the resolution system says of a closed dossier (DESIGN section 5).

Fields and their tokens as agreed with senders. Unknown fields are taken, and the bytes as received go into the AIP, so nothing is
dropped. This module reads shape and types only; whether codes, dates and completeness hold is for `rules` and `ingest`.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from archive_service.digests import Digest, RunningDigest, canonical_parts
from archive_service.field_reasons import field_reason
from archive_service.findings import Finding
from archive_service.texts import NOT_PLAIN

DOSSIER_FILE_NAME = "dossier.json"
EARLIEST_YEAR, LATEST_YEAR = 1900, 2999
"""Years a dossier can speak of; beyond them neither time zones nor databases agree on a date."""
MAX_SIZE_BYTES = 2**50
"""Largest size a component or dossier can declare (1 PiB): a number every database holds."""
MAX_PAGES = 10_000_000
MAX_VALUES = 3_000_000
"""Most members and items dossier.json can hold: a dossier of 100,000 components has half of that. Small values take some hundred
bytes of memory each, many times their length in the file, so the limit on bytes alone would not bound it."""
MAX_REASONS = 1000
"""Findings on the items of one list after which no more are told: who gets these sees what is wrong."""
MAX_DEPTH = 64
"""How deep values can stand inside each other; what reads it later must not depend on how deep it was called itself."""


class Role(StrEnum):
    """What a component is in the dossier."""

    APPLICATION_FORM = "application_form"
    SUBMITTED = "submitted"
    DIGITISED = "digitised"
    RECEIPT = "receipt"
    SUPPLEMENT_REQUEST = "supplement_request"
    REFUSAL = "refusal"
    APOLOGY = "apology"
    STOP_NOTICE = "stop_notice"
    CONTROL_SHEET = "control_sheet"
    OPINION = "opinion"
    RESULT = "result"
    OTHER = "other"


class Origin(StrEnum):
    """How a component came to be (R010)."""

    E_FORM = "e_form"
    UPLOADED_SIGNED = "uploaded_signed"
    UPLOADED_SCAN = "uploaded_scan"
    CITED = "cited"
    SHARED = "shared"
    E_CERTIFIED_COPY = "e_certified_copy"
    DIGITISED = "digitised"
    ISSUED = "issued"


class Outcome(StrEnum):
    """How the procedure ended (R061)."""

    RESULT_RETURNED = "result_returned"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    STOPPED = "stopped"


class RecordStatus(StrEnum):
    """METS RECORDSTATUS of the push (R018)."""

    NEW = "NEW"
    SUPPLEMENT = "SUPPLEMENT"
    REPLACEMENT = "REPLACEMENT"


class ApplicantKind(StrEnum):
    """Who applied."""

    CITIZEN = "citizen"
    ORGANISATION = "organisation"


_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}.*", re.ASCII)
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _iso_time(value: Any) -> Any:
    # pydantic would take a number for seconds since 1970.
    if not isinstance(value, datetime) and not (isinstance(value, str) and _TIME.fullmatch(value)):
        raise ValueError("not an ISO 8601 time")
    return value


def _iso_date(value: Any) -> Any:
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if not (isinstance(value, str) and _DATE.fullmatch(value)):
        raise ValueError("not an ISO 8601 date")
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("empty")
    return value


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("a time zone is needed")
    if not EARLIEST_YEAR <= value.year <= LATEST_YEAR:
        raise ValueError(f"the year is not between {EARLIEST_YEAR} and {LATEST_YEAR}")
    return value


def _printable(value: str) -> str:
    if NOT_PLAIN.search(value):
        raise ValueError("control characters and characters that XML cannot carry are not allowed")
    return value


AwareTime = Annotated[datetime, BeforeValidator(_iso_time), AfterValidator(_aware)]
IsoDate = Annotated[date, BeforeValidator(_iso_date)]
Text = Annotated[str, AfterValidator(_printable)]
Line = Annotated[str, AfterValidator(_printable), AfterValidator(_not_blank), Field(min_length=1, max_length=1000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Applicant(_Part):
    """The person or organisation the dossier is about."""

    name: Line
    identifier: Text | None = None
    kind: ApplicantKind


@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="ignore"))
class Component:
    """One file of the dossier and what is said of it; a slotted value, as a dossier may name 100,000 (a model takes three times as much)."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
    path: Annotated[Text, Field(min_length=1, max_length=1000)]
    role: Role
    origin: Origin
    title: Line
    type_code: Annotated[str, Field(pattern=r"^[0-9]{2}$")]
    number: Text | None = None
    symbol: Text | None = None
    issued_on: IsoDate | None = None
    issuer: Text | None = None
    language: Text = "vi"
    pages: Annotated[int, Field(ge=0, le=MAX_PAGES, strict=True)] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]
    size_bytes: Annotated[int, Field(ge=0, le=MAX_SIZE_BYTES, strict=True)]
    result_ordinal: Annotated[int, Field(ge=1, le=MAX_PAGES, strict=True)] | None = None


class ProcessStep(_Part):
    """One step of the procedure, read-only history (R007)."""

    at: AwareTime
    actor: Line
    position: Text | None = None
    step: Line
    opinion: Text | None = None


class Dossier(_Part):
    """A closed dossier as pushed."""

    dossier_code: Annotated[Text, Field(min_length=1, max_length=100)]
    procedure_code: Annotated[Text, Field(min_length=1, max_length=100)]
    procedure_name: Line
    field: Line
    title: Line
    receiving_agency: Annotated[Text, Field(min_length=1, max_length=36)]
    settling_agency: Annotated[Text, Field(min_length=1, max_length=36)]
    archiving_agency: Annotated[Text, Field(min_length=1, max_length=36)]
    applicant: Applicant
    received_at: AwareTime
    due_at: AwareTime | None = None
    closed_at: AwareTime
    outcome: Outcome
    access_mode: Annotated[str, Field(pattern=r"^0[1-3]$")]
    declared_maintenance: Annotated[str, Field(pattern=r"^0[1-7]$")] | None = None
    record_status: RecordStatus = RecordStatus.NEW
    components: Annotated[list[Component], Field(min_length=1)]
    process: list[ProcessStep] = Field(default_factory=list)


def parse_json(content: bytes) -> tuple[Any, list[Finding]]:
    """Reads dossier.json bytes into a JSON value; on failure the value is None and a finding says why."""
    try:
        if (
            sum(map(content.count, (b"[", b"{", b","))) > MAX_VALUES
        ):  # before they take memory; commas in texts count, too
            raise ValueError(f"more than {MAX_VALUES} values")  # noqa: TRY301 - the reasons stand together below
        value = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_members, parse_constant=_refuse_constant)
        if content.count(b"[") + content.count(b"{") > MAX_DEPTH:
            _refuse_deeper(value)
        for _ in canonical_parts(value):
            pass  # every part is made, so that what cannot be is found here
    except RecursionError:
        return None, [_malformed(_TOO_DEEP)]
    except ValueError as exc:
        return None, [_malformed(str(exc)[:300])]
    return value, []


_TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels"


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = sorted(name for name, count in counts.items() if count > 1)
        raise ValueError(f"member {', '.join(twice)} stands twice")
    return members


def _refuse_constant(token: str) -> Any:
    raise ValueError(f"{token} is not JSON")


def _refuse_deeper(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inside = (part.values() if isinstance(part, dict) else part for part in level)
        level = [item for items in inside for item in items if isinstance(item, dict | list)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def _malformed(reason: str) -> Finding:
    return Finding(code="DOSSIER_JSON_MALFORMED", location=DOSSIER_FILE_NAME, params=field_reason(reason))


def parse_dossier(value: Any) -> tuple[Dossier | None, list[Finding]]:
    """Reads a JSON value into a dossier; every malformed field becomes one finding with its JSON pointer, of very many the first."""
    read, findings = _read_long_lists(value) if isinstance(value, dict) else (value, [])
    try:
        dossier = Dossier.model_validate(read)
    except ValidationError as exc:
        told_already = {finding.location.split("/")[1] for finding in findings}
        problems = [p for p in exc.errors(include_url=False) if not p["loc"] or p["loc"][0] not in told_already]
        return None, [*map(_invalid_field, problems), *findings]
    return (None, findings) if findings else (dossier, [])


_LISTS: Final[Mapping[str, TypeAdapter[Any]]] = MappingProxyType(
    {"components": TypeAdapter(list[Component]), "process": TypeAdapter(list[ProcessStep])}
)
"""Members that may hold very many items. Long ones are read some items at a time: a small file of empty items must not become
millions of findings."""
_ITEMS_TOGETHER: Final = 500


def _read_long_lists(value: dict[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """Returns the value with the items of long lists read, without a list in which something is wrong; and what that is."""
    read = dict(value)
    findings: list[Finding] = []
    for name, items in _LISTS.items():
        given = value.get(name)
        if not isinstance(given, list) or len(given) <= _ITEMS_TOGETHER:
            continue
        read[name], problems = _read_items(name, items, given)
        if problems:
            del read[name]
            findings += problems
    return read, findings


def _read_items(name: str, items: TypeAdapter[Any], given: list[Any]) -> tuple[list[Any], list[Finding]]:
    """Returns the items as values and what is wrong with others, about `MAX_REASONS` findings at most."""
    taken: list[Any] = []
    findings: list[Finding] = []
    for begin in range(0, len(given), _ITEMS_TOGETHER):
        if len(findings) >= MAX_REASONS:
            reason = f"more than {MAX_REASONS} fields are not valid, the others are not told"
            findings.append(Finding(code="DOSSIER_FIELD_INVALID", location=f"/{name}", params=field_reason(reason)))
            break
        try:
            taken += items.validate_python(given[begin : begin + _ITEMS_TOGETHER])
        except ValidationError as exc:
            for problem in exc.errors(include_url=False)[:MAX_REASONS]:
                place, *inside = problem["loc"]
                problem["loc"] = (name, begin + int(place), *inside)
                findings.append(_invalid_field(problem))
    return taken, findings


def _invalid_field(problem: ErrorDetails) -> Finding:
    return Finding(
        code="DOSSIER_FIELD_INVALID",
        location="/" + "/".join(map(str, problem["loc"])),
        params=field_reason(problem["msg"], problem["type"], problem.get("ctx")),
    )


def content_digest(value: Any) -> Digest:
    """Returns the identity of a dossier's content: the digest of the canonical form of dossier.json, which names each file's digest."""
    running = RunningDigest()
    for part in canonical_parts(value):
        running.update(part)
    return running.digest()
