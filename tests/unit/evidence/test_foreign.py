"""Evidence Records as other software hands them over: wrapped, over other digests, with fields ours never have."""

import hashlib
from base64 import encodebytes
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import cms, core, pem

from archive_service.evidence.algorithms import load_algorithm_policy
from archive_service.evidence.checks import Indication
from archive_service.evidence.der import encode
from archive_service.evidence.errors import EvidenceRecordInvalid
from archive_service.evidence.ers_asn1 import encode_record, encode_timestamp
from archive_service.evidence.evidence_record import combine
from archive_service.evidence.evidence_record_verify import EvidenceRecordVerification
from archive_service.evidence.foreign import Unwrapped, unwrap, verify_foreign
from archive_service.evidence.local_tsa import LocalTsa, create_local_tsa
from tests.unit.evidence.sealing import renewed_timestamps, renewed_trees, seal

T0 = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
DAY = timedelta(days=1)
CONTENTS = [b"document", b"signature", b"report"]
SHA256_OID = core.ObjectIdentifier("2.16.840.1.101.3.4.2.1").dump()
UNKNOWN_OID = core.ObjectIdentifier("2.16.840.1.101.3.4.2.99").dump()
INTERNAL, EXTERNAL = "1.2.840.113549.1.9.16.2.49", "1.2.840.113549.1.9.16.2.50"


@pytest.fixture(scope="module")
def tsa() -> LocalTsa:
    return create_local_tsa(valid_from=T0 - DAY)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for number, content in enumerate(CONTENTS):
        path = tmp_path / f"data{number}"
        path.write_bytes(content)
        paths.append(path)
    return paths


def made(tsa: LocalTsa, name: str, lists: list[list[bytes]], root: bytes, **fields) -> bytes:
    """A record by hand: `lists` as the reduced hash tree (none: no tree), time-stamped over `root`."""
    token = tsa.token(root, name, at=T0, serial_number=1)
    if lists:
        return encode_record([[encode_timestamp(name, lists, token)]], [name])
    chain = encode(b"\x30", encode(b"\x30", encode(b"\x30", token)))
    head = core.Integer(1).dump() + cms.DigestAlgorithms([{"algorithm": name}]).dump().replace(b"\x31", b"\x30", 1)
    return encode(b"\x30", head + b"".join(fields.values()) + chain)


def checked(content: bytes, paths: list[Path], tsa: LocalTsa, **options) -> EvidenceRecordVerification:
    arguments: dict[str, Any] = {"anchors": (tsa.root,), "at": T0 + DAY, "policy": load_algorithm_policy()} | options
    (result,) = verify_foreign(content, paths, **arguments)
    return result


def codes(result: EvidenceRecordVerification) -> set[str]:
    return {reason.code for reason in result.reasons}


def attribute(record: bytes, oid: str = EXTERNAL) -> bytes:
    return encode(b"\x30", core.ObjectIdentifier(oid).dump() + encode(b"\x31", record))


@pytest.mark.parametrize("wrap", ["bare", "pem", "base64", "attribute"])
def test_a_record_however_it_comes(tsa: LocalTsa, files: list[Path], wrap: str) -> None:
    record = seal([CONTENTS], tsa, T0)[0].encoded
    content = {
        "bare": record,
        "pem": pem.armor("EVIDENCE RECORD", record),
        "base64": b"\xef\xbb\xbf" + encodebytes(record),
        "attribute": attribute(record),
    }[wrap]
    assert unwrap(content) == Unwrapped(records=(record,))
    assert checked(content, files, tsa, whole_group=True).indication is Indication.PASSED
    files[0].write_bytes(b"another")
    assert codes(checked(content, files, tsa)) == {"EVIDENCE_RECORD_OBJECT_NOT_COVERED"}


def with_attributes(token: bytes, *attributes: bytes) -> bytes:
    """A CMS signature with unsigned attributes: a time-stamp token serves as one."""
    info = cms.ContentInfo.load(token)
    info["content"]["signer_infos"][0]["unsigned_attrs"] = cms.CMSAttributes(
        [cms.CMSAttribute.load(content) for content in attributes]
    )
    return bytes(info.dump(force=True))


def test_a_signature_that_carries_its_own_record(tsa: LocalTsa, files: list[Path]) -> None:
    signature = tsa.token(hashlib.sha256(b"x").digest(), "sha256", at=T0, serial_number=7)
    record = seal([[signature]], tsa, T0)[0].encoded
    archived = with_attributes(signature, attribute(record, INTERNAL))
    found = unwrap(archived)
    assert (found.records, found.signature) == ((record,), signature)
    assert checked(archived, [], tsa).indication is Indication.PASSED
    assert codes(checked(archived, files, tsa)) == {"EVIDENCE_RECORD_OBJECT_NOT_COVERED"}


