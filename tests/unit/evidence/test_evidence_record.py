"""RFC 4998 records: built, renewed and verified; every reason for which one does not pass."""

import hashlib
import io
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_service.digests import digest_bytes
from archive_service.evidence.algorithms import AlgorithmPolicy, SignatureLimit, load_algorithm_policy
from archive_service.evidence.checks import Indication
from archive_service.evidence.der import encode
from archive_service.evidence.errors import EvidenceRecordInvalid
from archive_service.evidence.ers_asn1 import (
    EvidenceRecord,
    encode_record,
    encode_timestamp,
    parse_evidence_record,
    sequence_forms,
)
from archive_service.evidence.evidence_record import (
    HashTree,
    combine,
    hashtree_renewal_unit,
    initial_record,
    plan_timestamp_renewal,
    renew_hashtree,
    renew_timestamp,
)
from archive_service.evidence.evidence_record_verify import (
    DataObject,
    EvidenceRecordVerification,
    read_data_object,
    verify_evidence_record,
)
from archive_service.evidence.local_tsa import create_local_tsa
from tests.unit.evidence.sealing import (
    SHA256,
    SHA512,
    objects_of,
    renewed_timestamps,
    renewed_trees,
    seal,
    token_over,
    unit_of,
)

T0 = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
YEAR = timedelta(days=365)
TSA = create_local_tsa(valid_from=T0 - timedelta(days=1), years=8)
NEXT_TSA = create_local_tsa(valid_from=T0 + 5 * YEAR, years=8, common_name="The authority after")
ANCHORS = (TSA.root, NEXT_TSA.root)
SIGNATURES = (SignatureLimit(algorithm="ec", min_bits=256, secure_until=date(2045, 12, 31)),)
POLICY = replace(load_algorithm_policy(), signatures=SIGNATURES)
"""Keys that outlive the digests: most tests here are about digests and certificates."""
GROUPS = [[b"AIP 1"], [b"AIP 2"], [b"document", b"signature", b"report"], [b"AIP 4"], [b"AIP 5"]]


def verify(record: EvidenceRecord | bytes, contents, *, at=T0 + YEAR, **options) -> EvidenceRecordVerification:
    content = record.encoded if isinstance(record, EvidenceRecord) else record
    arguments: dict[str, Any] = {"anchors": ANCHORS, "policy": POLICY} | options
    return verify_evidence_record(content, objects_of(contents), at=at, **arguments)


def codes(result: EvidenceRecordVerification) -> set[str]:
    return {reason.code for reason in result.reasons}


# ---------------------------------------------------------------- making


@settings(deadline=None, max_examples=30)
@given(st.integers(min_value=1, max_value=40), st.data())
def test_every_record_of_a_batch_verifies(count: int, data: st.DataObject) -> None:
    groups = [[b"%d-%d" % (unit, member) for member in range(data.draw(st.integers(1, 3)))] for unit in range(count)]
    records = seal(groups, TSA, T0)
    at = data.draw(st.integers(min_value=0, max_value=count - 1))
    result = verify(records[at], groups[at])
    assert result.indication is Indication.PASSED
    assert result.existed_at == T0
    assert "EVIDENCE_RECORD_OBJECT_NOT_COVERED" in codes(verify(records[at], [b"not archived"]))


def test_a_first_list_never_has_one_hash() -> None:
    for groups in (GROUPS, GROUPS[:1], GROUPS[:2], GROUPS[2:3]):
        for record in seal(groups, TSA, T0):
            tree = record.chains[0].timestamps[0].tree
            assert tree is not None
            assert len(tree[0]) > 1


def test_a_groups_first_list_is_the_group_and_nothing_else() -> None:
    record = seal(GROUPS, TSA, T0)[2]
    assert verify(record, GROUPS[2], whole_group=True).indication is Indication.PASSED
    result = verify(record, GROUPS[2][:2], whole_group=True)
    assert codes(result) == {"EVIDENCE_RECORD_NON_DATA_OBJECTS"}


def test_the_same_seal_gives_the_same_tree() -> None:
    units = [unit_of(group) for group in GROUPS]
    assert HashTree(SHA256, units).root == HashTree(SHA256, units).root
    assert HashTree(SHA256, units[:1]).root == HashTree(SHA256, units[:1]).root


