"""dossier.json: what the resolution system says of a closed dossier (DESIGN section 5).

Fields and their tokens as agreed with senders. Unknown fields are taken, and the bytes as received go into the AIP, so nothing is
dropped. This module reads shape and types only; whether codes, dates and completeness hold is for `rules` and `ingest`.
"""

import json
import re
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from archive_service.digests import Digest, canonical_json, digest_bytes
from archive_service.field_reasons import field_reason
from archive_service.findings import Finding
from archive_service.texts import NOT_PLAIN

DOSSIER_FILE_NAME = "dossier.json"
EARLIEST_YEAR, LATEST_YEAR = 1900, 2999
"""Years a dossier can speak of; beyond them neither time zones nor databases agree on a date."""
MAX_SIZE_BYTES = 2**50
"""Largest size a component or dossier can declare (1 PiB): a number every database holds."""
MAX_PAGES = 10_000_000


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

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            twice = sorted({name for name, _ in pairs if sum(other == name for other, _ in pairs) > 1})
            raise ValueError(f"member {', '.join(twice)} stands twice")
        return members

    def refuse_constant(token: str) -> Any:
        raise ValueError(f"{token} is not JSON")

    try:
        value = json.loads(
            content.decode("utf-8-sig"), object_pairs_hook=refuse_duplicates, parse_constant=refuse_constant
        )
        canonical_json(value)
    except (ValueError, RecursionError) as exc:
        return None, [
            Finding(code="DOSSIER_JSON_MALFORMED", location=DOSSIER_FILE_NAME, params={"reason": str(exc)[:300]})
        ]
    return value, []


def parse_dossier(value: Any) -> tuple[Dossier | None, list[Finding]]:
    """Reads a JSON value into a dossier; every malformed field becomes one finding with its JSON pointer."""
    try:
        return Dossier.model_validate(value), []
    except ValidationError as exc:
        return None, [
            Finding(
                code="DOSSIER_FIELD_INVALID",
                location="/" + "/".join(map(str, problem["loc"])),
                params=field_reason(problem["msg"], problem["type"], problem.get("ctx")),
            )
            for problem in exc.errors(include_url=False)
        ]


def content_digest(value: Any) -> Digest:
    """Returns the identity of a dossier's content: the digest of the canonical form of dossier.json, which names each file's digest."""
    return digest_bytes(canonical_json(value))
