"""Honest signed PDFs that look like attacks: made by signing, filling in and stamping."""

# pyHanko leaves much untyped that this generator calls
# mypy: disable-error-code="no-untyped-call,attr-defined,arg-type,union-attr,no-any-return"

from collections.abc import Mapping
from io import BytesIO

import pikepdf
from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.sign import fields
from pyhanko.sign.signers import PdfTimeStamper

from tests.unit.signatures.pdf_attacks import (
    Attack,
    catalog_entry,
    dictionary,
    name,
    rewritten,
    shadow_pdf,
    signed,
    value_changed,
)
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World, blank_pdf, sign_pdf


def _linearized(world: World) -> bytes:
    out = BytesIO()
    with pikepdf.open(BytesIO(blank_pdf())) as pdf:
        pdf.save(out, linearize=True)
    return signed(world, pdf=out.getvalue())


def _packed(world: World) -> bytes:
    out = BytesIO()
    with pikepdf.open(BytesIO(blank_pdf())) as pdf:
        pdf.save(out, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    return signed(world, pdf=out.getvalue())


def _filled_then_signed(world: World) -> bytes:
    return signed(world, pdf=value_changed(signed(world, pdf=shadow_pdf())), field_name="Sig2")


def _stamped_document(world: World) -> bytes:
    out = BytesIO()
    PdfTimeStamper(world.timestamper(SIGNED_AT)).timestamp_pdf(
        IncrementalPdfFileWriter(BytesIO(signed(world))), "sha256", output=out
    )
    return out.getvalue()


def _certified_then_signed(world: World) -> bytes:
    return signed(world, pdf=signed(world, certify=fields.MDPPerm.FILL_FORMS), field_name="Sig2")


def _three(world: World) -> bytes:
    return signed(world, pdf=signed(world, pdf=signed(world), field_name="Sig2"), field_name="Sig3")


def _described(world: World) -> bytes:
    """Title and author kept while the dictionary that says them is written anew, as programs do that add validation data."""

    def change(writer: IncrementalPdfFileWriter) -> None:
        entries = {"Title": "Quyết định", "ModDate": f"D:2021060{len(writer.root)}000000Z"}
        info = dictionary(**{key: generic.pdf_string(value) for key, value in entries.items()})
        writer.set_info(writer.add_object(info))

    return rewritten(change)(signed(world, pdf=rewritten(change)(blank_pdf())))


HONEST: Mapping[str, Attack] = {
    "described anew with the same words": _described,
    "once": signed,
    "three in turn": _three,
    "certified, then signed": _certified_then_signed,
    "certified for annotations": lambda world: signed(world, certify=fields.MDPPerm.ANNOTATE),
    "certified for nothing": lambda world: signed(world, certify=fields.MDPPerm.NO_CHANGES),
    "filled in, then signed again": _filled_then_signed,
    "web-optimised, then signed": _linearized,
    "object streams": _packed,
    "long-term": lambda world: sign_pdf(world, level="LT"),
    "archived": lambda world: sign_pdf(world, level="LTA"),
    "line ends after the end": lambda world: signed(world) + b"\r\n\r\n",
    "script in the signed file": lambda world: signed(
        world, pdf=catalog_entry(OpenAction=dictionary(S=name("/JavaScript"), JS=generic.pdf_string("1")))(blank_pdf())
    ),
    "plain ISO 32000": lambda world: signed(world, pades=False),
}
STAMPED = _stamped_document
