"""Office packages, old PDF encodings, encrypted PDFs, replaced page trees."""

import zipfile
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
