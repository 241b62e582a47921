"""RFC 3161: requests, replies against requests, token signatures, the client and its failover."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asn1crypto import cms, crl, pem, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_service.digests import DigestAlgorithm, digest_bytes
from archive_service.errors import ArchiveError
from archive_service.evidence.algorithms import load_algorithm_policy
from archive_service.evidence.checks import Check, Indication
from archive_service.evidence.errors import TimestampInvalid, TimestampRefused, TimestampUnavailable
from archive_service.evidence.local_tsa import POLICY, LocalTsa, create_local_tsa
from archive_service.evidence.renewal import token_lifetime
from archive_service.evidence.timestamps import (
    CLOCK_TOLERANCE,
    TimestampRequest,
    TimestampUncheckable,
    new_request,
    parse_reply,
    parse_token,
    verify_token_signature,
)
from archive_service.evidence.token_trust import check_trust, load_anchors
from archive_service.evidence.tsa_client import TimestampAuthority, obtain_timestamp, request_timestamp
from tests.unit.evidence.tsa_server import TsaServer

AT = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
TSA = create_local_tsa(valid_from=AT - timedelta(days=1))
DIGEST = digest_bytes(b"root of a seal")
REQUEST = new_request(DIGEST)
REPLY = TSA.reply(REQUEST.to_der(), at=AT, serial_number=7)


@pytest.fixture
def server() -> Iterator[TsaServer]:
    with TsaServer(TSA, AT).running() as running:
        yield running


def authority(server: TsaServer, name: str = "one", **changes) -> TimestampAuthority:
    return replace(TimestampAuthority(name=name, url=server.url, timeout_s=1.0, anchors=(TSA.root,)), **changes)


def test_a_reply_to_our_request_is_read() -> None:
    token = parse_reply(REPLY, REQUEST, at=AT)
    assert (token.gen_time, token.hash_name, token.imprint) == (AT, "sha256", DIGEST.raw)
    assert (token.serial_number, token.policy, token.nonce) == (7, POLICY, REQUEST.nonce)
    assert token.expires_at == TSA.certificate.not_valid_after
    assert verify_token_signature(token).dump() == TSA.certificate.dump()


@pytest.mark.parametrize("algorithm", list(DigestAlgorithm))
def test_every_digest_algorithm(algorithm: DigestAlgorithm) -> None:
    request = new_request(digest_bytes(b"x", algorithm), policy=POLICY)
    assert (
        parse_reply(TSA.reply(request.to_der(), at=AT, serial_number=1), request, at=AT).imprint == request.digest.raw
    )


def test_nonces_differ() -> None:
    assert len({new_request(DIGEST).nonce for _ in range(50)}) == 50


def unlike(**changes) -> TimestampRequest:
    return replace(REQUEST, **changes)


@pytest.mark.parametrize(
    ("request_sent", "at", "message"),
    [
        (unlike(nonce=REQUEST.nonce + 2), AT, "nonce"),
        (unlike(digest=digest_bytes(b"other")), AT, "token is over"),
        (unlike(digest=digest_bytes(b"root of a seal", DigestAlgorithm.SHA_512)), AT, "token is over"),
        (unlike(policy="1.2.3.4"), AT, "policy"),
        (REQUEST, AT + CLOCK_TOLERANCE + timedelta(seconds=1), "far from ours"),
        (REQUEST, AT - CLOCK_TOLERANCE - timedelta(seconds=1), "far from ours"),
    ],
)
def test_a_reply_to_something_else_is_refused(request_sent: TimestampRequest, at: datetime, message: str) -> None:
    with pytest.raises(TimestampInvalid, match=message):
        parse_reply(REPLY, request_sent, at=at)


def test_refusals_are_told_apart() -> None:
    with pytest.raises(TimestampRefused, match="unaccepted_policy"):
        parse_reply(TSA.reply(unlike(policy="1.2.3").to_der(), at=AT, serial_number=1), REQUEST, at=AT)
    with pytest.raises(TimestampRefused, match="bad_data_format"):
        parse_reply(TSA.reply(b"nonsense", at=AT, serial_number=1), REQUEST, at=AT)
    sha1 = tsp.TimeStampReq.load(REQUEST.to_der())
    sha1["message_imprint"] = {"hash_algorithm": {"algorithm": "sha1"}, "hashed_message": bytes(20)}
    with pytest.raises(TimestampRefused, match="bad_alg"):
        parse_reply(TSA.reply(sha1.dump(force=True), at=AT, serial_number=1), REQUEST, at=AT)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=len(REPLY) - 1), st.integers(min_value=1, max_value=255))
def test_no_altered_byte_gives_another_statement(at: int, mask: int) -> None:
    damaged = REPLY[:at] + bytes([REPLY[at] ^ mask]) + REPLY[at + 1 :]
    try:
        token = parse_reply(damaged, REQUEST, at=AT)
    except (TimestampInvalid, TimestampRefused):
        return
    assert (token.imprint, token.gen_time, token.serial_number) == (DIGEST.raw, AT, 7)  # a byte outside what is signed


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_raise_only_typed_errors(content: bytes) -> None:
    for parse in (parse_token, lambda value: parse_reply(value, REQUEST, at=AT)):
        with pytest.raises((TimestampInvalid, TimestampRefused)):
            parse(content)


@settings(deadline=None)
@given(st.integers(min_value=0, max_value=len(REPLY) - 1))
def test_a_cut_reply_is_refused(length: int) -> None:
    with pytest.raises((TimestampInvalid, TimestampRefused)):
        parse_reply(REPLY[:length], REQUEST, at=AT)


def token_of(tsa: LocalTsa, content: bytes = b"x", **changes) -> bytes:
    return tsa.token(hashlib.sha256(content).digest(), "sha256", at=AT, serial_number=1, **changes)


def changed_token(change) -> bytes:
    """A token of ours with its SignedData altered by `change`."""
    info = cms.ContentInfo.load(token_of(TSA))
    signed = info["content"]
    change(signed)
    return bytes(cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump(force=True))


def test_a_false_signature_is_found() -> None:
    def forge(signed: cms.SignedData) -> None:
        other = cms.ContentInfo.load(token_of(TSA, b"other"))["content"]
        signed["encap_content_info"] = other["encap_content_info"]

    with pytest.raises(TimestampInvalid, match="message-digest"):
        verify_token_signature(parse_token(changed_token(forge)))

    def resign(signed: cms.SignedData) -> None:
        other = cms.ContentInfo.load(token_of(TSA, b"other"))["content"]
        signed["signer_infos"][0]["signature"] = other["signer_infos"][0]["signature"].native

    with pytest.raises(TimestampInvalid, match="signature value is false"):
        verify_token_signature(parse_token(changed_token(resign)))


def test_signed_attributes_in_another_order_still_verify() -> None:
    def reorder(signed: cms.SignedData) -> None:
        signer = signed["signer_infos"][0]
        signer["signed_attrs"] = cms.CMSAttributes(list(reversed(list(signer["signed_attrs"]))))

    assert verify_token_signature(parse_token(changed_token(reorder))).dump() == TSA.certificate.dump()


def test_missing_attributes_are_found() -> None:
    def without(name: str):
        def drop(signed: cms.SignedData) -> None:
            signer = signed["signer_infos"][0]
            kept = [item for item in signer["signed_attrs"] if item["type"].native != name]
            signer["signed_attrs"] = cms.CMSAttributes(kept)

        return drop

    for name, message in (("content_type", "content-type"), ("message_digest", "message-digest")):
        with pytest.raises(TimestampInvalid, match=message):
            verify_token_signature(parse_token(changed_token(without(name))))


def test_a_token_without_certificate_needs_it_from_elsewhere() -> None:
    token = parse_token(changed_token(lambda signed: signed.__setitem__("certificates", None)))
    assert token.signer is None
    with pytest.raises(TimestampUncheckable):
        verify_token_signature(token)
    assert verify_token_signature(token, [TSA.root, TSA.certificate]).dump() == TSA.certificate.dump()


def test_the_signing_certificate_attribute_binds_the_certificate() -> None:
    twin = create_local_tsa(valid_from=AT - timedelta(days=1))
    impostor = replace(TSA, key=twin.key)  # names TSA's certificate, signs with another key
    with pytest.raises(TimestampInvalid, match="signature value is false"):
        verify_token_signature(parse_token(token_of(impostor)))


def test_usage_must_be_time_stamping_alone_and_critical() -> None:
    lax = create_local_tsa(valid_from=AT - timedelta(days=1), usage_critical=False)
    request = new_request(DIGEST)
    with pytest.raises(TimestampInvalid, match="not critical"):
        parse_reply(lax.reply(request.to_der(), at=AT, serial_number=1), request, at=AT)
    token = parse_token(token_of(lax))
    check = check_trust(token, lax.certificate, anchors=[lax.root], at=AT)
    assert check.reason is not None
    assert check.reason.code == "EVIDENCE_TSA_USAGE"


def test_trust_says_why() -> None:
    token = parse_token(token_of(TSA))
    assert check_trust(token, TSA.certificate, anchors=[TSA.root], at=AT).indication is Indication.PASSED
    other = create_local_tsa(valid_from=AT - timedelta(days=1), common_name="Another authority")
    for anchors, at, code in (
        ([], AT, "EVIDENCE_TSA_NO_ANCHOR"),
        ([other.root], AT, "EVIDENCE_TSA_NO_PATH"),
        ([TSA.root], AT + timedelta(days=366 * 11), "EVIDENCE_TSA_OUT_OF_VALIDITY"),
        ([TSA.root], AT - timedelta(days=30), "EVIDENCE_TSA_OUT_OF_VALIDITY"),
    ):
        check = check_trust(token, TSA.certificate, anchors=anchors, at=at)
        assert check.indication is Indication.INDETERMINATE
        assert check.reason is not None
        assert check.reason.code == code


def test_a_root_of_the_same_name_is_not_the_anchor() -> None:
    token = parse_token(token_of(TSA))
    same_name = create_local_tsa(valid_from=AT - timedelta(days=1))
    check = check_trust(token, TSA.certificate, anchors=[same_name.root], at=AT)
    assert check.indication is not Indication.PASSED


def test_anchors_are_read_as_pem_and_der() -> None:
    der = TSA.root.dump()
    armored = pem.armor("CERTIFICATE", der)
    assert [item.dump() for item in load_anchors(der)] == [der]
    assert [item.dump() for item in load_anchors(armored + armored)] == [der, der]
    for content in (b"", b"-----BEGIN CERTIFICATE-----\n####\n-----END CERTIFICATE-----\n", b"\x30\x00x"):
        with pytest.raises(TimestampInvalid):
            _ = [item.subject for item in load_anchors(content)]


# ---------------------------------------------------------------- client


def test_the_client_gets_a_token(server: TsaServer) -> None:
    obtained = obtain_timestamp(DIGEST, [authority(server)], at=AT)
    assert (obtained.authority, obtained.failed_attempts) == ("one", ())
    assert obtained.token.imprint == DIGEST.raw


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("http-500", TimestampUnavailable),
        ("redirect", TimestampUnavailable),
        ("html", TimestampUnavailable),
        ("slow", TimestampUnavailable),
        ("huge", TimestampInvalid),
        ("garbage", TimestampInvalid),
    ],
)
def test_faults_have_their_type_and_the_next_authority_is_asked(
    server: TsaServer, fault: str, expected: type[ArchiveError]
) -> None:
    with TsaServer(TSA, AT).running() as second:
        server.fault = fault
        broken, good = authority(server, timeout_s=0.5), authority(second, "two")
        with pytest.raises(expected):
            request_timestamp(DIGEST, broken, at=AT)
        obtained = obtain_timestamp(DIGEST, [broken, good], at=AT)
    assert obtained.authority == "two"
    assert [(item.authority, item.code) for item in obtained.failed_attempts] == [("one", expected.code)]


def test_a_replayed_reply_is_refused(server: TsaServer) -> None:
    server.fault = "replay"
    request_timestamp(DIGEST, authority(server), at=AT)
    with pytest.raises(TimestampInvalid, match="nonce"):
        request_timestamp(DIGEST, authority(server), at=AT)


def test_a_token_off_the_configured_anchor_is_refused(server: TsaServer) -> None:
    other = create_local_tsa(valid_from=AT - timedelta(days=1), common_name="Another authority")
    with pytest.raises(TimestampInvalid, match="No certificate path"):
        request_timestamp(DIGEST, authority(server, anchors=(other.root,)), at=AT)


def test_when_all_fail_the_error_tells_each_reason(server: TsaServer) -> None:
    server.fault = "http-500"
    closed = TimestampAuthority(name="closed", url="http://127.0.0.1:1/", timeout_s=0.5)
    with pytest.raises(TimestampUnavailable) as raised:
        obtain_timestamp(DIGEST, [authority(server), closed, replace(closed, url="no url")], at=AT)
    assert [item.authority for item in raised.value.fields["attempts"]] == ["one", "closed", "closed"]
    with pytest.raises(TimestampUnavailable, match="none configured"):
        obtain_timestamp(DIGEST, [], at=AT)


# ---------------------------------------------------------------- paths that are wrong


def with_certificates(
    issuing_key: ec.EllipticCurvePrivateKey | None = None, root_key: Any = None, algorithm: Any = hashes.SHA256
):
    """An authority under a fresh root; `issuing_key` signs its certificate in place of the root's."""
    root_key, key = root_key or ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    digest = algorithm and algorithm()
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Root of paths")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of paths")])

    def built(subject: x509.Name, public, *, is_ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root_name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(AT - timedelta(days=10))
            .not_valid_after(AT + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )

    root = built(root_name, root_key.public_key(), is_ca=True).sign(root_key, digest)
    leaf = built(name, key.public_key(), is_ca=False).add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True
    )
    issued = leaf.sign(issuing_key or root_key, digest)
    tsa = LocalTsa(key=key, certificate=asn1(issued), root=asn1(root))
    return tsa, root_key, root, issued


