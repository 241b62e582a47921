"""Office files: what is found in their parts, streams and records, and what is not, whoever wrote them and however."""

import struct
import time
from datetime import date
from pathlib import Path

import pytest

from archive_service.formats.check import check_file
from archive_service.formats.compound import check_compound
from archive_service.formats.limits import DEFAULT, MIB
from archive_service.formats.policy import DEFAULT_POLICY, load_policy
from archive_service.formats.report import FormatReport, Notes
from tests.unit.formats import format_files as files
from tests.unit.formats import office_files as office
from tests.unit.formats.office_files import CUTOFF, END, PPT, SECTOR, WORD, biff, compound, sheet, slides, word

POLICY = load_policy(DEFAULT_POLICY, on=date(2026, 1, 1))
PROTECTED_SHEET = (
    f'<x:worksheet xmlns:x="{office.S}"><x:sheetData/><x:sheetProtection x:y="" sheet="{{}}"/></x:worksheet>'
)
DDE_FIELD = (
    '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>D</w:instrText></w:r>'
    '<w:r><w:instrText>DEAUTO c:\\\\x</w:instrText></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>'
)
PAGE_FIELD = DDE_FIELD.replace(">D<", "> PAGE <").replace("DEAUTO c:\\\\x", "\\* MERGEFORMAT DDE")
ENCRYPTED_ENTRY = '<manifest:file-entry manifest:full-path="a"><manifest:encryption-data/></manifest:file-entry>'


def check(folder: Path, name: str, content: bytes) -> FormatReport:
    return check_file(files.write(folder, "staged", content), name=name, component=None, policy=POLICY)


def codes(folder: Path, name: str, content: bytes) -> list[str]:
    report = check(folder, name, content)
    for finding in report.findings:
        assert "{" not in finding.message("vi")
    return [finding.code for finding in report.findings if finding.code != "FORMAT_TO_BE_NORMALISED"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, []),
        (office.settings('<w:documentProtection w:edit="forms" w:enforcement="0"/>'), []),
        (office.settings("<w:x w:y='documentProtection enforcement=\"1\"'/>"), []),
        (office.settings("<!--<w:documentProtection w:enforcement='1'/>-->"), []),
        (office.settings('<q:documentProtection q:enforcement="true"/>', "q"), ["FORMAT_EDITING_RESTRICTED"]),
        (office.settings('<w:documentProtection w:enforcement="&#49;"/>'), ["FORMAT_EDITING_RESTRICTED"]),
        (office.settings('<w:writeProtection w:recommended="1"/>'), ["FORMAT_EDITING_RESTRICTED"]),
        ({"xl/worksheets/sheet1.xml": PROTECTED_SHEET.format("1").encode()}, ["FORMAT_EDITING_RESTRICTED"]),
        ({"xl/worksheets/sheet1.xml": PROTECTED_SHEET.format("0").encode()}, []),
        ({"xl/worksheets/sheet1.xml": PROTECTED_SHEET.format("1").encode("utf-16")}, ["FORMAT_EDITING_RESTRICTED"]),
        (office.body(DDE_FIELD), ["FORMAT_SCRIPT"]),
        (office.body('<w:fldSimple w:instr=" dde excel x"/>'), ["FORMAT_SCRIPT"]),
        (office.body(PAGE_FIELD), []),
        ({"xl/externalLinks/externalLink1.xml": b"<a><ddeLink/></a>"}, ["FORMAT_SCRIPT"]),
        (office.relations(("attachedTemplate", "http://example.com/t.dotm", True)), ["FORMAT_SCRIPT"]),
        (office.relations(("attachedTemplate", "file:///\\\\may-chu\\t.dotm", True)), ["FORMAT_SCRIPT"]),
        (office.relations(("attachedTemplate", "file:///C:\\Users\\a\\Mau.dotx", True)), []),
        (office.relations(("oleObject", "http://example.com/x", True), prefix="q"), ["FORMAT_SCRIPT"]),
        (office.relations(("hyperlink", "http://example.com/iframe/oleObject", True)), []),
        (office.relations(("oleObject", "khac.bin", False)) | {"word/khac.bin": b"x"}, ["FORMAT_EMBEDDED_FILES"]),
        (office.relations(("vbaProject", "khac.bin", False)) | {"word/khac.bin": b"x"}, ["FORMAT_MACROS"]),
        (office.relations(("vbaProject", "khong-co.bin", False)), []),
        ({"word/_rels/_rels/x.rels": b"<a><b></a>"}, ["FORMAT_REPAIRED_ON_READING"]),
        ({"customXml/item1.xml": b"<!DOCTYPE a [<!ATTLIST a b CDATA 'c'>]><a/>"}, []),
        ({"customXml/item1.xml": b"<!DOCTYPE a [<!ENTITY % p 'x'>]><a/>"}, ["FORMAT_XML_ENTITY"]),
        ({"customXml/item1.xml": files.XML_BOMB.decode().replace("?>", "?>\n").encode("utf-16")}, ["FORMAT_XML_ENTITY"]),
        ({"customXml/item1.xml": b""}, []),
        ({"word/document.xml": b""}, ["FORMAT_BROKEN"]),
        ({"word/document.xml": b"<w:document/>"}, ["FORMAT_BROKEN"]),  # a prefix that nothing binds
        ({"_rels/.rels": f'<Relationships xmlns="{office.RELATIONS}"/>'.encode()}, ["FORMAT_BROKEN"]),
        ({"customXml/item1.xml": b"<a>" * 300 + b"</a>" * 300 + b"<!--Protection-->"}, ["FORMAT_TOO_LARGE_TO_CHECK"]),
    ],
)  # fmt: skip
def test_parts_of_a_word_file(more, expected, tmp_path):
    assert codes(tmp_path, "don.docx", files.docx(more)) == expected


