"""What a certified paper copy says about itself, and the words it says it with (R105-R108, R113)."""

import hashlib
import unicodedata
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from archive_service.clock import LEGAL_ZONE, require_aware
from archive_service.digests import Digest
from archive_service.resources import profiles_dir
from archive_service.rules import rule_files

SHEET_CODE_PREFIX: Final = b"archive-service/copy-sheet/1\x00"
"""Domain separation of sheet codes. Never changes: paper carries them."""

SHEET_CODE_HEX: Final = 16
"""Hex digits of a sheet code on paper: 64 bits, more than anyone can try against the verification page."""


MAX_LINE_CHARACTERS: Final = 200
"""Two lines of the footer; no name of an agency or a system is longer."""

MAX_TITLE_CHARACTERS: Final = 1000
"""As long as a title in dossier.json may be."""


class CopyForm(StrEnum):
    """Forms of copy (NĐ 30/2020 Điều 25)."""

    SAO_Y = "SAO_Y"
    """The whole document, from the original."""
    SAO_LUC = "SAO_LUC"
    """The whole document, from a copy."""
    TRICH_SAO = "TRICH_SAO"
    """An extract."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyMarks:
    """Everything printed on a certified paper copy besides the original's pages.

    Texts are single lines; what is longer than a sheet can hold is refused here or by the renderer, never cut.

    Raises:
        ValueError: `issued_at` is naive, `number` is below 1, or a text is empty, too long or has control characters.
    """

    copy_code: str
    """Code of this copy in the register; the verification page answers to it."""
    verify_url: str
    """Address in the QR code and in the footer, such as `https://luutru.example.gov.vn/verify/{copy_code}`."""
    form: CopyForm = CopyForm.SAO_Y
    number: int
    """Of the copy in the agency's one yearly series, from 1."""
    symbol: str
    """After the number: abbreviation of form and agency, such as `SY-STNMT`."""
    agency_name: str
    """The copying (converting) agency."""
    parent_agency_name: str | None = None
    """The agency above it, printed over its name."""
    place: str
    """Place name before the date, such as `Thanh Hóa`."""
    issued_at: datetime
    """Time of conversion; printed as a date in words and as ISO 8601 in Vietnamese time."""
    converter_name: str
    """Full name of the person who converts (NĐ 137/2024 Điều 5)."""
    converter_position: str
    signer_name: str | None = None
    """Full name of the person who signs for the agency; None when the converter signs."""
    signer_position: str | None = None
    """Position of the signer, with authority such as `KT. GIÁM ĐỐC` where it applies."""
    recipients: tuple[str, ...] = ()
    """Nơi nhận, one line each."""
    system_name: str
    """The information system that holds the original."""
    owner_name: str
    """Its owner (cơ quan chủ quản)."""
    dossier_code: str
    procedure_code: str | None = None
    """Mã thủ tục hành chính; goes into the QR code only."""
    result_code: str | None = None
    """`{mã hồ sơ}-KQ(n)` when the original is a result."""
    archive_code: str
    """Mã lưu trữ tài liệu gốc (TT 05/2025 Điều 13-16)."""
    document_title: str
    """Title of the original, as archived."""
    document_number: str | None = None
    """Number and symbol of the original, as archived."""
    original_digest: Digest
    """Of the archived file; the file handed in must have it."""
    signature_notes: tuple[str, ...] = ()
    """One line per electronic signature of the original, as the archive verified it.

    Paper cannot show them otherwise.
    """

    def __post_init__(self) -> None:
        require_aware(self.issued_at)
        if self.number < 1:
            raise ValueError(f"copies are numbered from 1, got {self.number}")
        for field in fields(self):
            value = getattr(self, field.name)
            lines = value if isinstance(value, tuple) else (value,)
            for line in lines:
                if isinstance(line, str) and not isinstance(line, StrEnum):
                    _require_line(field.name, line)

    @property
    def number_text(self) -> str:
        """Number with symbol as printed: `01/SY-STNMT` (numbers below 10 with a leading zero)."""
        return f"{self.number:02d}/{self.symbol}"

    @property
    def issued_local(self) -> datetime:
        """Time of conversion in the legal time zone."""
        return self.issued_at.astimezone(LEGAL_ZONE)

    def sheet_code(self, sheet: int) -> str:
        """Returns the code printed on sheet number `sheet`, from 1.

        It binds the sheet to this copy and to the original's bytes, so that the verification page can tell a sheet of
        another copy; anyone who has the original's digest can compute it.
        """
        told = f"{self.copy_code}\x00{self.original_digest}\x00{sheet}".encode()
        code = hashlib.sha256(SHEET_CODE_PREFIX + told).hexdigest()[:SHEET_CODE_HEX]
        return "-".join(code[start : start + 4] for start in range(0, SHEET_CODE_HEX, 4))