def test_what_cannot_be_built_is_refused() -> None:
    good = unit_of([b"x"])
    for units in ([], [()], [(b"short",)], [good, ()]):
        with pytest.raises(EvidenceRecordInvalid):
            HashTree(SHA256, units)
    tree = HashTree(SHA256, [good])
    with pytest.raises(EvidenceRecordInvalid, match="token is over"):
        initial_record(tree, 0, token_over(digest_bytes(b"other"), TSA, T0))
    records = seal(GROUPS, TSA, T0)
    plan = plan_timestamp_renewal(records)
    token = token_over(plan.tree.root, TSA, T0)
    foreign = seal([[b"other"]], TSA, T0)[0]
    with pytest.raises(EvidenceRecordInvalid, match="does not cover"):
        renew_timestamp(foreign, plan.tree, 0, token)
    with pytest.raises(EvidenceRecordInvalid, match="does not cover"):
        renew_hashtree(records[0], [digest_bytes(b"x")], plan.tree, 0, token)
    with pytest.raises(EvidenceRecordInvalid):
        plan_timestamp_renewal([])
    with pytest.raises(EvidenceRecordInvalid):
        hashtree_renewal_unit(records[0], [])
    with pytest.raises(EvidenceRecordInvalid):
        plan_timestamp_renewal([foreign, seal([[b"x"]], TSA, T0, SHA512)[0]])


# ---------------------------------------------------------------- renewing


def test_timestamp_renewal_shares_one_unit_per_batch_and_keeps_the_proof() -> None:
    first, second = seal(GROUPS, TSA, T0), seal([[b"AIP 6"]], TSA, T0 + YEAR)
    assert len(plan_timestamp_renewal([*first, *second]).tree.units) == 2
    renewed = renewed_timestamps([*first, *second], NEXT_TSA, T0 + 6 * YEAR)
    again = renewed_timestamps(renewed, NEXT_TSA, T0 + 7 * YEAR)
    for record, contents in zip(again, [*GROUPS, [b"AIP 6"]], strict=True):
        result = verify(record, contents, at=T0 + 12 * YEAR)
        assert codes(result) <= {"EVIDENCE_RECORD_ALGORITHM_EXPIRED"}
        assert result.integrity is Indication.PASSED
        assert len(result.timestamps) == 3


def test_hashtree_renewal_keeps_the_proof_after_the_old_algorithm() -> None:
    renewed = renewed_trees(seal(GROUPS, TSA, T0), GROUPS, NEXT_TSA, T0 + 6 * YEAR)
    longest = renewed_timestamps(renewed, NEXT_TSA, T0 + 7 * YEAR)
    for record, contents in zip(longest, GROUPS, strict=True):
        assert record.hash_names == ("sha256", "sha512")
        assert record.digest_algorithms == ("sha256", "sha512")
        result = verify(record, contents, at=T0 + 8 * YEAR, whole_group=len(contents) > 1)
        assert result.indication is Indication.PASSED
        assert result.existed_at == T0


def test_renewal_changes_no_byte_of_what_was_there() -> None:
    record = seal(GROUPS, TSA, T0)[0]
    renewed = renewed_timestamps([record], TSA, T0 + YEAR)[0]
    assert renewed.chains[0].timestamps[0].encoded == record.chains[0].timestamps[0].encoded
    rehashed = renewed_trees([renewed], GROUPS[:1], TSA, T0 + 2 * YEAR)[0]
    assert rehashed.chains[0].encoded == renewed.chains[0].encoded


def test_an_expired_timestamp_is_saved_by_its_renewal_only() -> None:
    record = seal(GROUPS, TSA, T0)[0]
    at = T0 + 10 * YEAR
    assert "EVIDENCE_TSA_OUT_OF_VALIDITY" in codes(verify(record, GROUPS[0], at=at))
    renewed = renewed_timestamps([record], NEXT_TSA, T0 + 7 * YEAR)[0]
    assert "EVIDENCE_TSA_OUT_OF_VALIDITY" not in codes(verify(renewed, GROUPS[0], at=at))
    too_late = renewed_timestamps([record], NEXT_TSA, T0 + 9 * YEAR)[0]
    assert "EVIDENCE_TSA_OUT_OF_VALIDITY" in codes(verify(too_late, GROUPS[0], at=at))


# ---------------------------------------------------------------- other software's forms


def stamped(trees, algorithm=SHA256, at=T0, root: bytes | None = None) -> bytes:
    """An archive time-stamp with the reduced hash tree as given, over `root`."""
    name = "sha256" if algorithm is SHA256 else "sha512"
    token = token_over(digest_of(root, algorithm), TSA, at)
    return encode_timestamp(name, trees, token.encoded)