def asn1(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(certificate.public_bytes(serialization.Encoding.DER))


def code_of(check: Check) -> str:
    assert check.reason is not None
    return check.reason.code


def test_a_certificate_its_issuer_did_not_sign() -> None:
    tsa, *_ = with_certificates(issuing_key=ec.generate_private_key(ec.SECP256R1()))
    check = check_trust(parse_token(token_of(tsa)), tsa.certificate, anchors=[tsa.root], at=AT)
    assert (check.indication, code_of(check)) == (Indication.FAILED, "EVIDENCE_TSA_PATH_INVALID")


@pytest.mark.parametrize(
    ("root_key", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), hashes.SHA3_256),
        (ec.generate_private_key(ec.SECP256R1()), hashes.SHA3_512),
        (ed25519.Ed25519PrivateKey.generate(), None),
    ],
    ids=["rsa-sha3", "ecdsa-sha3", "ed25519"],
)
def test_paths_over_algorithms_the_path_library_does_not_know(root_key: Any, algorithm: Any) -> None:
    tsa, *_ = with_certificates(root_key=root_key, algorithm=algorithm)
    token = parse_token(token_of(tsa))
    assert check_trust(token, tsa.certificate, anchors=[tsa.root], at=AT).indication is Indication.PASSED
    content = bytearray(tsa.certificate.dump())
    content[-1] ^= 1
    forged = asn1_x509.Certificate.load(bytes(content))
    assert check_trust(token, forged, anchors=[tsa.root], at=AT).indication is Indication.FAILED


