"""RFC 4998 Evidence Records: making them for a batch of AIPs, and renewing them.

One record covers one object or one group (the restriction RFC 6283 makes explicit; LESSONS 38). Many AIPs share one
time-stamp through a binary hash tree, each record holding only its own path:

    units  = what each record covers: one hash, or the hashes of a group's members
    batch  = HashTree(units) ; its root is time-stamped once ; record i = path of unit i + token

The first list of an object's path is the object's hash and its sibling, so that no reader meets a list of one hash,
which software reads in two ways; an object alone in its batch gets a padding hash (RFC 4998 section 4.2 step 4 allows
any). A group's first list holds its members' hashes and no other, which is what proves that they belong together.

Verifying is in evidence_record_verify.py; when to renew is planned in renewal.py.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from archive_service.digests import Digest, DigestAlgorithm
from archive_service.evidence.der import to_der
from archive_service.evidence.errors import EvidenceInvalid, EvidenceRecordInvalid
from archive_service.evidence.ers_asn1 import (
    EvidenceRecord,
    encode_record,
    encode_timestamp,
    sequence_forms,
    token_forms,
)
from archive_service.evidence.timestamps import ASN1_NAMES, TimestampToken, parse_token, verify_token_signature

PADDING_PREFIX: Final = b"RFC 4998 4.2 padding\n"
"""Domain of the padding hash beside an object alone in its batch; no randomness, so a repeated seal is the same."""

Unit = tuple[bytes, ...]
"""What one record covers: one hash for an object, several for the members of a group."""


def combine(hash_name: str, values: Iterable[bytes]) -> bytes:
    """Returns the hash over `values` in binary ascending order, joined (RFC 4998 section 4.2 steps 3, 4)."""
    return hashlib.new(hash_name, b"".join(sorted(values))).digest()


class HashTree:
    """A binary hash tree over units; holds all levels, two hashes per unit in all.

    Raises:
        EvidenceRecordInvalid: no units, an empty unit, or a hash of the wrong length.
    """

    def __init__(self, algorithm: DigestAlgorithm, units: Sequence[Unit]) -> None:
        self.algorithm = algorithm
        self.hash_name = ASN1_NAMES[algorithm]
        self.units = tuple(units)
        size = hashlib.new(self.hash_name).digest_size
        if not self.units or any(not unit or any(len(value) != size for value in unit) for unit in self.units):
            raise EvidenceRecordInvalid(f"a hash tree needs units of {algorithm} hashes")
        level = [unit[0] if len(unit) == 1 else combine(self.hash_name, unit) for unit in self.units]
        if len(self.units) == 1 and len(self.units[0]) == 1:
            level.append(hashlib.new(self.hash_name, PADDING_PREFIX + level[0]).digest())
        self._levels = [level]
        while len(level) > 1:
            pairs = [combine(self.hash_name, level[at : at + 2]) for at in range(0, len(level) - 1, 2)]
            level = pairs + level[len(pairs) * 2 :]  # an odd last node moves up unchanged
            self._levels.append(level)

    @property
    def root(self) -> Digest:
        """What the time-stamp is asked for."""
        return Digest(self.algorithm, self._levels[-1][0].hex())

    def path(self, index: int) -> tuple[Unit, ...]:
        """Returns the reduced hash tree of unit `index` (RFC 4998 section 4.2, reduced hash tree)."""
        unit = self.units[index]
        siblings = []
        for level in self._levels[:-1]:
            if (index ^ 1) < len(level):
                siblings.append(level[index ^ 1])
            index >>= 1
        if len(unit) == 1:
            first, siblings = (unit[0], siblings[0]), siblings[1:]
            return (tuple(sorted(first)), *((sibling,) for sibling in siblings))
        return (tuple(sorted(unit)), *((sibling,) for sibling in siblings))


def initial_record(tree: HashTree, index: int, token: TimestampToken) -> bytes:
    """Returns the Evidence Record of unit `index`, with the token over the tree's root.

    Raises:
        EvidenceRecordInvalid: the token is not over the root.
    """
    return encode_record([[archive_timestamp(tree, index, token)]], [tree.hash_name])


def archive_timestamp(tree: HashTree, index: int, token: TimestampToken) -> bytes:
    """Returns the ArchiveTimeStamp of unit `index` (RFC 4998 section 4.1).

    Raises:
        EvidenceRecordInvalid: the token is not over the root.
    """
    if (token.hash_name, token.imprint) != (tree.hash_name, tree.root.raw):
        raise EvidenceRecordInvalid(
            f"the token is over {token.hash_name}:{token.imprint.hex()}, the tree's root is {tree.root}"
        )
    return encode_timestamp(tree.hash_name, tree.path(index), _embedded(token.encoded))


@lru_cache(maxsize=16)
def _embedded(encoded: bytes) -> bytes:
    """Returns the token in DER where its signature stays good: then every reader hashes the same bytes at renewal.

    Kept for the last few tokens, because all records of a batch carry the same one.
    """
    normal = to_der(encoded)
    if normal == encoded:
        return normal
    try:
        token = parse_token(normal)
        verify_token_signature(token, token.certificates)
    except EvidenceInvalid:
        return encoded
    return normal


# ---------------------------------------------------------------- time-stamp renewal


def timestamp_renewal_unit(record: EvidenceRecord) -> Unit:
    """Returns what a time-stamp renewal of the record covers: the tokens of its last chain (RFC 4998 section 5.2).

    No data is read. All tokens of the chain are covered, not only the last, because other software demands it.
    Records of one batch share their tokens, so they have the same unit and can share one renewal.
    """
    chain = record.chains[-1]
    return chain_unit(chain.hash_name, [item.token for item in chain.timestamps])


def chain_unit(hash_name: str, tokens: Iterable[TimestampToken]) -> Unit:
    """Returns the same from the tokens of a chain, which are all that a time-stamp renewal looks at."""
    return tuple(hashlib.new(hash_name, token_forms(token)[-1]).digest() for token in tokens)


def with_appended(record: EvidenceRecord, appended: Iterable[bytes]) -> bytes:
    """Returns the record with encoded archive time-stamps added to its last chain, as time-stamp renewals made them."""
    chains = _encoded_chains(record)
    chains[-1].extend(appended)
    return encode_record(chains, record.digest_algorithms)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampRenewal:
    """A hash tree over the distinct units of records to renew."""

    tree: HashTree
    positions: tuple[int, ...]
    """Per record, in the order given, its unit's index in the tree."""