def digest_of(root: bytes | None, algorithm):
    assert root is not None
    return type(digest_bytes(b""))(algorithm, root.hex())


def record_of(*chains, names=("sha256",)) -> bytes:
    return encode_record(chains, names)


H1, H2, H3 = (hashlib.sha256(content).digest() for content in (b"AIP 1", b"AIP 2", b"AIP 3"))


def test_a_list_of_one_hash_in_both_readings() -> None:
    for root in (H1, combine("sha256", [H1])):
        assert verify(record_of([stamped([[H1]], root=root)]), [b"AIP 1"]).indication is Indication.PASSED


def test_a_record_without_tree() -> None:
    bare = without_tree(record_of([stamped([[H1]], root=H1)]))
    assert verify(bare, [b"AIP 1"]).indication is Indication.PASSED
    assert codes(verify(bare, [b"AIP 2"])) == {"EVIDENCE_RECORD_OBJECT_NOT_COVERED"}


def without_tree(content: bytes) -> bytes:
    """The record's last archive time-stamp with algorithm and tree left out."""
    record = parse_evidence_record(content)
    chains = [[item.encoded for item in chain.timestamps] for chain in record.chains]
    chains[-1][-1] = encode(b"\x30", record.last.token.encoded)
    return encode_record(chains, record.digest_algorithms)


def test_a_renewed_record_without_tree() -> None:
    record = seal([[b"AIP 1"]], TSA, T0)[0]
    previous = hashlib.sha256(record.last.token.encoded).digest()
    items = [record.last.encoded, stamped([[previous]], root=previous, at=T0 + YEAR)]
    assert verify(without_tree(record_of(items)), [b"AIP 1"], at=T0 + 2 * YEAR).indication is Indication.PASSED


def test_a_group_hash_beside_an_object() -> None:
    """Objects of both kinds are given together; the group must be whole."""
    group = combine("sha256", [H1, H2])
    content = record_of([stamped([[group, H3]], root=combine("sha256", [group, H3]))])
    assert verify(content, [b"AIP 3", b"AIP 2", b"AIP 1"]).indication is Indication.PASSED
    for others in ([b"AIP 3", b"AIP 1"], [b"AIP 3", b"AIP 1", b"AIP 4"], [b"AIP 3", b"AIP 1", b"AIP 2", b"AIP 4"]):
        assert codes(verify(content, others)) == {"EVIDENCE_RECORD_OBJECT_NOT_COVERED"}


def test_a_group_hash_as_leaf() -> None:
    group = combine("sha256", [H1, H2])
    content = record_of([stamped([[group, H3]], root=combine("sha256", [group, H3]))])
    assert verify(content, [b"AIP 1", b"AIP 2"]).indication is Indication.PASSED
    assert codes(verify(content, [b"AIP 1"])) == {"EVIDENCE_RECORD_OBJECT_NOT_COVERED"}


def test_unsorted_lists_are_sorted_before_hashing_and_not_otherwise() -> None:
    content = record_of([stamped([sorted([H1, H2, H3], reverse=True)], root=combine("sha256", [H1, H2, H3]))])
    assert verify(content, [b"AIP 1", b"AIP 2", b"AIP 3"]).indication is Indication.PASSED
    unsorted_root = hashlib.sha256(b"".join(sorted([H1, H2, H3], reverse=True))).digest()
    content = record_of([stamped([[H1, H2, H3]], root=unsorted_root)])
    assert codes(verify(content, [b"AIP 1"])) == {"EVIDENCE_RECORD_ROOT_DIFFERS"}


# ---------------------------------------------------------------- what does not pass


def test_malformed() -> None:
    record = seal(GROUPS, TSA, T0)[0].encoded
    no_chain = encode(b"\x30", b"\x02\x01\x01\x30\x00\x30\x00")
    empty_chain = encode(b"\x30", b"\x02\x01\x01\x30\x00\x30\x02\x30\x00")
    empty_list = record_of([stamped([[], [H1]], root=H1)])
    short_hash = record_of([stamped([[H1[:31]]], root=H1)])
    version_2 = record.replace(b"\x02\x01\x01\x30", b"\x02\x01\x02\x30", 1)
    for content in (
        b"",
        b"\x30\x00",
        record[:-1],
        record + b"\x00",
        no_chain,
        empty_chain,
        empty_list,
        short_hash,
        version_2,
    ):
        result = verify(content, GROUPS[0])
        assert codes(result) == {"EVIDENCE_RECORD_MALFORMED"}
        assert result.indication is Indication.FAILED


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_malformed(content: bytes) -> None:
    assert codes(verify(content, [b"AIP 1"])) == {"EVIDENCE_RECORD_MALFORMED"}