def test_a_detached_signature_is_proved_with_its_content(tsa: LocalTsa, files: list[Path]) -> None:
    signature = tsa.token(hashlib.sha256(b"x").digest(), "sha256", at=T0, serial_number=7)
    record = seal([[signature, CONTENTS[0]]], tsa, T0)[0].encoded
    archived = with_attributes(signature, attribute(record, EXTERNAL))
    assert checked(archived, files[:1], tsa, whole_group=True).indication is Indication.PASSED
    content_only = with_attributes(signature, attribute(seal([CONTENTS[:1]], tsa, T0)[0].encoded, EXTERNAL))
    assert codes(checked(content_only, files[:1], tsa)) == {"EVIDENCE_RECORD_OBJECT_NOT_COVERED"}


def test_files_of_one_name_are_several_objects(tsa: LocalTsa, files: list[Path], tmp_path: Path) -> None:
    """The last of them must not stand for all."""
    other = tmp_path / "elsewhere" / files[0].name
    other.parent.mkdir()
    other.write_bytes(b"not covered")
    record = seal([CONTENTS], tsa, T0)[0].encoded
    result = checked(record, [other, files[0]], tsa)
    (false,) = result.reasons
    assert (false.code, false.location) == ("EVIDENCE_RECORD_OBJECT_NOT_COVERED", str(other))


def test_a_group_over_an_unknown_digest_is_undecided(tsa: LocalTsa, files: list[Path]) -> None:
    record = seal([CONTENTS], tsa, T0)[0].encoded.replace(SHA256_OID, UNKNOWN_OID)
    result = checked(record, files, tsa, whole_group=True)
    assert "EVIDENCE_RECORD_NO_DIGEST" in codes(result)
    assert "EVIDENCE_RECORD_NON_DATA_OBJECTS" not in codes(result)


def test_a_record_must_list_its_digests(tsa: LocalTsa, files: list[Path]) -> None:
    item = seal([CONTENTS], tsa, T0)[0].chains[0].timestamps[0]
    assert checked(encode_record([[item.encoded]], ["sha1", "sha256"]), files, tsa).indication is Indication.PASSED
    for names in ([], ["sha512"]):
        result = checked(encode_record([[item.encoded]], names), files, tsa)
        found = ({"EVIDENCE_RECORD_ALGORITHM_NOT_LISTED"}, Indication.INDETERMINATE)
        assert (codes(result), result.indication) == found


def test_digest_algorithms_take_no_parameters_but_null(tsa: LocalTsa, files: list[Path]) -> None:
    record = seal([CONTENTS], tsa, T0)[0].encoded
    for wrong in (b"\x04\x00", b"\x30\x00"):
        changed = record.replace(SHA256_OID + b"\x05\x00", SHA256_OID + wrong, 1)
        assert codes(checked(changed, files, tsa)) == {"EVIDENCE_RECORD_MALFORMED"}
    item = seal([CONTENTS], tsa, T0)[0].chains[0].timestamps[0]
    without = encode(b"\x30", core.Integer(1).dump() + encode(b"\x30", encode(b"\x30", SHA256_OID)))
    bare = encode(b"\x30", without[2:] + encode(b"\x30", encode(b"\x30", item.encoded)))
    assert checked(bare, files, tsa).indication is Indication.PASSED


def test_more_chains_than_digest_algorithms_end_in_a_lifetime_are_refused(tsa: LocalTsa, files: list[Path]) -> None:
    """Each chain is over all before it: a hostile record of many would cost their number times its size."""
    item = seal([CONTENTS], tsa, T0)[0].chains[0].timestamps[0].encoded
    assert "EVIDENCE_RECORD_MALFORMED" not in codes(checked(encode_record([[item]] * 100, ["sha256"]), files, tsa))
    assert codes(checked(encode_record([[item]] * 101, ["sha256"]), files, tsa)) == {"EVIDENCE_RECORD_MALFORMED"}


def test_a_signature_without_record_and_other_objects_are_refused(tsa: LocalTsa) -> None:
    signature = tsa.token(hashlib.sha256(b"x").digest(), "sha256", at=T0, serial_number=7)
    with pytest.raises(EvidenceRecordInvalid, match="without Evidence Record"):
        unwrap(signature)
    enveloped = cms.ContentInfo({"content_type": "data", "content": core.OctetString(b"x")}).dump()
    with pytest.raises(EvidenceRecordInvalid, match="of type data"):
        unwrap(enveloped)
    assert codes(checked(signature, [], tsa)) == {"EVIDENCE_RECORD_MALFORMED"}


def test_xml_records_are_named_and_not_judged(tsa: LocalTsa, files: list[Path]) -> None:
    content = b'\xef\xbb\xbf<?xml version="1.0"?>\n<EvidenceRecord Version="1.0"/>'
    result = checked(content, files, tsa)
    assert (codes(result), result.indication) == ({"EVIDENCE_RECORD_FORM_UNSUPPORTED"}, Indication.INDETERMINATE)