def test_a_path_over_keys_too_small_is_undecided() -> None:
    """An honest time-stamp of long ago is not false because its keys are weak today."""
    tsa, *_ = with_certificates(root_key=rsa.generate_private_key(65537, 1024))  # noqa: S505 - weak on purpose
    check = check_trust(parse_token(token_of(tsa)), tsa.certificate, anchors=[tsa.root], at=AT)
    assert (check.indication, code_of(check)) == (Indication.INDETERMINATE, "EVIDENCE_TSA_ALGORITHM")


@pytest.mark.parametrize(("key", "bits"), [(ed25519.Ed25519PrivateKey, 256), (ed448.Ed448PrivateKey, 456)])
def test_a_token_of_an_edwards_key_has_a_lifetime(key: Any, bits: int) -> None:
    """asn1crypto cannot tell these keys' size."""
    tsa, *_ = with_certificates(root_key=key.generate(), algorithm=None)
    lifetime = token_lifetime(replace(parse_token(token_of(tsa)), signer=tsa.root), "sha256")
    assert (lifetime.key_algorithm, lifetime.key_bits) == (f"ed{'25519' if bits == 256 else '448'}", bits)
    limit = load_algorithm_policy().signature_until(lifetime.key_algorithm or "", bits)
    assert limit is not None