RENEWED = renewed_timestamps(
    renewed_trees(renewed_timestamps(seal(GROUPS, TSA, T0), TSA, T0 + YEAR), GROUPS, TSA, T0 + 2 * YEAR),
    TSA,
    T0 + 3 * YEAR,
)[2]


@settings(deadline=None, max_examples=50)
@given(st.integers(min_value=0, max_value=len(RENEWED.encoded) - 1), st.integers(min_value=0, max_value=7))
def test_a_flipped_bit_never_raises_and_never_adds_an_object(at: int, bit: int) -> None:
    damaged = bytearray(RENEWED.encoded)
    damaged[at] ^= 1 << bit
    result = verify(bytes(damaged), [b"not archived"], at=T0 + 4 * YEAR)
    assert result.indication is not Indication.PASSED
    intact = verify(bytes(damaged), GROUPS[2], at=T0 + 4 * YEAR)
    if intact.indication is Indication.PASSED:
        assert intact.existed_at == T0  # only bytes that no signature or hash covers, in the newest time-stamp


def test_wrong_digest() -> None:
    result = verify(RENEWED, [b"document", b"signature", b"forged report"], at=T0 + 4 * YEAR)
    assert codes(result) == {"EVIDENCE_RECORD_OBJECT_NOT_COVERED"}
    assert {check.subject for check in result.checks if check.reason} == {"object 3", "object 3, chain 2"}


def test_wrong_tree_algorithm() -> None:
    token = token_over(digest_bytes(b"AIP 1", SHA512), TSA, T0)
    content = record_of([encode_timestamp("sha256", [[H1, H2]], token.encoded)])
    assert codes(verify(content, [b"AIP 1"])) == {"EVIDENCE_RECORD_DIGEST_ALGORITHM"}


def test_wrong_order() -> None:
    items = [item.encoded for item in RENEWED.chains[0].timestamps]
    swapped = codes(verify(record_of(items[::-1]), GROUPS[2]))
    assert {"EVIDENCE_RECORD_ORDER", "EVIDENCE_RECORD_TIMESTAMP_NOT_COVERED"} <= swapped
    chains = [[item.encoded for item in chain.timestamps] for chain in RENEWED.chains]
    swapped = codes(verify(encode_record(chains[::-1], RENEWED.digest_algorithms), GROUPS[2], at=T0 + 4 * YEAR))
    assert {"EVIDENCE_RECORD_ORDER", "EVIDENCE_RECORD_OBJECT_NOT_COVERED"} <= swapped


def test_a_renewal_before_what_it_renews() -> None:
    backwards = renewed_timestamps(seal(GROUPS, TSA, T0 + YEAR), TSA, T0)[0]
    assert codes(verify(backwards, GROUPS[0], at=T0 + 2 * YEAR)) == {"EVIDENCE_RECORD_ORDER"}


def test_a_renewal_of_something_else() -> None:
    record, other = seal([[b"AIP 1"]], TSA, T0)[0], seal([[b"other"]], TSA, T0)[0]
    foreign = renewed_timestamps([other], TSA, T0 + YEAR)[0].last.encoded
    content = record_of([record.last.encoded, foreign])
    assert codes(verify(content, [b"AIP 1"], at=T0 + 2 * YEAR)) == {"EVIDENCE_RECORD_TIMESTAMP_NOT_COVERED"}


def test_hashes_in_the_wrong_order_at_hashtree_renewal() -> None:
    record = seal([[b"AIP 1"]], TSA, T0)[0]
    older = hashlib.sha512(sequence_forms(record.chains)[0]).digest()
    new = hashlib.sha512(b"AIP 1").digest()
    for first, second, expected in ((new, older, set()), (older, new, {"EVIDENCE_RECORD_OBJECT_NOT_COVERED"})):
        joined = hashlib.sha512(first + second).digest()
        chain = [stamped([[joined]], SHA512, T0 + YEAR, joined)]
        content = record_of([record.last.encoded], chain, names=("sha256", "sha512"))
        assert codes(verify(content, [b"AIP 1"], at=T0 + 2 * YEAR)) == expected