@pytest.mark.parametrize("name", ["sha224", "sha384", "sha512", "sha512_256", "sha3_224", "sha3_256", "sha3_512"])
def test_other_digests(tsa: LocalTsa, files: list[Path], name: str) -> None:
    leaf = hashlib.new(name, CONTENTS[0]).digest()
    others = [[hashlib.new(name, b"%d" % number).digest()] for number in range(3)]
    value = combine(name, [leaf, *others[0]])
    for part in others[1:]:
        value = combine(name, [*part, value])
    record = made(tsa, name, [[leaf, *others[0]], *others[1:]], value)
    assert checked(record, files[:1], tsa).integrity is Indication.PASSED
    assert checked(record, files[1:2], tsa).integrity is Indication.FAILED


def test_no_tree_over_a_file_and_over_a_group(tsa: LocalTsa, files: list[Path]) -> None:
    one = made(tsa, "sha256", [], hashlib.sha256(CONTENTS[0]).digest())
    assert checked(one, files[:1], tsa, whole_group=True).indication is Indication.PASSED
    assert codes(checked(one, files[1:2], tsa)) == {"EVIDENCE_RECORD_OBJECT_NOT_COVERED"}
    group = made(tsa, "sha256", [], combine("sha256", [hashlib.sha256(item).digest() for item in CONTENTS]))
    assert checked(group, files, tsa, whole_group=True).indication is Indication.PASSED
    assert checked(group, files[:2], tsa).integrity is Indication.FAILED


def test_crypto_infos_are_passed_over_and_encryption_leaves_undecided(tsa: LocalTsa, files: list[Path]) -> None:
    info = encode(b"\x30", core.ObjectIdentifier("1.2.3.4").dump() + encode(b"\x31", core.OctetString(b"crl").dump()))
    crypto = {"crypto_infos": encode(b"\xa0", info)}
    record = made(tsa, "sha256", [], hashlib.sha256(CONTENTS[0]).digest(), **crypto)
    assert checked(record, files[:1], tsa).indication is Indication.PASSED
    encryption = core.ObjectIdentifier("1.2.840.113549.1.7.3").dump() + core.Null().dump()
    both = crypto | {"encryption_info": encode(b"\xa1", encryption)}
    record = made(tsa, "sha256", [], hashlib.sha256(b"ciphertext").digest(), **both)
    result = checked(record, files[:1], tsa)
    assert (codes(result), result.indication) == ({"EVIDENCE_RECORD_ENCRYPTED"}, Indication.INDETERMINATE)
    files[0].write_bytes(b"ciphertext")
    assert checked(record, files[:1], tsa).indication is Indication.PASSED


def test_lists_in_any_order_with_any_number_of_hashes(tsa: LocalTsa, files: list[Path]) -> None:
    hashes = [hashlib.sha256(item).digest() for item in CONTENTS]
    extra = [hashlib.sha256(b"%d" % number).digest() for number in range(5)]
    root = combine("sha256", [*extra, combine("sha256", hashes)])
    for order in (1, -1):
        record = made(tsa, "sha256", [sorted(hashes)[::order], extra[::order]], root)
        assert checked(record, files, tsa, whole_group=True).indication is Indication.PASSED
    assert "EVIDENCE_RECORD_NON_DATA_OBJECTS" in codes(checked(record, files[:2], tsa, whole_group=True))
    swapped = made(tsa, "sha256", [extra, hashes], root)
    assert {"EVIDENCE_RECORD_ROOT_DIFFERS", "EVIDENCE_RECORD_OBJECT_NOT_COVERED"} == codes(checked(swapped, files, tsa))


def test_renewed_records_of_groups(tsa: LocalTsa, files: list[Path]) -> None:
    groups = [[b"other"], CONTENTS]
    renewed = renewed_trees(renewed_timestamps(seal(groups, tsa, T0), tsa, T0 + DAY), groups, tsa, T0 + 2 * DAY)
    result = checked(attribute(renewed[1].encoded), files, tsa, at=T0 + 3 * DAY, whole_group=True)
    assert (result.indication, len(result.timestamps)) == (Indication.PASSED, 3)
    swapped = [*renewed[1].chains][::-1]
    content = encode_record([[item.encoded for item in chain.timestamps] for chain in swapped], ("sha256", "sha512"))
    assert "EVIDENCE_RECORD_ORDER" in codes(checked(content, files, tsa, at=T0 + 3 * DAY))


def test_a_token_without_certificate_uses_the_anchors(files: list[Path]) -> None:
    tsa = create_local_tsa(valid_from=T0 - DAY)
    token = cms.ContentInfo.load(tsa.token(hashlib.sha256(CONTENTS[0]).digest(), "sha256", at=T0, serial_number=1))
    token["content"]["certificates"] = None
    chain = encode(b"\x30", encode(b"\x30", encode(b"\x30", token.dump(force=True))))
    head = core.Integer(1).dump() + encode(b"\x30", cms.DigestAlgorithm({"algorithm": "sha256"}).dump())
    content = encode(b"\x30", head + chain)
    assert "EVIDENCE_RECORD_TOKEN_NOT_CHECKED" in codes(checked(content, files[:1], tsa))
    with_signer = checked(content, files[:1], tsa, certificates=(tsa.certificate,))
    assert with_signer.indication is Indication.PASSED
    assert checked(content, files[:1], tsa, anchors=(tsa.certificate,)).integrity is Indication.PASSED