def test_marks_across_chunks_and_far_inside_are_found(tmp_path):
    for padding in range(MIB - 40, MIB + 8, 7):
        head = f'<w:settings xmlns:w="{office.W}"><!--'
        text = head + "x" * (padding - len(head)) + "--><w:writeProtection/></w:settings>"
        found = codes(tmp_path, "don.docx", files.docx({"word/settings.xml": text.encode()}))
        assert found == ["FORMAT_EDITING_RESTRICTED"], padding


@pytest.mark.parametrize(
    "part",
    [
        b"<a>" * (5 * MIB),  # open elements: 130 bytes each in the parser
        b"<a><!--" + b"<w:documentProtection " * (MIB // 4) + b"--></a>",  # a search that looks on from every mark
        b"<a b='" + b"x" * (40 * MIB) + b"'/>",  # one tag, kept whole and read anew with every piece
    ],
    ids=["open", "marks", "tag"],
)
def test_parts_made_to_cost_time_or_memory(part, tmp_path):
    content = files.docx({"word/settings.xml": part})
    started = time.process_time()
    found = codes(tmp_path, "don.docx", content)
    assert time.process_time() - started < 3
    assert found in ([], ["FORMAT_TOO_LARGE_TO_CHECK"], ["FORMAT_REPAIRED_ON_READING"], ["FORMAT_ARCHIVE_UNSAFE"])
    assert (found == []) is part.startswith(b"<a><!--")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (office.odt(), []),
        (office.odt("<text:section text:protected='true'/>"), ["FORMAT_EDITING_RESTRICTED"]),
        (office.odt("<text:table-of-content text:protected='true'/>"), []),
        (office.odt("<table:table table:protected='true'/>"), ["FORMAT_EDITING_RESTRICTED"]),
        (office.odt("<office:dde-source/>"), ["FORMAT_SCRIPT"]),
        (office.odt("<script:event-listener/>"), ["FORMAT_MACROS"]),
        (office.odt(more={"Basic/Standard/Module1.xml": b"<a/>"}), ["FORMAT_MACROS"]),
        (office.odt(more={"Basic/Standard/script-lb.xml": b"<a/>", "Basic/script-lc.xml": b"<a/>"}), []),
        (office.odt(more={"Object 1": b"x"}), ["FORMAT_EMBEDDED_FILES"]),
        (office.odt(more={"Object 1/content.xml": b"<a/>"}), ["FORMAT_EMBEDDED_FILES"]),
        (
            office.odt(
                more={"Object 1/content.xml": b"<a/>"},
                manifest='<manifest:file-entry manifest:full-path="Object 1/" '
                'manifest:media-type="application/vnd.oasis.opendocument.chart"/>',
            ),
            [],
        ),
        (office.odt(manifest=ENCRYPTED_ENTRY), ["FORMAT_ENCRYPTED"]),
        (office.odt(more={"content.xml": b""}), ["FORMAT_BROKEN"]),
        (office.odt(more={"Configurations2/accelerator/current.xml": b""}), []),
        (office.odt(more={"styles.xml": files.XML_BOMB}), ["FORMAT_XML_ENTITY"]),
    ],
)
def test_parts_of_an_opendocument_file(content, expected, tmp_path):
    assert codes(tmp_path, "don.odt", content) == expected