def test_a_chain_dropped_or_altered_below_a_newer_one() -> None:
    chains = [[item.encoded for item in chain.timestamps] for chain in RENEWED.chains]
    shortened = encode_record([chains[0][:1], chains[1]], RENEWED.digest_algorithms)
    assert codes(verify(shortened, GROUPS[2], at=T0 + 4 * YEAR)) == {"EVIDENCE_RECORD_OBJECT_NOT_COVERED"}


def test_mixed_algorithms_in_a_chain() -> None:
    record = seal([[b"AIP 1"]], TSA, T0)[0]
    previous = hashlib.sha512(record.last.token.encoded).digest()
    content = record_of([record.last.encoded, stamped([[previous]], SHA512, T0 + YEAR, previous)])
    assert codes(verify(content, [b"AIP 1"], at=T0 + 2 * YEAR)) == {"EVIDENCE_RECORD_MIXED_ALGORITHMS"}


def test_a_false_token() -> None:
    record = seal([[b"AIP 1"]], TSA, T0)[0]
    forged = record.encoded[:-3] + bytes([record.encoded[-3] ^ 1]) + record.encoded[-2:]
    result = verify(forged, [b"AIP 1"])
    assert codes(result) == {"EVIDENCE_RECORD_TOKEN_FALSE", "EVIDENCE_RECORD_PATH_NOT_CHECKED"}
    assert result.indication is Indication.FAILED


def test_a_token_whose_certificate_is_not_at_hand() -> None:
    token = token_over(HashTree(SHA256, [(H1,)]).root, TSA, T0)
    info = token.encoded
    from asn1crypto import cms

    signed = cms.ContentInfo.load(info)["content"]
    signed["certificates"] = None
    bare = bytes(cms.ContentInfo({"content_type": "signed_data", "content": signed}).dump(force=True))
    content = record_of([encode_timestamp("sha256", HashTree(SHA256, [(H1,)]).path(0), bare)])
    result = verify(content, [b"AIP 1"])
    assert codes(result) == {"EVIDENCE_RECORD_TOKEN_NOT_CHECKED", "EVIDENCE_RECORD_PATH_NOT_CHECKED"}
    assert result.indication is Indication.INDETERMINATE
    assert verify(content, [b"AIP 1"], certificates=[TSA.certificate]).indication is Indication.PASSED


def test_an_unsupported_algorithm_is_not_a_verdict() -> None:
    ripemd = b"\x06\x05\x2b\x24\x03\x02\x01"  # RIPEMD-160, as long as the last part of its replacement below
    sha256 = b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01"
    record = seal([[b"AIP 1"]], TSA, T0)[0].last
    body = record.encoded.replace(sha256, ripemd)
    assert body != record.encoded
    unknown = replace_identifiers(record.token.encoded)
    chain = encode_unknown(unknown)
    result = verify(chain, [b"AIP 1"])
    assert "EVIDENCE_RECORD_ALGORITHM_UNSUPPORTED" in codes(result)


def replace_identifiers(token: bytes) -> bytes:
    """The token with sha256's identifier altered to an unassigned one of equal length, imprint included."""
    return token.replace(bytes.fromhex("608648016503040201"), bytes.fromhex("608648016503040279"))


def encode_unknown(token: bytes) -> bytes:
    algorithm = b"\xa0\x0b\x06\x09" + bytes.fromhex("608648016503040279")
    tree = encode(b"\xa2", encode(b"\x30", encode(b"\x04", H1) + encode(b"\x04", H2)))
    return encode_record([[encode(b"\x30", algorithm + tree + token)]], ["sha256"])


def test_without_objects_nothing_is_proved_about_data() -> None:
    result = verify(RENEWED, [], at=T0 + 4 * YEAR)
    assert codes(result) == {"EVIDENCE_RECORD_NO_OBJECT"}
    assert result.indication is Indication.INDETERMINATE


def test_an_object_without_the_needed_digest() -> None:
    only_256 = [replace(item, digests={"sha256": item.digests["sha256"]}) for item in objects_of(GROUPS[2])]
    result = verify_evidence_record(RENEWED.encoded, only_256, at=T0 + 4 * YEAR, anchors=ANCHORS, policy=POLICY)
    assert codes(result) == {"EVIDENCE_RECORD_NO_DIGEST"}
    assert result.indication is Indication.INDETERMINATE


