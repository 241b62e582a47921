"""Faults of sample dossiers: each spoils one thing, as it goes wrong or is made to go wrong in practice."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pikepdf
from pyhanko.pdf_utils.generic import ArrayObject, DictionaryObject, NumberObject, PdfObject, StreamObject, pdf_name
from pyhanko.pdf_utils.reader import PdfFileReader

from archive_service.dossier import DOSSIER_FILE_NAME
from archive_service.samples.components import (
    Studio,
    eform_xml,
    result,
    result_signings,
)
from archive_service.samples.facts import Case
from archive_service.samples.pki import Validity
from archive_service.samples.scans import identity_card
from archive_service.samples.signing import FixedIdWriter, Level, Signing
from archive_service.samples.small import SampleFile

EXPECTED_CODES: Final = {
    "broken_digest": frozenset({"COMPONENT_DIGEST_MISMATCH"}),
    "forged": frozenset({"SIGNATURE_FORGED"}),
    "expired": frozenset({"SIGNATURE_EXPIRED"}),
    "revoked": frozenset({"SIGNATURE_CERTIFICATE_REVOKED"}),
    "changed_after": frozenset({"SIGNATURE_CONTENT_CHANGED_AFTER"}),
    "lying_extension": frozenset({"FORMAT_EXTENSION_MISMATCH"}),
    "encrypted": frozenset({"FORMAT_ENCRYPTED"}),
    "missing_result": frozenset({"RESULT_MISSING"}),
    "missing_supplement_request": frozenset({"SUPPLEMENT_REQUEST_MISSING"}),
    "duplicate": frozenset({"DOSSIER_CONTENT_DIFFERS"}),
    "zip_traversal": frozenset({"PACKAGE_PATH_TRAVERSAL"}),
    "xml_entity": frozenset({"FORMAT_XML_ENTITY"}),
    "unsigned_result": frozenset({"SIGNATURE_MISSING_ON_RESULT"}),
    "untrusted": frozenset({"SIGNATURE_UNTRUSTED"}),
    "zip_symlink": frozenset({"PACKAGE_SYMLINK"}),
    "zip_bomb": frozenset({"PACKAGE_ZIP_BOMB"}),
}
"""Fault kinds in the order in which they are used, each with the codes that its dossier should raise."""

ZIP_FAULTS: Final = frozenset({"zip_traversal", "zip_symlink", "zip_bomb"})
"""Faults of the container: the dossier folder itself is good."""

_ZIP_TIME: Final = (2025, 1, 1, 0, 0, 0)
_BOMB_CHUNK: Final = 1024 * 1024
_BOMB_CHUNKS: Final = 300
"""300 MB of zeros in about 300 KB: far beyond any honest ratio, harmless to whoever unpacks it by accident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spoiling:
    case: Case
    studio: Studio
    files: list[SampleFile]

    def replaced(self, role: str, change: Callable[[SampleFile], SampleFile]) -> list[SampleFile]:
        """The files with the first one of a role (or file suffix) changed."""
        position = next(n for n, file in enumerate(self.files) if file.role == role or file.path.endswith(role))
        return [change(file) if n == position else file for n, file in enumerate(self.files)]


def spoil(fault: str, case: Case, studio: Studio, files: list[SampleFile]) -> list[SampleFile]:
    """Returns the components with the fault in them; a fault of the container leaves them as they are."""
    change = _SPOILERS.get(fault)
    return files if change is None else change(_Spoiling(case=case, studio=studio, files=files))


def _broken_digest(job: _Spoiling) -> list[SampleFile]:
    """One bit of the receipt flipped on the way: what dossier.json says no longer holds."""

    def flip(file: SampleFile) -> SampleFile:
        honest = file.described()
        middle = len(file.content) // 2
        content = file.content[:middle] + bytes([file.content[middle] ^ 1]) + file.content[middle + 1 :]
        return replace(file, content=content, extra=(("sha256", honest["sha256"]),))

    return job.replaced("receipt", flip)


def _forged(job: _Spoiling) -> list[SampleFile]:
    """A byte in the signed range of the result changed, with the digest in dossier.json made to fit."""

    def forge(file: SampleFile) -> SampleFile:
        marker = b"/CreationDate(D:20"
        place = file.content.index(marker) + len(marker)
        return replace(file, content=file.content[:place] + b"19" + file.content[place + 2 :])

    return job.replaced("result", forge)