def test_opendocument_templates_and_encrypted_files_do_not_lie(tmp_path):
    """PRONOM calls a template a text, and sees of an encrypted file only the ZIP; libmagic reads the `mimetype` entry."""
    assert codes(tmp_path, "mau.ott", office.odt(kind="text-template")) == []
    noise = bytes(range(256)) * 8
    entries = {"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": noise}
    manifest = f'<m:manifest xmlns:m="x">{ENCRYPTED_ENTRY.replace("manifest:", "m:")}</m:manifest>'.encode()
    packed = files.package(entries | {"META-INF/manifest.xml": manifest}, stored=("mimetype",))
    assert codes(tmp_path, "don.odt", packed) == ["FORMAT_ENCRYPTED"]
    assert codes(tmp_path, "don.docx", packed) == ["FORMAT_EXTENSION_MISMATCH"]
    assert codes(tmp_path, "don.odt", files.package({"a.txt": b"a"})) == ["FORMAT_EXTENSION_MISMATCH"]


# ---------------------------------------------------------------- compound files


@pytest.mark.parametrize(
    ("name", "streams", "expected"),
    [
        ("a.doc", WORD, []),
        ("a.doc", WORD | {"WordDocument": word(0x0100)}, ["FORMAT_ENCRYPTED"]),
        ("a.doc", WORD | {"WordDocument": word(0x0100, size=600)}, ["FORMAT_ENCRYPTED"]),  # in the mini stream
        ("a.doc", WORD | {"WordDocument": word(0x0800)}, ["FORMAT_EDITING_RESTRICTED"]),
        ("a.doc", WORD | {"Macros/VBA/_VBA_PROJECT": b"x"}, ["FORMAT_MACROS"]),
        ("a.doc", WORD | {"macros/vba/_vba_project": b"x"}, ["FORMAT_MACROS"]),
        ("a.doc", WORD | {"ObjectPool/_12/EncryptedPackage": b"x"}, ["FORMAT_EMBEDDED_FILES"]),
        ("a.doc", WORD | {"\tDRMContent": b"x"}, ["FORMAT_ENCRYPTED"]),
        ("a.xls", {"Workbook": biff(sheet(0))}, []),
        ("a.xls", {"Workbook": biff((0x2F, bytes(6)))}, ["FORMAT_ENCRYPTED"]),
        ("a.xls", {"Workbook": biff(sheet(0), sheet(1))}, ["FORMAT_MACROS"]),
        ("a.xls", {"Workbook": biff(sheet(0)), "Book": biff(sheet(1))}, ["FORMAT_MACROS"]),
        ("a.xls", {"WORKBOOK": biff(sheet(1))}, ["FORMAT_MACROS"]),
        ("a.xls", {"Workbook": biff((0x12, b"\1\0"), sheet(0))}, ["FORMAT_EDITING_RESTRICTED"]),
        ("a.xls", {"Workbook": biff((0x12, b"\0\0"), (0x13, b"\0\0"), sheet(0))}, []),
        ("a.xls", {"Workbook": biff(sheet(0)), "MBD0001/\x01Ole": b"x"}, ["FORMAT_EMBEDDED_FILES"]),
        ("a.ppt", PPT, []),
        ("a.ppt", PPT | {"PowerPoint Document": slides(macros=True)}, ["FORMAT_MACROS"]),
        ("a.ppt", PPT | {"PowerPoint Document": slides(embedded=2)}, ["FORMAT_EMBEDDED_FILES"]),
        ("a.ppt", PPT | {"Current User": office.current_user(0xF3D1C4DF)}, ["FORMAT_ENCRYPTED"]),
        ("a.ppt", PPT | {"EncryptedSummary": b"x"}, ["FORMAT_ENCRYPTED"]),
        ("a.docx", {"EncryptedPackage": bytes(5000), "EncryptionInfo": bytes(200)}, ["FORMAT_ENCRYPTED"]),
    ],
)  # fmt: skip
def test_records_of_legacy_files(name, streams, expected, tmp_path):
    assert judged(tmp_path, compound(streams)) == expected, name


RC4 = "0100010001008fd73b0cc279ff4e8c1867d4333df97e562b5f817cb7c9ebc7a64f61807e46cb49aba516cb1b73802bb8c738646e9cd8"
"""As LibreOffice writes it for a workbook whose structure is protected."""
RC4_SECRET = (
    "010001000100d960cf80c2b4c1553ab17142e718ecd5773cc5637d57de404c298338ce025c30b5eaf4279bdf537cabf82cf597495c35"
)
"""As LibreOffice writes it under a password of its own."""
CRYPTO_API = (
    "0100020002000400000024000000040000000000000001680000048000008000000001000000000000000000000078000000100000000001020304050607"
    "08090a0b0c0d0e0fa024a295d910dcd16b2b69c9dfef19191400000074a70eb0e7278136e857318b9e9a13d19115d50b"
)
"""With the key that msoffcrypto derives from the password every program knows, of 128 and of 40 bits."""
CRYPTO_API_40 = (
    "0100020002000400000024000000040000000000000001680000048000002800000001000000000000000000000078000000100000000001020304050607"
    "08090a0b0c0d0e0fc872728f14b55d849b7dde3f7cfd96a714000000d5e6c96d597b070d79bf31b1599eddf2ece8d44b"
)