def test_encrypted_data_cannot_be_compared() -> None:
    record = seal([[b"AIP 1"]], TSA, T0)[0].encoded
    parts = parse_evidence_record(record)
    info = encode(b"\xa1", b"\x06\x03\x2a\x03\x04\x05\x00")
    sequence = sequence_forms(parts.chains)[0]
    algorithms = b"\x30\x0d\x30\x0b\x06\x09" + bytes.fromhex("608648016503040201")
    content = encode(b"\x30", b"\x02\x01\x01" + algorithms + info + sequence)
    assert verify(content, [b"AIP 1"]).indication is Indication.PASSED
    assert codes(verify(content, [b"plain text"])) == {"EVIDENCE_RECORD_ENCRYPTED"}


def test_a_record_from_the_future() -> None:
    record = seal([[b"AIP 1"]], TSA, T0 + YEAR)[0]
    assert codes(verify(record, [b"AIP 1"], at=T0)) == {"EVIDENCE_RECORD_FROM_THE_FUTURE"}


def test_algorithm_policy() -> None:
    record = seal([[b"AIP 1"]], TSA, T0)[0]
    assert codes(verify(record, [b"AIP 1"], policy=None)) == {"EVIDENCE_RECORD_ALGORITHM_UNKNOWN"}
    ended = AlgorithmPolicy(version="test", digests={"sha256": date(2026, 12, 31)}, signatures=SIGNATURES)
    assert codes(verify(record, [b"AIP 1"], policy=ended)) == {"EVIDENCE_RECORD_ALGORITHM_EXPIRED"}
    both = replace(ended, digests={"sha256": date(2026, 12, 31), "sha512": date(2035, 12, 31)})
    in_time = renewed_trees([record], GROUPS[:1], TSA, datetime(2026, 12, 31, 23, tzinfo=UTC))[0]
    assert verify(in_time, [b"AIP 1"], policy=both, at=T0 + 2 * YEAR).indication is Indication.PASSED


def test_the_signatures_algorithms_must_hold_until_the_next_time_stamp() -> None:
    record = seal([[b"AIP 1"]], TSA, T0)[0]
    ended = (SignatureLimit(algorithm="ec", min_bits=256, secure_until=T0.date()),)
    for signatures, code in (
        (ended, "EVIDENCE_RECORD_ALGORITHM_EXPIRED"),
        ((), "EVIDENCE_RECORD_ALGORITHM_UNKNOWN"),
    ):
        result = verify(record, [b"AIP 1"], policy=replace(POLICY, signatures=signatures))
        assert (codes(result), result.integrity) == ({code}, Indication.PASSED)
        assert result.indication is Indication.INDETERMINATE
    in_time = renewed_timestamps([record], TSA, T0 + timedelta(hours=1))[0]
    reasons = verify(in_time, [b"AIP 1"], policy=replace(POLICY, signatures=ended)).reasons
    assert [reason.location for reason in reasons] == ["chain 1 time-stamp 2"]


def test_a_token_from_outside_its_certificates_validity() -> None:
    """Backdated by the authority's own key: the path holds today, yet the certificate was not there at that time."""
    result = verify(seal([[b"AIP 1"]], TSA, T0 - 2 * YEAR)[0], [b"AIP 1"])
    assert codes(result) == {"EVIDENCE_RECORD_TOKEN_OUTSIDE_VALIDITY"}
    assert result.integrity is Indication.FAILED


def test_without_anchors_integrity_is_still_told() -> None:
    result = verify(RENEWED, GROUPS[2], at=T0 + 4 * YEAR, anchors=())
    assert codes(result) == {"EVIDENCE_TSA_NO_ANCHOR"}
    assert (result.indication, result.integrity) == (Indication.INDETERMINATE, Indication.PASSED)


def test_data_objects_are_read_once() -> None:
    read = read_data_object("AIP", io.BytesIO(b"AIP 1"), ["sha256", "sha512", "ripemd160"])
    assert read == DataObject(name="AIP", digests={"sha256": H1, "sha512": hashlib.sha512(b"AIP 1").digest()})


def test_the_json_form_carries_both_languages() -> None:
    (reason,) = [
        check["reason"] for check in verify(RENEWED, [], at=T0 + 4 * YEAR).as_json()["checks"] if check["reason"]
    ][:1]
    assert reason["message_vi"].startswith("Không có đối tượng")
    assert reason["message_en"].startswith("No data object")
