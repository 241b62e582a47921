"""Hostile certificates and oversized evidence: bounded, explained, never a crash. And a second opinion: pyHanko's own AdES validation."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pytest
from asn1crypto import cms
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.ades.report import AdESStatus
from pyhanko.sign.validation.ades import ades_basic_validation, ades_lta_validation, ades_with_time_validation
from pyhanko.sign.validation.policy_decl import (
    PdfSignatureValidationSpec,
    RevinfoOnlineFetchingRule,
    RevocationInfoGatheringSpec,
    SignatureValidationSpec,
)
from pyhanko_certvalidator.context import CertValidationPolicySpec
from pyhanko_certvalidator.ltv.types import ValidationTimingInfo
from pyhanko_certvalidator.policy_decl import CertRevTrustPolicy, RevocationCheckingPolicy, RevocationCheckingRule
from pyhanko_certvalidator.registry import SimpleTrustManager

from archive_service.signatures import Indication, TrustStore
from archive_service.signatures.certificates import MAX_NAME_LENGTH
from archive_service.signatures.chain import MAX_PATH_LENGTH
from archive_service.signatures.evidence import MAX_CERTIFICATES, MAX_CRL_BYTES, Evidence
from archive_service.signatures.report import SubIndication
from tests.unit.signatures.checking import check
from tests.unit.signatures.pki_fixtures import SIGNED_AT, Party, World, key_of, sign_cms, sign_pdf

P7M = "application/pkcs7-mime"
NEXT_DAY = SIGNED_AT + timedelta(days=1)


@pytest.fixture(scope="module")
def world() -> World:
    return World(tag="hostile")


def with_certificates(signature: bytes, extra: list[Party]) -> bytes:
    info = cms.ContentInfo.load(signature)
    for party in extra:
        info["content"]["certificates"].append(cms.CertificateChoices({"certificate": party.asn1}))
    return bytes(info.dump(force=True))


def test_namesake_authorities_do_not_explode_path_building(tmp_path: Path, world: World) -> None:
    """Every certificate claims every other as issuer: naive search would try all orders."""
    crowd = [world.make("Vòng", None, authority=True, key=key_of(f"loop{number}")) for number in range(40)]
    looped = [
        world.make("Vòng", crowd[number - 1], authority=True, key=key_of(f"loop{number}")) for number in range(40)
    ]
    leaf = world.make("Cuối", looped[0])
    content = with_certificates(sign_cms(world, b"x", detached=False, party=leaf), [*crowd, *looped])
    started = time.perf_counter()
    [report] = check(tmp_path, content, world, mime=P7M).reports
    assert time.perf_counter() - started < 10
    assert report.sub_indication is SubIndication.NO_CERTIFICATE_CHAIN_FOUND


def test_endless_chain_is_cut(tmp_path: Path, world: World) -> None:
    links = [world.root]
    for number in range(MAX_PATH_LENGTH + 5):
        links.append(world.make(f"Mắt xích {number}", links[-1], authority=True))
    leaf = world.make("Cuối chuỗi", links[-1])
    content = with_certificates(sign_cms(world, b"x", detached=False, party=leaf), links[1:])
    [report] = check(tmp_path, content, world, mime=P7M).reports
    assert report.indication is Indication.INDETERMINATE


def test_certificate_bomb_is_limited() -> None:
    evidence = Evidence()
    tag = World(tag="bomb")
    for number in range(MAX_CERTIFICATES + 10):
        evidence.add_certificate(tag.make(f"n{number}", tag.root).der)
    assert len(evidence.certificates) == MAX_CERTIFICATES
    assert evidence.refused


def test_oversized_and_malformed_revocation_data_is_refused() -> None:
    evidence = Evidence()
    evidence.add_crl(b"\x30" * (MAX_CRL_BYTES + 1))
    evidence.add_crl(b"\x30\x03\x02\x01\x01")
    evidence.add_ocsp(b"\x30\x82")
    evidence.add_certificate(b"\x30\x00")
    assert [*evidence.crls, *evidence.ocsps, *evidence.certificates] == []
    assert len(evidence.refused) == 4


def test_names_with_control_characters_are_shown_harmlessly(tmp_path: Path, world: World) -> None:
    party = world.make("A\u202eB" + "x" * 50, world.issuing)
    [report] = check(tmp_path, sign_cms(world, b"x", detached=False, party=party), world, mime=P7M).reports
    assert "\u202e" not in report.signer
    assert len(report.signer) <= MAX_NAME_LENGTH + 1


def test_leaf_used_as_authority_is_refused(tmp_path: Path, world: World) -> None:
    """A person's certificate issues another one: basic constraints forbid it."""
    rogue = world.make("Kẻ mạo danh", world.plain)
    content = with_certificates(sign_cms(world, b"x", detached=False, party=rogue), [world.plain])
    [report] = check(tmp_path, content, world, mime=P7M).reports
    assert report.indication is Indication.INDETERMINATE


