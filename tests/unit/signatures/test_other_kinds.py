"""Office packages, old PDF encodings, encrypted PDFs, replaced page trees."""

import zipfile
from base64 import b64encode
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.pdf_utils.writer import copy_into_new_writer
from pyhanko.sign import fields, signers
from pyhanko.sign.signers.cms_embedder import PdfCMSEmbedder, SigIOSetup, SigObjSetup
from pyhanko.sign.signers.pdf_byterange import SignatureObject

from archive_service.signatures import Indication
from archive_service.signatures.report import SignatureKind, SubIndication
from tests.unit.signatures.checking import check
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World, add_page_text, blank_pdf, clock_at, sign_cms, sign_pdf

# pyHanko leaves much untyped that these tests call
# mypy: disable-error-code="no-untyped-call"

DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="other")


def package(names: list[str]) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"<x/>")
    return out.getvalue()


def test_office_signatures_are_recognised_not_judged(tmp_path: Path, world: World) -> None:
    content = package(["word/document.xml", "_xmlsignatures/origin.sigs", "_xmlsignatures/sig1.xml"])
    [report] = check(tmp_path, content, world, mime=DOCX).reports
    assert (report.kind, report.indication) == (SignatureKind.OOXML, Indication.INDETERMINATE)
    assert report.reasons[0].code == "OOXML_NOT_SUPPORTED"
    assert check(tmp_path, package(["word/document.xml"]), world, mime=DOCX).reports == ()
    assert check(tmp_path, b"no zip", world, mime=DOCX).reports == ()


@pytest.mark.parametrize(
    ("mime", "name", "kind"),
    [
        ("application/vnd.oasis.opendocument.text", "META-INF/macrosignatures.xml", SignatureKind.OOXML),
        ("application/vnd.ms-word.document.macroEnabled.12", "_xmlsignatures/sig1.xml", SignatureKind.OOXML),
        ("application/vnd.etsi.asic-e+zip", "META-INF/signatures001.xml", SignatureKind.ASIC),
        ("application/vnd.etsi.asic-s+zip", "META-INF/signature.p7s", SignatureKind.ASIC),
        ("application/vnd.etsi.asic-s+zip", "META-INF/timestamp.tst", SignatureKind.ASIC),
        ("application/zip", "META-INF/signature.p7s", SignatureKind.ASIC),
        ("application/java-archive", "META-INF/KEY.RSA", SignatureKind.ASIC),
    ],
)
def test_signatures_in_containers_are_shown(tmp_path: Path, world: World, mime: str, name: str, kind: str) -> None:
    [report] = check(tmp_path, package(["data.txt", name]), world, mime=mime).reports
    assert (report.kind, report.indication, report.field_name) == (kind, Indication.INDETERMINATE, name)
    assert check(tmp_path, package(["data.txt", "META-INF/MANIFEST.MF"]), world, mime=mime).reports == ()


def smime(signature: bytes, headers: str = "", kind: str = "application/pkcs7-mime; smime-type=signed-data") -> bytes:
    body = b64encode(signature).decode()
    return f"{headers}MIME-Version: 1.0\nContent-Type: {kind}\nContent-Transfer-Encoding: base64\n\n{body}\n".encode()


def test_signature_in_the_form_of_mail(tmp_path: Path, world: World) -> None:
    """What openssl writes unless told otherwise: the CMS structure with two headers before it."""
    signature = sign_cms(world, b"Quyet dinh", detached=False, party=world.plain)
    for mime, name in (("text/plain", "a.p7m"), ("message/rfc822", "a.eml")):
        assert check(tmp_path, smime(signature), world, mime=mime, name=name).indication is Indication.TOTAL_PASSED
    forged = smime(signature.replace(b"Quyet dinh", b"Quyet DINH"))
    assert check(tmp_path, forged, world, mime="text/plain", name="a.p7m").indication is Indication.TOTAL_FAILED


