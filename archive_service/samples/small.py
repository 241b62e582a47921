"""Dossiers without signatures, made in milliseconds: for tests of other parts and for benchmarks.

They have the right shape, digests and sizes, but no signed result, so a full check finds that. Realistic ones, good and
bad, are made by `archive_service.samples.dossiers`.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from archive_service.clock import LEGAL_ZONE, require_aware
from archive_service.digests import CHUNK_BYTES, RunningDigest, digest_bytes
from archive_service.dossier import DOSSIER_FILE_NAME

DEFAULT_CODE: Final = "000.00.16.H56-250314-0042"
DEFAULT_CLOSED_AT: Final = datetime(2025, 3, 28, 9, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleDossier:
    """One dossier that was made, and what a check of it should say."""

    folder: Path
    """Where dossier.json and the files are; for a ZIP form, the folder it was made from."""
    dossier_code: str
    title: str
    kind: str
    """What was made: the procedure's key, or the kind of a small dossier."""
    good: bool
    fault: str | None = None
    """Kind of fault, a key of `faults.EXPECTED_CODES`; None for a good one."""
    expected_codes: frozenset[str] = frozenset()
    """Finding (or problem) codes that the checks should raise because of the fault, among perhaps others."""
    form: str = "folder"
    """"folder" or "zip": how it is meant to be handed over."""
    zip_path: Path | None = None

    @property
    def handed_over(self) -> Path:
        """The path to hand over: the ZIP where there is one, else the folder."""
        return self.zip_path or self.folder


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFile:
    """One component with its bytes, before the dossier is written."""

    id: str
    path: str
    role: str
    origin: str
    title: str
    content: bytes
    type_code: str = "32"
    number: str | None = None
    symbol: str | None = None
    issued_on: str | None = None
    issuer: str | None = None
    pages: int | None = 1
    result_ordinal: int | None = None
    extra: tuple[tuple[str, Any], ...] = ()  # JSON members of any kind that a sender adds

    def described(self) -> dict[str, Any]:  # a JSON object
        """Returns the component's entry in dossier.json."""
        entry: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "id",
                "path",
                "role",
                "origin",
                "title",
                "type_code",
                "number",
                "symbol",
                "issued_on",
                "issuer",
            )
        }
        entry |= {"language": "vi", "pages": self.pages, "sha256": digest_bytes(self.content).hex}
        entry |= {"size_bytes": len(self.content), "result_ordinal": self.result_ordinal}
        return entry | dict(self.extra)


def write_dossier(folder: Path, head: dict[str, Any], files: Iterable[SampleFile]) -> None:
    """Writes a dossier folder: each file, then dossier.json, which is `head` with the files as components."""
    parts = list(files)
    for part in parts:
        path = folder / part.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part.content)
    write_json(folder, head | {"components": [part.described() for part in parts]})