def test_self_signed_signer_in_the_store_still_expires(tmp_path: Path, world: World) -> None:
    alone = world.make("Tự ký", None)
    trust = TrustStore.of([alone.der])
    pdf = sign_pdf(world, party=alone)
    assert check(tmp_path, pdf, world, trust=trust).indication is Indication.TOTAL_PASSED
    late = check(tmp_path, pdf, world, trust=trust, at=datetime(2025, 1, 1, tzinfo=UTC))
    assert late.reports[0].sub_indication is SubIndication.OUT_OF_BOUNDS_NO_POE


def resigned_ranges(pdf: bytes, ranges: bytes) -> bytes:
    """The PDF with another /ByteRange of the same length in the file."""
    start = pdf.index(b"/ByteRange [")
    end = pdf.index(b"]", start) + 1
    assert len(ranges) <= end - start
    return pdf[:start] + ranges.ljust(end - start) + pdf[end:]


@pytest.mark.parametrize(
    "ranges",
    [
        b"/ByteRange null",
        b"/ByteRange []",
        b"/ByteRange [0 9]",
        b"/ByteRange [0 0 0 0]",
        b"/ByteRange [0 -1 9 9]",
        b"/ByteRange [-9 9 0 9]",
        b"/ByteRange [0 9 9999999999 9]",
        b"/ByteRange [0 9999999999 9 9]",
        b"/ByteRange [(a) /b]",
        b"/Byteranges [0 9]",
    ],
)
def test_odd_byte_ranges_never_pass(tmp_path: Path, world: World, ranges: bytes) -> None:
    started = time.perf_counter()
    result = check(tmp_path, resigned_ranges(sign_pdf(world, party=world.plain), ranges), world)
    assert time.perf_counter() - started < 10
    assert result.indication in {Indication.INDETERMINATE, Indication.TOTAL_FAILED}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"/SubFilter /ETSI.CAdES.detached", b"/SubFilter /adbe.x509.rsa_sha1 "),
        (b"/SubFilter /ETSI.CAdES.detached", b"/SubFilter null                "),
        (b"/Filter /Adobe.PPKLite", b"/Filter /Unknown.Handl"),
        (b"/Contents <30", b"/Contents <31"),
        (b"/Type /Sig\n", b"/Type /Sic\n"),
    ],
)
def test_odd_signature_dictionaries_never_pass(tmp_path: Path, world: World, old: bytes, new: bytes) -> None:
    pdf = sign_pdf(world, party=world.plain)
    assert old in pdf
    assert check(tmp_path, pdf.replace(old, new), world).indication is not Indication.TOTAL_PASSED


# ------------------------------------------------------------------ pyHanko as a second opinion


def second_opinion(world: World, pdf: bytes, level: str, at: datetime) -> AdESStatus:
    """pyHanko's AdES validation by level (STANDARDS 1.2), with the revocation rule of our policy."""
    rule = RevocationCheckingRule.CHECK_IF_DECLARED
    spec = SignatureValidationSpec(
        cert_validation_policy=CertValidationPolicySpec(
            trust_manager=SimpleTrustManager.build(trust_roots=[world.root.asn1]),
            revinfo_policy=CertRevTrustPolicy(RevocationCheckingPolicy(rule, rule)),
        ),
        revinfo_gathering_policy=RevocationInfoGatheringSpec(RevinfoOnlineFetchingRule.LOCAL_ONLY),
    )
    timing = ValidationTimingInfo(validation_time=at, best_signature_time=at, point_in_time_validation=True)
    signature = PdfFileReader(BytesIO(pdf)).embedded_signatures[0]
    signature.compute_integrity_info()
    if level == "LTA":
        outcome = asyncio.run(ades_lta_validation(signature, PdfSignatureValidationSpec(spec), timing_info=timing))
        return outcome.ades_subindic.status
    judge = ades_basic_validation if level == "B" else ades_with_time_validation
    basic = asyncio.run(judge(signature.signed_data, spec, timing_info=timing, raw_digest=signature.compute_digest()))
    return basic.ades_subindic.status


@pytest.mark.parametrize("level", ["B", "T", "LT", "LTA"])
@pytest.mark.parametrize("forge", [False, True])
def test_never_better_than_forged_never_worse_than_passed(
    tmp_path: Path, world: World, level: str, *, forge: bool
) -> None:
    pdf = sign_pdf(world, level=level, party=world.plain if level in {"B", "T"} else None)
    pdf = pdf.replace(b"595", b"596", 1) if forge else pdf
    for at in (SIGNED_AT + timedelta(hours=1), datetime(2024, 6, 1, tzinfo=UTC)):
        theirs = second_opinion(world, pdf, level, at)
        ours = check(tmp_path, pdf, world, at=at).reports[0].indication
        if theirs is AdESStatus.FAILED:
            assert ours is Indication.TOTAL_FAILED
        if theirs is AdESStatus.PASSED:
            assert ours is Indication.TOTAL_PASSED