def _resigned(job: _Spoiling, signings: list[Signing]) -> list[SampleFile]:
    fresh = result(job.case, job.studio, signings)
    return job.replaced("result", lambda file: replace(fresh, id=file.id, path=file.path))


def _expired(job: _Spoiling) -> list[SampleFile]:
    case, pki = job.case, job.studio.pki
    ended = Validity(starts=case.closed_at - timedelta(days=1100), ends=case.closed_at - timedelta(days=5))
    head = pki.officer(case.head.name, title=case.agency.head, agency=case.agency.name, validity=ended)
    return _resigned(job, result_signings(case, pki, head=head, level=Level.B_T))


def _revoked(job: _Spoiling) -> list[SampleFile]:
    case, pki = job.case, job.studio.pki
    period = Validity(starts=case.closed_at - timedelta(days=400), ends=case.closed_at + timedelta(days=600))
    head = pki.officer(case.head.name, title=case.agency.head, agency=case.agency.name, validity=period)
    pki.revoke(head, on=case.closed_at - timedelta(days=20))
    return _resigned(job, result_signings(case, pki, head=head))


def _untrusted(job: _Spoiling) -> list[SampleFile]:
    identity = job.studio.pki.untrusted_agency(job.case.agency.name, code=job.case.agency.code)
    at = job.case.closed_at - timedelta(hours=1)
    return _resigned(job, [Signing(identity=identity, at=at, field="CoQuan", level=Level.B_T)])


def _unsigned_result(job: _Spoiling) -> list[SampleFile]:
    return _resigned(job, [])


def _changed_after(job: _Spoiling) -> list[SampleFile]:
    """A page added to the signed result in an incremental update, which leaves the signed bytes as they were."""
    addition = job.studio.typesetter.pdf(
        {
            "layout": "form",
            "title": "Phụ lục",
            "author": "?",
            "heading": "PHỤ LỤC BỔ SUNG",
            "body": ["Diện tích, mức hưởng và thời hạn ghi tại trang trước được điều chỉnh tăng gấp đôi."],
        },
        at=job.case.closed_at,
    )
    return job.replaced("result", lambda file: replace(file, content=_with_page(file.content, addition), pages=2))


def _with_page(content: bytes, addition: bytes) -> bytes:
    writer = FixedIdWriter(io.BytesIO(content))
    form = writer.import_page_as_xobject(PdfFileReader(io.BytesIO(addition)))
    stream = writer.add_object(StreamObject(stream_data=b"q /Added Do Q"))
    resources = _dictionary({"/XObject": _dictionary({"/Added": form})})
    box = ArrayObject(map(NumberObject, (0, 0, 595, 842)))
    page = _dictionary({"/Type": pdf_name("/Page"), "/Contents": stream, "/MediaBox": box, "/Resources": resources})
    writer.insert_page(page)  # type: ignore[no-untyped-call]  # pyHanko leaves it untyped
    out = io.BytesIO()
    writer.write(out)  # type: ignore[no-untyped-call]  # pyHanko leaves it untyped
    return out.getvalue()


def _dictionary(members: dict[str, PdfObject]) -> DictionaryObject:
    named = {pdf_name(name): value for name, value in members.items()}
    return DictionaryObject(named)  # type: ignore[no-untyped-call]  # pyHanko leaves it untyped


def _lying_extension(job: _Spoiling) -> list[SampleFile]:
    """A photograph handed in under the name of a PDF."""
    return job.replaced(".jpg", lambda file: replace(file, path=file.path.removesuffix(".jpg") + ".pdf"))


def _encrypted(job: _Spoiling) -> list[SampleFile]:
    def lock(file: SampleFile) -> SampleFile:
        out = io.BytesIO()
        with pikepdf.open(io.BytesIO(file.content)) as pdf:
            # RC4 with 128 bits (R3) needs no random numbers, so that samples stay the same
            locked = pikepdf.Encryption(owner="tthc-mau", user="tthc-mau", R=3, aes=False, metadata=False)
            pdf.save(out, encryption=locked, static_id=True)
        return replace(file, content=out.getvalue())

    return job.replaced("receipt", lock)


def _missing_result(job: _Spoiling) -> list[SampleFile]:
    return [file for file in job.files if file.role != "result"]


def _missing_supplement_request(job: _Spoiling) -> list[SampleFile]:
    return [file for file in job.files if file.role != "supplement_request"]


