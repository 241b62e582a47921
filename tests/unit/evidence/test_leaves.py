"""Canonical leaves and the log proof bundle, with every reason it can fail for."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_service.digests import digest_bytes
from archive_service.evidence import merkle
from archive_service.evidence.checkpoint import Checkpoint, generate_signer, sign_checkpoint
from archive_service.evidence.checks import Indication, Verification
from archive_service.evidence.errors import LogProofInvalid, ProofInvalid
from archive_service.evidence.leaves import (
    AipLeaf,
    AuditEventLeaf,
    Leaf,
    LogProof,
    leaf_bytes,
    parse_leaf,
    parse_log_proof,
    prove,
    verify_log_proof,
)

AT = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)
AIP = AipLeaf(record_id=UUID(int=7), version=2, aip_digest=digest_bytes(b"an AIP"), size_bytes=6)
EVENT = AuditEventLeaf(
    event_id=UUID(int=9), event_type="record.stored", occurred_at=AT, event_digest=digest_bytes(b"{}")
)
SIGNER = generate_signer("archive.example.vn/log")


def log_of(leaves: list[bytes]) -> merkle.LogReader:
    tiles: dict[tuple[int, int], bytes] = {}
    appender = merkle.LogAppender(0, lambda _l, _i: b"", lambda level, index, h: tiles.update({(level, index): h}))
    appender.extend(map(merkle.leaf_hash, leaves))
    appender.flush()
    return merkle.LogReader(len(leaves), lambda level, index: tiles.get((level, index), b""))


LEAVES = [leaf_bytes(replace(AIP, version=number)) for number in range(1, 12)]
LOG = log_of(LEAVES)


def signed(size: int, *, origin: str = SIGNER.name, log: merkle.LogReader = LOG):
    signer = SIGNER if origin == SIGNER.name else OTHER
    return sign_checkpoint(Checkpoint(origin=origin, size=size, root=log.root(size)), [signer])


OTHER = generate_signer("other.example/log")
PROOF = prove(LEAVES[1], 1, LOG, signed(11), earlier=signed(6))


def reason_codes(result: Verification) -> set[str]:
    return {reason.code for reason in result.reasons}


def test_the_canonical_form_is_the_documented_one() -> None:
    assert leaf_bytes(AIP) == (
        b"archive-log-leaf/1 aip\n"
        b'{"aip_digest":"SHA-256:'
        + AIP.aip_digest.hex.encode()
        + b'","record_id":"00000000-0000-0000-0000-000000000007",'
        b'"size_bytes":6,"version":2}'
    )
    assert leaf_bytes(EVENT) == (
        b"archive-log-leaf/1 audit-event\n"
        b'{"event_digest":"'
        + str(EVENT.event_digest).encode()
        + b'","event_id":"00000000-0000-0000-0000-000000000009",'
        b'"event_type":"record.stored","occurred_at":"2026-11-22T09:30:00.000000Z"}'
    )


def test_time_zone_does_not_change_the_leaf() -> None:
    hanoi = replace(EVENT, occurred_at=AT.astimezone(timezone(timedelta(hours=7))))
    assert leaf_bytes(hanoi) == leaf_bytes(EVENT)


@settings(deadline=None)
@given(st.uuids(), st.integers(min_value=1), st.integers(min_value=0), st.binary())
def test_aip_leaf_round_trip(record_id: UUID, version: int, size_bytes: int, content: bytes) -> None:
    leaf = AipLeaf(record_id=record_id, version=version, aip_digest=digest_bytes(content), size_bytes=size_bytes)
    if len(leaf_bytes(leaf)) <= 4096:
        assert parse_leaf(leaf_bytes(leaf)) == leaf


@settings(deadline=None)
@given(st.uuids(), st.text(max_size=200), st.datetimes(timezones=st.just(UTC)))
def test_event_leaf_round_trip(event_id: UUID, event_type: str, at: datetime) -> None:
    leaf = AuditEventLeaf(event_id=event_id, event_type=event_type, occurred_at=at, event_digest=digest_bytes(b""))
    assert parse_leaf(leaf_bytes(leaf)) == leaf


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"archive-log-leaf/2 aip\n{}",
        b"archive-log-leaf/1 tree\n{}",
        b"archive-log-leaf/1 aip\n",
        b"archive-log-leaf/1 aip\n[]",
        b"archive-log-leaf/1 aip\n{}",
        b"archive-log-leaf/1 \xff\n{}",
        leaf_bytes(AIP) + b" ",
        leaf_bytes(AIP).replace(b":6", b": 6"),
        leaf_bytes(AIP).replace(b"SHA-256", b"MD5"),
        leaf_bytes(EVENT).replace(b"Z", b""),
        leaf_bytes(EVENT).replace(b"Z", b"+00:00"),
        b"archive-log-leaf/1 aip\n" + b"[" * 4000,
        b"archive-log-leaf/1 aip\n" + b" " * 5000,
    ],
)
def test_only_the_canonical_form_is_a_leaf(content: bytes) -> None:
    with pytest.raises(LogProofInvalid):
        parse_leaf(content)


def test_a_bundle_verifies_offline_after_a_round_trip() -> None:
    bundle = parse_log_proof(PROOF.to_bytes())
    assert bundle == PROOF
    stated = parse_leaf(LEAVES[1])
    assert isinstance(stated, AipLeaf)
    result = verify_log_proof(bundle, [SIGNER.key], expected=[stated.aip_digest])
    assert result.indication is Indication.PASSED
    assert len(result.checks) == 5


def test_the_tlog_proof_text() -> None:
    header, extra, index, *hashes = PROOF.to_tlog_proof().split("\n\n")[0].split("\n")
    assert (header, extra.split(" ")[0], index, len(hashes)) == ("c2sp.org/tlog-proof@v1", "extra", "index 1", 4)
    assert PROOF.to_tlog_proof().endswith("\n\n" + PROOF.checkpoint.to_text())


def test_leaf_malformed() -> None:
    content = b"archive-log-leaf/1 aip\n{}"
    log = log_of([content])
    proof = prove(content, 0, log, signed(1, log=log))
    assert reason_codes(verify_log_proof(proof, [SIGNER.key])) == {"EVIDENCE_LEAF_MALFORMED"}


def test_leaf_of_another_object() -> None:
    result = verify_log_proof(PROOF, [SIGNER.key], expected=[digest_bytes(b"another AIP")])
    assert reason_codes(result) == {"EVIDENCE_LEAF_OTHER_OBJECT"}
    assert result.indication is Indication.FAILED


def test_without_the_logs_key_nothing_is_proved() -> None:
    result = verify_log_proof(PROOF, [])
    assert reason_codes(result) == {"EVIDENCE_CHECKPOINT_KEY_UNKNOWN"}
    assert result.indication is Indication.INDETERMINATE


def test_false_checkpoint_signature() -> None:
    stolen = signed(11).cosigned(()).note.signatures
    head = Checkpoint(origin=SIGNER.name, size=11, root=LOG.root(10))
    forged = replace(signed(11), checkpoint=head, note=replace(signed(11).note, text=head.to_text(), signatures=stolen))
    result = verify_log_proof(replace(PROOF, checkpoint=forged, consistency=None), [SIGNER.key])
    assert reason_codes(result) == {"EVIDENCE_CHECKPOINT_SIGNATURE_FALSE", "EVIDENCE_INCLUSION_FALSE"}
    bad_line = replace(stolen[0], signature=bytes(64))
    spoiled = replace(signed(11), note=replace(signed(11).note, signatures=(bad_line,)))
    result = verify_log_proof(replace(PROOF, checkpoint=spoiled), [SIGNER.key])
    assert reason_codes(result) == {"EVIDENCE_CHECKPOINT_SIGNATURE_FALSE"}


def test_false_inclusion() -> None:
    result = verify_log_proof(replace(PROOF, index=2), [SIGNER.key])
    assert reason_codes(result) == {"EVIDENCE_INCLUSION_FALSE"}


def test_a_fork_is_detected() -> None:
    forked = log_of([LEAVES[5], *LEAVES[1:]])
    proof = prove(LEAVES[1], 1, forked, signed(11, log=forked), earlier=signed(6))
    result = verify_log_proof(proof, [SIGNER.key])
    assert reason_codes(result) == {"EVIDENCE_CONSISTENCY_FALSE"}


def test_an_earlier_checkpoint_of_another_log() -> None:
    proof = prove(LEAVES[1], 1, LOG, signed(11), earlier=signed(6, origin=OTHER.name))
    result = verify_log_proof(proof, [SIGNER.key, OTHER.key])
    assert reason_codes(result) == {"EVIDENCE_CONSISTENCY_FALSE"}


def test_no_bundle_for_what_is_not_there() -> None:
    with pytest.raises(ProofInvalid):
        prove(LEAVES[10], 10, LOG, signed(6))
    with pytest.raises(ProofInvalid):
        prove(LEAVES[1], 1, LOG, signed(6), earlier=signed(11))


FIELDS = PROOF.as_json()


@pytest.mark.parametrize(
    "change",
    [
        {"type": "archive-log-proof/2"},
        {"type": 1},
        {"leaf": 1},
        {"leaf": "*"},
        {"leaf_index": -1},
        {"leaf_index": "1"},
        {"leaf_index": True},
        {"tree_size": 12},
        {"inclusion_proof": "x"},
        {"inclusion_proof": [1]},
        {"inclusion_proof": ["AAAA"] * 129},
        {"checkpoint": "x"},
        {"checkpoint": None},
        {"consistency": 1},
        {"consistency": {}},
        {"consistency": {"checkpoint": "x", "proof": []}},
    ],
)
def test_malformed_bundles(change: dict[str, object]) -> None:
    with pytest.raises(LogProofInvalid):
        parse_log_proof(json.dumps(FIELDS | change).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", b"1", b"[" * 100_000, b" " * 3_000_000])
def test_bytes_that_are_no_bundle(content: bytes) -> None:
    with pytest.raises(LogProofInvalid):
        parse_log_proof(content)


def test_every_leaf_type_is_covered() -> None:
    leaves: tuple[Leaf, ...] = (AIP, EVENT)
    proofs = [LogProof(leaf=leaf_bytes(leaf), index=0, inclusion_proof=(), checkpoint=signed(1)) for leaf in leaves]
    assert [type(parse_leaf(proof.leaf)) for proof in proofs] == [AipLeaf, AuditEventLeaf]