def plan_timestamp_renewal(records: Sequence[EvidenceRecord]) -> TimestampRenewal:
    """Returns the tree whose root is to be time-stamped to renew `records`, which all end in chains of one algorithm.

    Raises:
        EvidenceRecordInvalid: no records, or of several or unsupported algorithms.
    """
    algorithms = {record.chains[-1].hash_name for record in records}
    if len(algorithms) != 1:
        raise EvidenceRecordInvalid(f"a time-stamp renewal is over one digest algorithm, not {sorted(algorithms)}")
    units = [timestamp_renewal_unit(record) for record in records]
    distinct = {unit: at for at, unit in enumerate(dict.fromkeys(units))}
    tree = HashTree(_algorithm(algorithms.pop()), tuple(distinct))
    return TimestampRenewal(tree=tree, positions=tuple(distinct[unit] for unit in units))


def renew_timestamp(record: EvidenceRecord, tree: HashTree, position: int, token: TimestampToken) -> bytes:
    """Returns the record with one more archive time-stamp in its last chain.

    Raises:
        EvidenceRecordInvalid: the tree does not cover the record at `position`, or the token is not over the root.
    """
    if tree.units[position] != timestamp_renewal_unit(record):
        raise EvidenceRecordInvalid("the renewal's hash tree does not cover this record's time-stamps")
    chains = _encoded_chains(record)
    chains[-1].append(archive_timestamp(tree, position, token))
    return encode_record(chains, record.digest_algorithms)


# ---------------------------------------------------------------- hash-tree renewal


def hashtree_renewal_unit(record: EvidenceRecord, digests: Sequence[Digest]) -> Unit:
    """Returns what a hash-tree renewal of the record covers: H(h(i) || ha) per data object (RFC 4998 section 5.2).

    `digests` are of the record's data objects, re-read and hashed with the new algorithm.

    Raises:
        EvidenceRecordInvalid: no digests, or of several algorithms.
    """
    names = {digest.algorithm for digest in digests}
    if len(names) != 1:
        raise EvidenceRecordInvalid("a hash-tree renewal needs the data objects' digests in one algorithm")
    hash_name = ASN1_NAMES[names.pop()]
    older = hashlib.new(hash_name, sequence_forms(record.chains)[-1]).digest()
    return tuple(hashlib.new(hash_name, digest.raw + older).digest() for digest in digests)


def renew_hashtree(
    record: EvidenceRecord, digests: Sequence[Digest], tree: HashTree, position: int, token: TimestampToken
) -> bytes:
    """Returns the record with a new chain over a new digest algorithm.

    Raises:
        EvidenceRecordInvalid: the tree does not cover the record at `position`, or the token is not over the root.
    """
    if tree.units[position] != hashtree_renewal_unit(record, digests):
        raise EvidenceRecordInvalid("the renewal's hash tree does not cover this record and these digests")
    chains = [*_encoded_chains(record), [archive_timestamp(tree, position, token)]]
    return encode_record(chains, tuple(dict.fromkeys((*record.digest_algorithms, tree.hash_name))))


def _encoded_chains(record: EvidenceRecord) -> list[list[bytes]]:
    """Returns the archive time-stamps as they stand, so that no byte changes that a later hash covers."""
    return [[item.encoded for item in chain.timestamps] for chain in record.chains]


def _algorithm(hash_name: str) -> DigestAlgorithm:
    for algorithm, name in ASN1_NAMES.items():
        if name == hash_name:
            return algorithm
    raise EvidenceRecordInvalid(f"records over {hash_name} are verified but not renewed in that algorithm")
