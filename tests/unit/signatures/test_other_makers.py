"""PDFs that other programs write and sign in their own way: judged by what is signed, and not by how odd they look."""

from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pikepdf
import pytest
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields, signers

from archive_service.signatures import Indication, SignatureCheck
from archive_service.signatures.report import Integrity
from tests.unit.signatures import pdf_makers as makers
from tests.unit.signatures.checking import check
from tests.unit.signatures.pdf_attacks import EVIL, appended, contents_span, signed, startxref, stream
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World, blank_pdf, clock_at, sign_cms

# pyHanko leaves much untyped that these tests call
# mypy: disable-error-code="no-untyped-call"


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="makers")


def leniently_signed(world: World, pdf: bytes, *, field_name: str = "Sig1") -> bytes:
    """A file that is not to the letter, signed all the same as most programs do."""
    out = BytesIO()
    meta = signers.PdfSignatureMetadata(field_name=field_name)
    with clock_at(SIGNED_AT):
        writer = IncrementalPdfFileWriter(BytesIO(pdf), strict=False)
        signers.PdfSigner(meta, world.signer(world.plain)).sign_pdf(writer, output=out)
    return out.getvalue()


def judged(folder: Path, world: World, pdf: bytes) -> SignatureCheck:
    return check(folder, pdf, world, at=SIGNED_AT + timedelta(hours=1))


def test_hybrid_file_as_word_writes_it(tmp_path: Path, world: World) -> None:
    once = leniently_signed(world, makers.hybrid_pdf())
    assert judged(tmp_path, world, once).indication is Indication.TOTAL_PASSED
    twice = judged(tmp_path, world, leniently_signed(world, once, field_name="Sig2"))
    assert [report.indication for report in twice.reports] == [Indication.TOTAL_PASSED] * 2
    [forged] = judged(tmp_path, world, once.replace(b"Quyet dinh", b"Quyet DINH")).reports
    assert forged.indication is Indication.TOTAL_FAILED


def test_hybrid_file_with_two_contents(tmp_path: Path, world: World) -> None:
    """The table shows one content to old readers, the stream another to new ones."""
    pdf = leniently_signed(world, makers.hybrid_pdf(also={makers.CONTENT: stream(EVIL)}))
    assert judged(tmp_path, world, pdf).indication is Indication.INDETERMINATE


def test_hybrid_stream_behind_the_signature(tmp_path: Path, world: World) -> None:
    """What was signed says that cross-references follow where the file ended; the attacker writes them there."""
    prepared = bytearray(leniently_signed(world, makers.hybrid_pdf()))
    length = len(prepared)
    rows = bytes([1]) + (length + 1000).to_bytes(4) + b"\0"
    tail = b"91 0 obj\n%s\nendobj\n" % stream(rows, b"/Type /XRef /Index [4 1] /W [1 4 1] /Size 92 /Root 1 0 R ")
    content = b"4 0 obj\n%s\nendobj\n" % stream(EVIL)
    pointer = prepared.index(b"/XRefStm ") + len(b"/XRefStm ")
    prepared[pointer : pointer + 10] = b"%010d" % length
    # the signer signs a file whose pointer leads behind it: the value is made anew over the pointing bytes
    end = b"startxref\n%d\n%%%%EOF\n" % startxref(bytes(prepared))
    [report] = judged(tmp_path, world, resigned(world, bytes(prepared)) + tail.ljust(1000) + content + end).reports
    assert (report.indication, report.integrity) == (Indication.INDETERMINATE, Integrity.INTACT)
    assert "hybrid" in report.as_text("en")


def resigned(world: World, pdf: bytes) -> bytes:
    """The last signature's value made anew over the bytes as they are."""
    start, end = contents_span(pdf)
    value = sign_cms(world, pdf[:start] + pdf[end:], party=world.plain).hex().encode()
    return pdf[: start + 1] + value.ljust(end - start - 2, b"0") + pdf[end - 1 :]


def test_hybrid_update_after_signing(tmp_path: Path, world: World) -> None:
    for base in (makers.hybrid_pdf(), blank_pdf()):
        pdf = makers.hybrid_update(leniently_signed(world, base))
        assert judged(tmp_path, world, pdf).indication is Indication.INDETERMINATE


def test_broken_syntax_under_a_signature_over_everything(tmp_path: Path, world: World) -> None:
    """Every byte was signed: nothing can have been added, whatever readers make of it."""
    pdf = leniently_signed(world, makers.generation_from_nowhere(blank_pdf()))
    [report] = judged(tmp_path, world, pdf).reports
    assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")
    assert "PDF_SYNTAX" in {remark.code for remark in report.remarks}


@pytest.mark.parametrize("change", ["update", "signature", "tail"])
def test_broken_syntax_never_passes_once_something_follows(tmp_path: Path, world: World, change: str) -> None:
    pdf = leniently_signed(world, makers.generation_from_nowhere(blank_pdf()))
    changed = {
        "update": lambda: appended(pdf, {makers.FONT: b"<< >>"}),
        "signature": lambda: leniently_signed(world, pdf, field_name="Sig2"),
        "tail": lambda: pdf + stream(EVIL),
    }[change]()
    first = judged(tmp_path, world, changed).reports[0]
    assert first.indication is Indication.INDETERMINATE
    assert "PDF_SYNTAX" in {reason.code for reason in first.reasons}


def test_damaged_object_stream_is_no_crash(tmp_path: Path, world: World) -> None:
    """The catalogue stands in a compressed object stream whose checksum is wrong."""
    out = BytesIO()
    with pikepdf.open(BytesIO(blank_pdf())) as opened:
        opened.save(out, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    pdf = bytearray(out.getvalue())
    end = pdf.index(b"endstream", pdf.index(b"/ObjStm"))
    pdf[end - 6 : end - 2] = b"\0\0\0\0"
    result = judged(tmp_path, world, bytes(pdf) + b"%/ByteRange [0 1 2 3] /Contents <00>\n")
    assert result.indication is Indication.INDETERMINATE


def _two_contents() -> bytes:
    """A file prepared by its author: the page's content is defined twice, and the cross-references point at the first."""
    pdf = blank_pdf()
    table = pdf.rindex(b"xref\n", 0, pdf.rindex(b"startxref"))
    second = b"3 0 obj\n%s\nendobj\n" % stream(EVIL)
    moved = pdf[:table] + second + pdf[table:]
    return moved.replace(b"startxref\n%d" % table, b"startxref\n%d" % (table + len(second)))


@pytest.mark.parametrize("certified", [False, True])
def test_content_switched_by_cross_references_alone(tmp_path: Path, world: World, *, certified: bool) -> None:
    """Hide and replace: the update holds no object at all, only another place for one that was signed."""
    permission = fields.MDPPerm.FILL_FORMS if certified else None
    pdf = signed(world, pdf=_two_contents(), certify=permission)
    assert judged(tmp_path, world, pdf).indication is Indication.TOTAL_PASSED
    place = pdf.rindex(b"3 0 obj", 0, pdf.index(EVIL))
    [report] = judged(tmp_path, world, appended(pdf, {}, offsets={3: place})).reports
    assert report.indication is Indication.INDETERMINATE
    assert "CONTENT_CHANGED" in {reason.code for reason in report.reasons}