@pytest.mark.parametrize("case", ["sender", "parts", "encoding", "base64"])
def test_mail_that_shows_more_never_passes(tmp_path: Path, world: World, case: str) -> None:
    signature = sign_cms(world, b"Quyet dinh", detached=False, party=world.plain)
    content = {
        "sender": smime(signature, "From: chu-tich@tinh.gov.vn\nSubject: Dong y\n"),
        "parts": smime(signature, kind='multipart/signed; boundary="x"'),
        "encoding": smime(signature).replace(b"Encoding: base64", b"Encoding: 8bit"),
        "base64": smime(signature).replace(b"\n\nMII", b"\n\n!MII"),
    }[case]
    [report] = check(tmp_path, content, world, mime="text/plain", name="thu.eml").reports
    assert report.indication is Indication.INDETERMINATE


@pytest.mark.parametrize(
    "text",
    [
        b"Thu gui: Content-Type: application/pkcs7-mime la gi?",
        b"Nhat ky\nContent-Type: application/pkcs7-mime\n",
        b"From: a\n\nContent-Type: multipart/signed\n",
        b"a: " * 8000,
    ],
)
def test_text_that_speaks_of_mail_is_no_signature(tmp_path: Path, world: World, text: bytes) -> None:
    assert check(tmp_path, text, world, mime="text/plain", name="a.txt").reports == ()


def _sha1_signed(world: World) -> bytes:
    """Makes adbe.pkcs7.sha1: the SHA-1 of the byte range is the content inside the CMS."""
    writer = IncrementalPdfFileWriter(BytesIO(blank_pdf()))
    stages = PdfCMSEmbedder().write_cms(field_name="Sig1", writer=writer)
    next(stages)
    placeholder = SignatureObject(timestamp=SIGNED_AT, bytes_reserved=8192)
    placeholder[generic.NameObject("/SubFilter")] = generic.NameObject("/adbe.pkcs7.sha1")
    stages.send(SigObjSetup(sig_placeholder=placeholder))
    output = BytesIO()
    prepared, _ = stages.send(SigIOSetup(md_algorithm="sha1", output=output))
    stages.send(sign_cms(world, prepared.document_digest, detached=False, party=world.plain, cades=False))
    return output.getvalue()


def test_pkcs7_sha1_content_is_the_digest(tmp_path: Path, world: World) -> None:
    pdf = _sha1_signed(world)
    [report] = check(tmp_path, pdf, world).reports
    assert report.sub_filter == "adbe.pkcs7.sha1"
    assert report.integrity == "intact"
    assert report.indication is Indication.INDETERMINATE  # SHA-1 in 2021, without proof of an older time
    [forged] = check(tmp_path, pdf.replace(b"595", b"596", 1), world).reports
    assert forged.sub_indication is SubIndication.HASH_FAILURE


def _encrypted(user_password: str) -> bytes:
    writer = copy_into_new_writer(PdfFileReader(BytesIO(blank_pdf())))
    writer.encrypt(owner_pass="chủ", user_pass=user_password)
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize("password", ["", "bí mật"])
def test_signed_and_encrypted(tmp_path: Path, world: World, password: str) -> None:
    writer = IncrementalPdfFileWriter(BytesIO(_encrypted(password)))
    writer.encrypt(password)
    out = BytesIO()
    with clock_at(SIGNED_AT):
        signers.PdfSigner(signers.PdfSignatureMetadata(field_name="Sig1"), world.signer(world.plain)).sign_pdf(
            writer, output=out
        )
    [report] = check(tmp_path, out.getvalue(), world).reports
    if password:
        assert report.reasons[0].code == "PDF_ENCRYPTED"
        assert report.indication is Indication.INDETERMINATE
    else:
        assert report.indication is Indication.TOTAL_PASSED, report.as_text("en")