@pytest.mark.parametrize(
    ("filepass", "opens"),
    [
        (RC4, True),
        (CRYPTO_API, True),
        (CRYPTO_API_40, True),
        ("000000000a9a", True),
        (RC4_SECRET, False),
        (RC4[:-2] + "00", False),
        (CRYPTO_API[:-2] + "00", False),
        (CRYPTO_API[:60], False),
        ("000000000a9b", False),
        ("0100ffff", False),
        ("", False),
    ],
)
def test_a_protected_workbook_is_not_called_secret(filepass, opens, tmp_path):
    """Excel and LibreOffice write it encrypted, but every program opens it without asking."""
    expected = ["FORMAT_NOT_CHECKED", "FORMAT_EDITING_RESTRICTED"] if opens else ["FORMAT_ENCRYPTED"]
    assert judged(tmp_path, compound({"Workbook": biff((0x2F, bytes.fromhex(filepass)), sheet(1))})) == expected


def judged(folder: Path, content: bytes) -> list[str]:
    """What is found in a compound file, whatever PRONOM takes it for."""
    notes = Notes(location="c1", format="tệp")
    check_compound(files.write(folder, "staged", content), notes, DEFAULT)
    return [finding.code for finding in notes.findings]


def patched(content: bytes, *, at: int, value: int) -> bytes:
    """The same file with one number changed."""
    changed = bytearray(content)
    struct.pack_into("<I", changed, at, value)
    return bytes(changed)


LARGE = compound({"WordDocument": word(size=300_000), "1Table": bytes(CUTOFF), "klein": b"x" * 70})
FAT_AT = (int.from_bytes(LARGE[76:80], "little") + 1) * SECTOR
"""Where the allocation table of LARGE stands."""
DIRECTORY_AT = (int.from_bytes(LARGE[48:52], "little") + 1) * SECTOR
WORD_AT = LARGE.index("WordDocument".encode("utf-16-le"))


@pytest.mark.parametrize(
    "content",
    [
        LARGE[: len(LARGE) // 2],
        LARGE[:SECTOR],
        LARGE[:76],
        LARGE[: FAT_AT + 8],  # the table itself is cut
        patched(LARGE, at=56, value=0xFFFFFFFF),  # everything would live in the mini stream
        patched(LARGE, at=30, value=0xFFFF),
        patched(LARGE, at=FAT_AT + 4 * 7, value=3),  # a chain that loops
        patched(LARGE, at=FAT_AT + 4 * 7, value=END),  # a chain that ends early
        patched(LARGE, at=FAT_AT + 4 * 7, value=1_000_000),  # a chain that leaves the table
        patched(LARGE, at=WORD_AT + 120, value=0x7FFFFFFF),  # a stream larger than the file
        patched(LARGE, at=WORD_AT + 116, value=0x00FFFFFF),
        patched(LARGE, at=DIRECTORY_AT + 116, value=0x00FFFFFF),  # the mini stream is elsewhere
        patched(LARGE, at=60, value=0),  # the mini stream's table is no chain of its own
        patched(LARGE, at=48, value=0x00FFFFFF),
    ],
    ids=range(14),
)
def test_damaged_compound_files(content, tmp_path):
    assert judged(tmp_path, content) == ["FORMAT_BROKEN"]


def test_a_compound_file_that_is_whole(tmp_path):
    assert judged(tmp_path, LARGE) == []
    rest = compound({"1Table": bytes(CUTOFF), "WordDocument": word(size=CUTOFF + 5)})
    assert judged(tmp_path, rest) == []


def test_what_a_small_compound_file_can_cost(tmp_path):
    """Loops in each table, streams that share sectors, a stream of nothing but empty records: read once, never again and again."""
    loops = [patched(LARGE, at=FAT_AT + 4 * number, value=0) for number in (3, 587, 600)]
    records = compound({"Workbook": biff(*[(0x0000, b"")] * 500_000)})
    tables = patched(patched(LARGE, at=68, value=5), at=72, value=0xFFFFFF)  # DIFAT sectors that name each other
    started = time.process_time()
    for content in (*loops, records, tables):
        judged(tmp_path, content)
    assert time.process_time() - started < 3