def _require_line(name: str, line: str) -> None:
    limit = MAX_TITLE_CHARACTERS if name == "document_title" else MAX_LINE_CHARACTERS
    if not 0 < len(line.strip()) <= limit:
        raise ValueError(f"{name}: 1 to {limit} characters are needed, got {len(line)}")
    if any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for char in line):
        raise ValueError(f"{name}: control, invisible and unassigned characters are not printed")


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyWords:
    """One version of the words printed on copies."""

    version: str
    digest: Digest
    """Of the file's bytes; goes into the register (R145)."""
    forms: dict[str, str]
    words: dict[str, str]
    qr: "QrContent"


@dataclass(frozen=True, slots=True, kw_only=True)
class QrContent:
    """What the QR code holds besides the verification address (R113)."""

    fields: tuple[tuple[str, str], ...] = ()
    """Key in the code and name of the mark, most important first."""
    max_bytes: int = 0
    """Longest content in UTF-8; what does not fit is cut or left out, never the address."""
    error_level: str = "Q"
    """ISO/IEC 18004 error correction: L, M, Q or H."""

    def text(self, marks: "CopyMarks") -> str:
        """Returns the address with the data as its fragment: it opens like the address alone, and the fragment is not sent to the server."""
        content, joint = marks.verify_url, "#"
        for key, name in self.fields:
            value = getattr(marks, name)
            if value is None:
                continue
            part = _fitting(f"{joint}{key}=", str(value), self.max_bytes - len(content.encode()))
            if part:
                content, joint = content + part, "&"
        return content


def _fitting(head: str, value: str, room_bytes: int) -> str:
    """Returns `head` with as much of the value as there is room for, "" when that would be less than a few letters."""
    shown = unicodedata.normalize("NFC", value)
    text = head + _iri(shown)
    while len(text.encode()) > room_bytes and len(shown) > SHORTEST_CUT:
        shown = shown[:-1].rstrip()
        text = f"{head}{_iri(shown)}…"
    return text if len(text.encode()) <= room_bytes else ""


def _iri(value: str) -> str:
    """Returns a value for an IRI fragment (RFC 3987): letters of any script as they are, blanks as "+", what would part it escaped."""
    return "".join(f"%{ord(char):02X}" if char in "%&#+=/?" else "+" if char == " " else char for char in value)


SHORTEST_CUT: Final = 8
"""A value is not cut below this many characters: less tells nobody anything."""


def load_words(version: str | None = None) -> CopyWords:
    """Reads `profiles/copies/<version>.toml`; the newest version when none is named.

    Raises:
        ConfigurationInvalid: no such version, or the file is malformed; the message names every place.
    """
    path = rule_files.versioned_path(profiles_dir() / "copies", version)
    raw, digest = rule_files.read(path, _WordsFile)
    return CopyWords(
        version=raw.version,
        digest=digest,
        forms={form.value: words for form, words in raw.forms.items()},
        words=raw.words.model_dump(),
        qr=QrContent(
            fields=tuple((item.key, item.value) for item in raw.qr.fields),
            max_bytes=raw.qr.max_bytes,
            error_level=raw.qr.error_level,
        ),
    )


@cache
def default_words() -> CopyWords:
    """Returns the newest shipped words, read once per process.

    Raises:
        ConfigurationInvalid: the file is malformed.
    """
    return load_words()


_Word = Annotated[str, Field(min_length=1, max_length=200)]


class _WordsInFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    conversion_heading: _Word
    archive_code: _Word
    mark_in_words: _Word
    system: _Word
    owner: _Word
    dossier_code: _Word
    result_code: _Word
    converted_at: _Word
    converter: _Word
    lookup: _Word
    number: _Word
    recipients: _Word
    signature_space: _Word
    document: _Word
    copy_code: _Word
    digest: _Word
    extent: _Word
    pages: _Word
    sheets: _Word
    signatures: _Word
    sheet: _Word
    original_page: _Word
    scale: _Word
    attestation_sheet: _Word
    sheet_code: _Word


class _QrField(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    key: Annotated[str, Field(pattern=r"^[a-z]{1,10}$")]
    value: Literal["dossier_code", "procedure_code", "result_code", "archive_code", "document_title", "number_text"]


class _QrInFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    fields: tuple[_QrField, ...] = ()
    max_bytes: Annotated[int, Field(ge=0, le=600)] = 0
    error_level: Literal["L", "M", "Q", "H"] = "Q"


class _WordsFile(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    forms: dict[CopyForm, _Word]
    words: _WordsInFile
    qr: _QrInFile = _QrInFile()
