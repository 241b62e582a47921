"""Evidence Records made the way a seal makes them, with a local authority."""

import hashlib
import itertools
from collections.abc import Sequence
from datetime import datetime

from archive_service.digests import Digest, DigestAlgorithm, digest_bytes
from archive_service.evidence.ers_asn1 import EvidenceRecord, parse_evidence_record
from archive_service.evidence.evidence_record import (
    HashTree,
    Unit,
    hashtree_renewal_unit,
    initial_record,
    plan_timestamp_renewal,
    renew_hashtree,
    renew_timestamp,
)
from archive_service.evidence.evidence_record_verify import DataObject
from archive_service.evidence.local_tsa import LocalTsa
from archive_service.evidence.timestamps import TimestampToken, parse_token

SHA256, SHA512 = DigestAlgorithm.SHA_256, DigestAlgorithm.SHA_512
_serials = itertools.count(1)


def token_over(root: Digest, tsa: LocalTsa, at: datetime) -> TimestampToken:
    name = {SHA256: "sha256", SHA512: "sha512"}[root.algorithm]
    return parse_token(tsa.token(root.raw, name, at=at, serial_number=next(_serials)))


def unit_of(contents: Sequence[bytes], algorithm: DigestAlgorithm = SHA256) -> Unit:
    return tuple(digest_bytes(content, algorithm).raw for content in contents)


def seal(
    groups: Sequence[Sequence[bytes]], tsa: LocalTsa, at: datetime, algorithm: DigestAlgorithm = SHA256
) -> list[EvidenceRecord]:
    tree = HashTree(algorithm, [unit_of(group, algorithm) for group in groups])
    token = token_over(tree.root, tsa, at)
    return [parse_evidence_record(initial_record(tree, index, token)) for index in range(len(groups))]


def renewed_timestamps(records: Sequence[EvidenceRecord], tsa: LocalTsa, at: datetime) -> list[EvidenceRecord]:
    plan = plan_timestamp_renewal(records)
    token = token_over(plan.tree.root, tsa, at)
    return [
        parse_evidence_record(renew_timestamp(record, plan.tree, position, token))
        for record, position in zip(records, plan.positions, strict=True)
    ]


def renewed_trees(
    records: Sequence[EvidenceRecord],
    groups: Sequence[Sequence[bytes]],
    tsa: LocalTsa,
    at: datetime,
    algorithm: DigestAlgorithm = SHA512,
) -> list[EvidenceRecord]:
    digests = [[digest_bytes(content, algorithm) for content in group] for group in groups]
    units = [hashtree_renewal_unit(record, found) for record, found in zip(records, digests, strict=True)]
    tree = HashTree(algorithm, units)
    token = token_over(tree.root, tsa, at)
    return [
        parse_evidence_record(renew_hashtree(record, found, tree, index, token))
        for index, (record, found) in enumerate(zip(records, digests, strict=True))
    ]


def objects_of(contents: Sequence[bytes]) -> list[DataObject]:
    return [
        DataObject(
            name=f"object {number}",
            digests={name: hashlib.new(name, content).digest() for name in ("sha256", "sha512")},
        )
        for number, content in enumerate(contents, 1)
    ]