@pytest.mark.parametrize(
    ("reason", "revoked_after", "expected"),
    [
        (None, timedelta(), Indication.FAILED),
        (None, timedelta(hours=1), Indication.FAILED),
        (x509.ReasonFlags.key_compromise, timedelta(hours=1), Indication.FAILED),
        (x509.ReasonFlags.superseded, timedelta(), Indication.FAILED),
        (x509.ReasonFlags.superseded, timedelta(hours=1), Indication.PASSED),
        (x509.ReasonFlags.cessation_of_operation, timedelta(hours=1), Indication.PASSED),
    ],
)
def test_a_revoked_certificate(reason: x509.ReasonFlags | None, revoked_after: timedelta, expected: Indication) -> None:
    """An authority that closes takes nothing back from the time-stamps it gave before (RFC 3161 section 4)."""
    tsa, root_key, root, issued = with_certificates()
    builder = x509.RevokedCertificateBuilder().serial_number(issued.serial_number)
    builder = builder.revocation_date(AT + revoked_after)
    if reason is not None:
        builder = builder.add_extension(x509.CRLReason(reason), critical=False)
    revocations = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.subject)
        .last_update(AT)
        .next_update(AT + timedelta(days=30))
        .add_revoked_certificate(builder.build())
        .sign(root_key, hashes.SHA256())
    )
    crls = [crl.CertificateList.load(revocations.public_bytes(serialization.Encoding.DER))]
    token = parse_token(token_of(tsa))
    later = AT + timedelta(days=1)
    assert check_trust(token, tsa.certificate, anchors=[tsa.root], at=later).indication is Indication.PASSED
    check = check_trust(token, tsa.certificate, anchors=[tsa.root], at=later, crls=crls)
    assert check.indication is expected
    assert expected is Indication.PASSED or code_of(check) == "EVIDENCE_TSA_REVOKED"
