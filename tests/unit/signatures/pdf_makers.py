"""Files as other makers of PDFs and of signatures write them, rebuilt from what their output looks like."""

# pyHanko leaves much untyped that this generator calls
# mypy: disable-error-code="no-untyped-call"

import zlib
from collections.abc import Mapping

from tests.unit.signatures.pdf_attacks import EVIL, appended, startxref, stream

FONT, CONTENT, PAGE, STRUCTURE, HOLDER, STREAM = 5, 4, 3, 6, 7, 8
"""Object numbers of `hybrid_pdf`."""


def hybrid_pdf(*, also: Mapping[int, bytes] | None = None, stream_place: int | None = None) -> bytes:
    """A hybrid file as Word writes it: objects in a table, an empty table after it that points at a stream for newer readers.

    Args:
        also: objects that the stream places elsewhere than the table does.
        stream_place: where the last trailer says the stream is, instead of where it is.
    """
    content = b"BT /F1 18 Tf 72 700 Td (Quyet dinh) Tj ET"
    packed = zlib.compress(b"%d 0 << /Type /StructTreeRoot >>" % STRUCTURE)
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R /StructTreeRoot %d 0 R >>" % STRUCTURE,
        2: b"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
        PAGE: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        CONTENT: stream(content),
        FONT: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        HOLDER: stream(packed, b"/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode "),
    }
    out = bytearray(b"%PDF-1.5\n%\xb5\xb5\xb5\xb5\n")
    places = dict.fromkeys(objects, 0)
    for number, body in objects.items():
        places[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    elsewhere = {}
    for number, body in (also or {}).items():
        elsewhere[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    where = len(out)
    seen = {**places, **elsewhere, STREAM: where}
    rows = b"\0" * 6 + b"".join(
        bytes([2]) + HOLDER.to_bytes(4) + b"\0"
        if number == STRUCTURE
        else bytes([1]) + seen[number].to_bytes(4) + b"\0"
        for number in range(1, STREAM + 1)
    )
    out += b"%d 0 obj\n%s\nendobj\n" % (STREAM, stream(rows, b"/Type /XRef /W [1 4 1] /Size 9 /Root 1 0 R "))
    table = len(out)
    out += b"xref\n0 9\n0000000006 65535 f \n"
    for number in range(1, STREAM + 1):
        row = b"%010d 00000 n \n" % seen[number] if number == STREAM else b"%010d 00000 n \n" % places.get(number, 0)
        out += b"0000000000 65535 f \n" if number == STRUCTURE else row
    out += b"trailer\n<< /Size 9 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % table
    last = len(out)
    out += b"xref\n0 0\ntrailer\n<< /Size 9 /Root 1 0 R /Prev %d /XRefStm %010d >>\n" % (table, stream_place or where)
    out += b"startxref\n%d\n%%%%EOF\n" % last
    return bytes(out)


def hybrid_update(pdf: bytes) -> bytes:
    """The page's content replaced by an update whose table is empty: only the stream it points at knows of it."""
    out = bytearray(pdf if pdf.endswith(b"\n") else pdf + b"\n")
    place = len(out)
    out += b"%d 0 obj\n%s\nendobj\n" % (CONTENT, stream(EVIL))
    where = len(out)
    rows = bytes([1]) + place.to_bytes(4) + b"\0"
    out += b"90 0 obj\n%s\nendobj\n" % stream(rows, b"/Type /XRef /Index [4 1] /W [1 4 1] /Size 91 /Root 1 0 R ")
    table = len(out)
    out += b"xref\n0 0\ntrailer\n<< /Size 91 /Root 1 0 R /Prev %d /XRefStm %d >>\n" % (startxref(pdf), where)
    out += b"startxref\n%d\n%%%%EOF\n" % table
    return bytes(out)


def generation_from_nowhere(pdf: bytes) -> bytes:
    """An update with an object of generation 1 that never had another, as Poppler adds when it makes a signature field."""
    changed = appended(pdf, {14: stream(b"")})
    place = changed.rindex(b"14 0 obj")
    changed = changed[:place] + changed[place:].replace(b"14 0 obj", b"14 1 obj", 1)
    row = b"%010d 00000 n" % place
    return changed.replace(row, row.replace(b"00000 n", b"00001 n"))