def _replaced_pages(pdf: bytes) -> bytes:
    """The signed file with a catalogue that points at other pages: the shadow attack's replace variant."""
    writer = IncrementalPdfFileWriter(BytesIO(pdf))
    pages = generic.DictionaryObject(
        {
            generic.NameObject("/Type"): generic.NameObject("/Pages"),
            generic.NameObject("/Count"): generic.NumberObject(0),
            generic.NameObject("/Kids"): generic.ArrayObject(),
        }
    )
    writer.root["/Pages"] = writer.add_object(pages)
    writer.update_root()
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def _hidden_content(pdf: bytes) -> bytes:
    """The signed file with the first page's content stream emptied: the shadow attack's hide variant."""
    writer = IncrementalPdfFileWriter(BytesIO(pdf))
    page = writer.root["/Pages"]["/Kids"][0]
    reference = page.raw_get("/Contents")
    writer.objects[reference.generation, reference.idnum] = generic.StreamObject(stream_data=b" ")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


def _annotated(pdf: bytes) -> bytes:
    """The signed file with a free-text annotation over the page: the evil-annotation attack."""
    writer = IncrementalPdfFileWriter(BytesIO(pdf))
    page = writer.root["/Pages"]["/Kids"][0]
    note = generic.DictionaryObject(
        {
            generic.NameObject("/Type"): generic.NameObject("/Annot"),
            generic.NameObject("/Subtype"): generic.NameObject("/FreeText"),
            generic.NameObject("/Rect"): generic.ArrayObject(map(generic.NumberObject, (50, 600, 500, 750))),
            generic.NameObject("/Contents"): generic.pdf_string("GIA TRI KHAC"),
        }
    )
    page["/Annots"] = generic.ArrayObject([*page["/Annots"], writer.add_object(note)])
    writer.update_container(page)
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


@pytest.mark.parametrize("attack", [_replaced_pages, _hidden_content, _annotated, add_page_text])
@pytest.mark.parametrize("permission", [None, fields.MDPPerm.ANNOTATE])
def test_shadow_attacks_never_pass(
    tmp_path: Path, world: World, attack: Any, permission: fields.MDPPerm | None
) -> None:
    pdf = attack(sign_pdf(world, party=world.plain, certify=permission))
    result = check(tmp_path, pdf, world, at=SIGNED_AT + timedelta(days=1))
    assert result.indication is Indication.INDETERMINATE
    assert not any(report.covers_whole_file for report in result.reports)


def test_signature_copied_from_another_file(tmp_path: Path, world: World) -> None:
    first, second = sign_pdf(world, party=world.plain), sign_pdf(world, blank_pdf("Noi dung khac"), party=world.plain)

    def value(pdf: bytes) -> tuple[int, int]:
        start = pdf.index(b"/Contents <") + len(b"/Contents <")
        return start, pdf.index(b">", start)

    source, target = value(first), value(second)
    taken = first[slice(*source)].rstrip(b"0").ljust(target[1] - target[0], b"0")
    [report] = check(tmp_path, second[: target[0]] + taken + second[target[1] :], world).reports
    assert (report.indication, report.sub_indication) == (Indication.TOTAL_FAILED, SubIndication.HASH_FAILURE)


def test_two_signers_in_one_pdf_signature_never_pass(tmp_path: Path, world: World) -> None:
    pdf = sign_pdf(world, party=world.plain)
    start = pdf.index(b"/Contents <") + len(b"/Contents <")
    end = pdf.index(b">", start)
    info = cms.ContentInfo.load(bytes.fromhex(pdf[start:end].decode()))
    signer_info = info["content"]["signer_infos"][0]
    info["content"]["signer_infos"].append(signer_info)
    raised = info.dump(force=True).hex().encode()
    [report] = check(tmp_path, pdf[:start] + raised.ljust(end - start, b"0")[: end - start] + pdf[end:], world).reports
    assert report.indication is Indication.INDETERMINATE