def _xml_entity(job: _Spoiling) -> list[SampleFile]:
    """An electronic form that makes an unwary parser read a file of the server."""
    doctype = '<!DOCTYPE toKhai [<!ENTITY ngoài SYSTEM "file:///etc/passwd">]>\n'
    content = eform_xml(job.case, doctype=doctype, first='  <truong ten="Ghi chú">&ngoài;</truong>\n')
    form = SampleFile(
        id="c00",
        path="to-khai-dien-tu.xml",
        role="submitted",
        origin="e_form",
        title="Tờ khai điện tử",
        content=content,
        pages=None,
    )
    position = f"c{len(job.files) + 1:02}"
    return [*job.files, replace(form, id=position, path=f"{position[1:]}-{form.path}")]


def _duplicate(job: _Spoiling) -> list[SampleFile]:
    """The same dossier sent again, with the identity card photographed anew."""
    case, rng = job.case, random.Random(f"again {job.case.dossier_code}")  # noqa: S311 - a sample, not a secret
    holder = case.applicant
    card = identity_card(holder.name, holder.identifier, f"{holder.born:%d/%m/%Y}", case.facts["address"], rng=rng)
    return job.replaced(".jpg", lambda file: replace(file, content=card))


_SPOILERS: Final[dict[str, Callable[[_Spoiling], list[SampleFile]]]] = {
    "broken_digest": _broken_digest,
    "forged": _forged,
    "expired": _expired,
    "revoked": _revoked,
    "changed_after": _changed_after,
    "lying_extension": _lying_extension,
    "encrypted": _encrypted,
    "missing_result": _missing_result,
    "missing_supplement_request": _missing_supplement_request,
    "duplicate": _duplicate,
    "xml_entity": _xml_entity,
    "unsigned_result": _unsigned_result,
    "untrusted": _untrusted,
}


# ------------------------------------------------------------------ ZIP files


def write_zip(folder: Path, target: Path, *, fault: str | None = None) -> None:
    """Writes a dossier folder as a ZIP with dossier.json at the top, with a fault of the container if one is named."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in _in_order(folder):
            archive.writestr(_entry(path.relative_to(folder).as_posix()), path.read_bytes())
        if fault == "zip_traversal":
            archive.writestr(
                _entry("../../../../tmp/archive-service-escaped.txt"), "Tệp này không được phép ra ngoài.\n"
            )
        if fault == "zip_symlink":
            link = _entry("10-ket-qua.pdf")
            link.create_system = 3  # Unix, so that the mode below is read
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
    if fault == "zip_bomb":
        target.write_bytes(_with_bomb(target.read_bytes(), "99-tai-lieu.pdf"))


def _in_order(folder: Path) -> Iterable[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sorted(files, key=lambda path: path.name != DOSSIER_FILE_NAME)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=_ZIP_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o100644 << 16
    return entry


def _with_bomb(archive: bytes, name: str) -> bytes:
    """Adds an entry of zeros whose deflated form is one block over and over, so that it need not be compressed here.

    Written by hand after PKWARE APPNOTE 4.3.7 (local header), 4.3.12 (central header), 4.3.16 (end record).
    """
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = squeezer.compress(bytes(_BOMB_CHUNK)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    data = block * _BOMB_CHUNKS + squeezer.flush(zlib.Z_FINISH)
    checksum = 0
    for _ in range(_BOMB_CHUNKS):
        checksum = zlib.crc32(bytes(_BOMB_CHUNK), checksum)
    end = archive.rindex(b"PK\x05\x06")
    count, directory_size, start = struct.unpack("<HII", archive[end + 10 : end + 20])
    sizes = struct.pack("<III", checksum, len(data), _BOMB_CHUNK * _BOMB_CHUNKS)
    common = struct.pack("<HHHHH", 20, 0, 8, 0, 0x5A21) + sizes
    encoded = name.encode()
    local = b"PK\x03\x04" + common + struct.pack("<HH", len(encoded), 0) + encoded
    central = (
        b"PK\x01\x02"
        + struct.pack("<H", 20)
        + common
        + struct.pack("<HHHHHII", len(encoded), 0, 0, 0, 0, 0, start)
        + encoded
    )
    directory = archive[start : start + directory_size] + central
    body = archive[:start] + local + data
    tail = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count + 1, count + 1, len(directory), len(body), 0)
    return body + directory + tail