def write_json(folder: Path, value: dict[str, Any]) -> None:
    """Writes dossier.json, readable, UTF-8."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, indent=2)
    (folder / DOSSIER_FILE_NAME).write_text(text + "\n", encoding="utf-8")


def tiny_pdf(text: str, *, filler: bytes = b"") -> bytes:
    """Returns a one-page PDF 1.4 of about 700 bytes that shows `text` (ASCII only).

    `filler` goes into a stream that no page uses, to make the file as large as a test needs it.
    """
    shown = text.encode("ascii", "replace").translate(None, b"\\()")
    stream = b"BT /F1 14 Tf 72 770 Td (" + shown + b") Tj ET"
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    if filler:
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(filler), filler))
    return _pdf(objects)


def _pdf(objects: Iterable[bytes]) -> bytes:
    out = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(offsets) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(offsets) + 1, start)
    return bytes(out)


def small_head(
    code: str, *, closed_at: datetime = DEFAULT_CLOSED_AT, outcome: str = "withdrawn", **changes: Any
) -> dict[str, Any]:  # JSON
    """Returns the members of a plausible dossier.json without components; `changes` replace or add members.

    The reception date is the one in `code` where it has one (R003), else 14 days before `closed_at`.
    """
    received = _received_at(code, require_aware(closed_at))
    agency = code.rsplit("-", 2)[0]
    head: dict[str, Any] = {
        "dossier_code": code,
        "procedure_code": "1.002891.000.00.00.H56",
        "procedure_name": "Đăng ký thành lập hộ kinh doanh",
        "field": "Thành lập và hoạt động của hộ kinh doanh",
        "title": f"Hồ sơ đăng ký hộ kinh doanh của ông Đặng Quốc Ưng ({code})",
        "receiving_agency": agency,
        "settling_agency": agency,
        "archiving_agency": "H56.16",
        "applicant": {"name": "Đặng Quốc Ưng", "identifier": "038085001234", "kind": "citizen"},
        "received_at": received.isoformat(),
        "due_at": (received + timedelta(days=21)).isoformat(),
        "closed_at": max(closed_at.astimezone(LEGAL_ZONE), received + timedelta(hours=6)).isoformat(),
        "outcome": outcome,
        "access_mode": "02",
        "declared_maintenance": None,
        "record_status": "NEW",
        "process": [
            {
                "at": received.isoformat(),
                "actor": "Lê Thị Mỹ Hạnh",
                "position": "Công chức một cửa",
                "step": "Tiếp nhận hồ sơ",
                "opinion": None,
            }
        ],
    }
    return head | changes


def _received_at(code: str, closed_at: datetime) -> datetime:
    digits = code.rsplit("-", 2)[1:2]
    try:
        day = datetime.strptime(digits[0], "%y%m%d").replace(tzinfo=LEGAL_ZONE)
    except (IndexError, ValueError):  # a code without a date, as tests of bad codes use
        day = (closed_at - timedelta(days=14)).astimezone(LEGAL_ZONE)
    return day.replace(hour=8, minute=15)


def minimal_dossier(
    target: Path,
    *,
    code: str = DEFAULT_CODE,
    outcome: str = "withdrawn",
    closed_at: datetime = DEFAULT_CLOSED_AT,
    **changes: Any,
) -> SampleDossier:  # JSON members
    """Writes a tiny complete dossier (no signatures, about 5 KB) to `target / code`.

    It holds a form, a receipt and a control sheet; with `outcome="result_returned"` also an unsigned result. `changes`
    replace or add top-level members of dossier.json, for example `title=…`, `applicant={…}`, `process=[…]`.
    """
    files = [
        _small("c01", "application_form", "e_form", "Don de nghi", tiny_pdf(f"Don de nghi {code}")),
        _small(
            "c02", "receipt", "issued", "Giay tiep nhan ho so va hen tra ket qua", tiny_pdf(f"Giay tiep nhan {code}")
        ),
        _small("c03", "control_sheet", "issued", "Phieu kiem soat qua trinh", tiny_pdf(f"Phieu kiem soat {code}")),
    ]
    if outcome == "result_returned":
        content = tiny_pdf(f"Giay chung nhan {code}")
        files.append(_small("c04", "result", "issued", "Giay chung nhan", content, result_ordinal=1))
    return _written(target, code, "minimal", files, small_head(code, closed_at=closed_at, outcome=outcome, **changes))


def eight_file_dossier(
    target: Path, *, code: str = DEFAULT_CODE, total_bytes: int = 1_500_000, seed: int = 8
) -> SampleDossier:
    """Writes an unsigned dossier of eight PDF files that together have about `total_bytes` to `target / code`.

    The bulk of each file is incompressible seeded noise in a stream no page uses, so that nothing is fast by accident.
    """
    roles = (
        ("application_form", "e_form", "Đơn đề nghị"),
        ("digitised", "digitised", "Căn cước công dân"),
        ("digitised", "digitised", "Giấy chứng nhận quyền sử dụng đất"),
        ("submitted", "uploaded_scan", "Hợp đồng thuê địa điểm"),
        ("receipt", "issued", "Giấy tiếp nhận hồ sơ và hẹn trả kết quả"),
        ("control_sheet", "issued", "Phiếu kiểm soát quá trình giải quyết hồ sơ"),
        ("opinion", "issued", "Ý kiến thẩm định"),
        ("result", "issued", "Giấy chứng nhận đăng ký hộ kinh doanh"),
    )
    noise = random.Random(f"{seed} {code}")  # noqa: S311 - filler, not a secret
    files = []
    for number, (role, origin, title) in enumerate(roles, start=1):
        content = tiny_pdf(f"{role} {code}", filler=noise.randbytes(max(1, total_bytes // len(roles) - 800)))
        ordinal = 1 if role == "result" else None
        files.append(_small(f"c{number:02}", role, origin, title, content, result_ordinal=ordinal))
    return _written(target, code, "eight_files", files, small_head(code, outcome="result_returned"))


def generate_bulk(
    target: Path,
    *,
    files: int,
    file_size_bytes: int,
    code: str = DEFAULT_CODE,
    seed: int = 1,
    on_file: Callable[[int], None] | None = None,
) -> SampleDossier:
    """Writes a dossier of `files` binary files of `file_size_bytes` each, seeded noise, in flat memory.

    For benchmarks: 20,000 small files, or one of 3 GB. `on_file` is told the number of each file written.
    """
    folder = target / code
    components = []
    for number in range(1, files + 1):
        path = f"files/{number // 1000:03}/{number:06}.bin"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        running = RunningDigest()
        with (folder / path).open("wb") as out:
            for chunk in _noise(seed, number, file_size_bytes):
                running.update(chunk)
                out.write(chunk)
        blank = _small(f"f{number:06}", "submitted", "uploaded_scan", f"Tệp đính kèm số {number}", b"", path=path)
        size = {"sha256": running.digest().hex, "size_bytes": running.size_bytes, "pages": None}
        components.append(blank.described() | size)
        if on_file is not None:
            on_file(number)
    write_json(folder, small_head(code) | {"components": components})
    return SampleDossier(folder=folder, dossier_code=code, title=small_head(code)["title"], kind="bulk", good=True)


def _noise(seed: int, number: int, size_bytes: int) -> Iterator[bytes]:
    """Yields `size_bytes` of noise: one seeded block per file, shifted each time so that no two chunks are equal."""
    source = random.Random(f"{seed} {number}")  # noqa: S311 - filler, not a secret
    block = source.randbytes(min(size_bytes, CHUNK_BYTES))
    bounds = [*range(0, size_bytes, CHUNK_BYTES), size_bytes]
    for index, (start, end) in enumerate(pairwise(bounds)):
        cut = index % max(1, len(block))
        yield (block[cut:] + block[:cut])[: end - start]


def _small(
    identifier: str,
    role: str,
    origin: str,
    title: str,
    content: bytes,
    *,
    path: str | None = None,
    result_ordinal: int | None = None,
) -> SampleFile:
    return SampleFile(
        id=identifier,
        path=path or f"{identifier}.pdf",
        role=role,
        origin=origin,
        title=title,
        content=content,
        result_ordinal=result_ordinal,
    )


def _written(
    target: Path, code: str, kind: str, files: list[SampleFile], head: dict[str, Any]
) -> SampleDossier:  # JSON members
    write_dossier(target / code, head, files)
    return SampleDossier(folder=target / code, dossier_code=code, title=head["title"], kind=kind, good=True)
