"""The ASN.1 of RFC 4998 (appendix A.1, IMPLICIT TAGS), parsed strictly into values that keep their bytes.

asn1crypto's own `tsp.EvidenceRecord` leaves out the chain level of ArchiveTimeStampSequence, so it is defined here.
"""

# asn1crypto has no types, so its classes are Any to mypy, and the ASN.1 classes below subclass them:
# mypy: disable-error-code="misc"

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from asn1crypto import algos, cms, core, tsp

from archive_service.evidence.algorithms import HASH_NAMES
from archive_service.evidence.der import encode, to_der
from archive_service.evidence.errors import EvidenceInvalid, EvidenceRecordInvalid, TimestampInvalid
from archive_service.evidence.timestamps import TimestampToken, parse_token

MAX_RECORD_BYTES: Final = 16 * 1024 * 1024
"""Largest record that is read: a hundred renewals with full certificate chains have about 1 MB."""
MAX_TIMESTAMPS: Final = 1000
"""Most archive time-stamps of one record: a renewal a month for eighty years."""
MAX_CHAINS: Final = 100
"""Most chains: one is begun when a digest algorithm ends. Each is over all before it, so checking costs their number times the size."""
SEQUENCE_TAG: Final = b"\x30"


class PartialHashtree(core.SequenceOf):
    """PartialHashtree ::= SEQUENCE OF OCTET STRING."""

    _child_spec = core.OctetString


class ReducedHashtree(core.SequenceOf):
    """Reduced hash tree ::= SEQUENCE OF PartialHashtree."""

    _child_spec = PartialHashtree


class AttributeValues(core.SetOf):
    """SET OF AttributeValue, kept unread."""

    _child_spec = core.Any


class Attribute(core.Sequence):
    """Attribute ::= SEQUENCE { type OBJECT IDENTIFIER, values SET OF ANY }."""

    _fields = [("type", core.ObjectIdentifier), ("values", AttributeValues)]  # noqa: RUF012 - asn1crypto's way


class Attributes(core.SetOf):
    """Attributes ::= SET SIZE (1..MAX) OF Attribute."""

    _child_spec = Attribute


class CryptoInfos(core.SequenceOf):
    """CryptoInfos ::= SEQUENCE SIZE (1..MAX) OF Attribute."""

    _child_spec = Attribute


class ArchiveTimeStampType(core.Sequence):
    """ArchiveTimeStamp of RFC 4998 section 4.1."""

    _fields = [  # noqa: RUF012 - asn1crypto's way
        ("digest_algorithm", algos.DigestAlgorithm, {"implicit": 0, "optional": True}),
        ("attributes", Attributes, {"implicit": 1, "optional": True}),
        ("reduced_hashtree", ReducedHashtree, {"implicit": 2, "optional": True}),
        ("time_stamp", cms.ContentInfo),
    ]


class ArchiveTimeStampChainType(core.SequenceOf):
    """ArchiveTimeStampChain ::= SEQUENCE OF ArchiveTimeStamp."""

    _child_spec = ArchiveTimeStampType


class ArchiveTimeStampSequenceType(core.SequenceOf):
    """ArchiveTimeStampSequence ::= SEQUENCE OF ArchiveTimeStampChain."""

    _child_spec = ArchiveTimeStampChainType


class DigestAlgorithms(core.SequenceOf):
    """SEQUENCE OF AlgorithmIdentifier."""

    _child_spec = algos.DigestAlgorithm


class EvidenceRecordType(core.Sequence):
    """EvidenceRecord of RFC 4998 section 3.1."""

    _fields = [  # noqa: RUF012 - asn1crypto's way
        ("version", core.Integer),
        ("digest_algorithms", DigestAlgorithms),
        ("crypto_infos", CryptoInfos, {"implicit": 0, "optional": True}),
        ("encryption_info", tsp.EncryptionInfo, {"implicit": 1, "optional": True}),
        ("archive_time_stamp_sequence", ArchiveTimeStampSequenceType),
    ]


# ---------------------------------------------------------------- values


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveTimeStamp:
    """One archive time-stamp."""

    hash_name: str
    """Digest algorithm of the tree; the token's when the field is absent (RFC 4998 section 4.1)."""
    tree: tuple[tuple[bytes, ...], ...] | None
    """Lists of the reduced hash tree; None when there is none."""
    token: TimestampToken
    encoded: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Archive time-stamps over one hash algorithm, oldest first."""

    timestamps: tuple[ArchiveTimeStamp, ...]
    encoded: bytes
    normal: bytes
    """The same in DER; kept, because every later chain is over all chains before it."""

    @property
    def hash_name(self) -> str:
        """The chain's digest algorithm."""
        return self.timestamps[0].hash_name


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRecord:
    """An Evidence Record, parsed. Nothing is verified by parsing."""

    digest_algorithms: tuple[str, ...]
    chains: tuple[Chain, ...]
    encrypted: bool
    """The record has encryptionInfo: its hashes are of data in encrypted form (RFC 4998 section 6)."""
    encoded: bytes

    @property
    def hash_names(self) -> tuple[str, ...]:
        """Digest algorithms that data objects must be hashed with to verify the record."""
        return tuple(dict.fromkeys(chain.hash_name for chain in self.chains))

    @property
    def last(self) -> ArchiveTimeStamp:
        """The newest archive time-stamp, the one that renewal must cover."""
        return self.chains[-1].timestamps[-1]


def parse_evidence_record(content: bytes) -> EvidenceRecord:
    """Returns an Evidence Record, strictly parsed.

    Raises:
        EvidenceRecordInvalid: not an RFC 4998 EvidenceRecord.
    """
    if len(content) > MAX_RECORD_BYTES:
        raise EvidenceRecordInvalid(f"an Evidence Record of {len(content)} bytes; at most {MAX_RECORD_BYTES} are read")
    try:
        return _record(content)
    except EvidenceRecordInvalid:
        raise
    except (EvidenceInvalid, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as exc:
        raise EvidenceRecordInvalid(f"not an Evidence Record: {type(exc).__name__} {exc}") from exc


def _record(content: bytes) -> EvidenceRecord:
    to_der(content)  # asn1crypto reads lazily: this walks every value once, and bounds the depth
    raw = EvidenceRecordType.load(content, strict=True)
    if raw["version"].native != 1:
        raise EvidenceRecordInvalid(f"Evidence Record version {raw['version'].native}, 1 is read")
    chains = tuple(_chain(chain) for chain in raw["archive_time_stamp_sequence"])
    if not chains or sum(len(chain.timestamps) for chain in chains) > MAX_TIMESTAMPS:
        raise EvidenceRecordInvalid(f"an Evidence Record has 1 to {MAX_TIMESTAMPS} archive time-stamps")
    if len(chains) > MAX_CHAINS:
        raise EvidenceRecordInvalid(f"an Evidence Record of {len(chains)} chains; at most {MAX_CHAINS} are read")
    for attribute in () if isinstance(raw["crypto_infos"], core.Void) else raw["crypto_infos"]:
        attribute["values"].dump()  # asn1crypto reads lazily: what stands there must at least be an attribute
    return EvidenceRecord(
        digest_algorithms=tuple(_digest_name(item) for item in raw["digest_algorithms"]),
        chains=chains,
        encrypted=not isinstance(raw["encryption_info"], core.Void),
        encoded=content,
    )


def _chain(raw: ArchiveTimeStampChainType) -> Chain:
    timestamps = tuple(_archive_timestamp(item) for item in raw)
    if not timestamps:
        raise EvidenceRecordInvalid("a chain without archive time-stamps")
    encoded = raw.dump()
    return Chain(timestamps=timestamps, encoded=encoded, normal=to_der(encoded))


def parse_archive_timestamp(content: bytes) -> ArchiveTimeStamp:
    """Returns one archive time-stamp on its own.

    Raises:
        EvidenceRecordInvalid: not an RFC 4998 ArchiveTimeStamp.
    """
    try:
        return _archive_timestamp(ArchiveTimeStampType.load(content, strict=True))
    except EvidenceRecordInvalid:
        raise
    except (EvidenceInvalid, ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as exc:
        raise EvidenceRecordInvalid(f"not an archive time-stamp: {type(exc).__name__} {exc}") from exc


def _archive_timestamp(raw: ArchiveTimeStampType) -> ArchiveTimeStamp:
    try:
        token = parse_token(raw["time_stamp"].dump())
    except TimestampInvalid as exc:
        raise EvidenceRecordInvalid(f"time-stamp in the record: {exc.message}") from exc
    algorithm, tree = raw["digest_algorithm"], raw["reduced_hashtree"]
    hash_name = token.hash_name if isinstance(algorithm, core.Void) else _digest_name(algorithm)
    lists = None if isinstance(tree, core.Void) else tuple(tuple(value.native for value in part) for part in tree)
    if lists is not None:
        _require_lists(lists, hash_name)
    return ArchiveTimeStamp(hash_name=hash_name, tree=lists, token=token, encoded=raw.dump())


def _digest_name(algorithm: algos.DigestAlgorithm) -> str:
    if algorithm["parameters"].native is not None:
        raise EvidenceRecordInvalid("a digest algorithm with parameters, which none has (RFC 5754 2)")
    return str(algorithm["algorithm"].native)


def _require_lists(lists: tuple[tuple[bytes, ...], ...], hash_name: str) -> None:
    if not lists or not all(lists):
        raise EvidenceRecordInvalid("an empty reduced hash tree or list")
    size = hashlib.new(hash_name).digest_size if hash_name in HASH_NAMES else None
    if size is not None and any(len(value) != size for part in lists for value in part):
        raise EvidenceRecordInvalid(f"a hash value in the tree that is no {hash_name} digest")


# ---------------------------------------------------------------- what is hashed


def token_forms(token: TimestampToken) -> tuple[bytes, ...]:
    """Returns the byte forms of a time-stamp that software hashes at renewal: as it stands, and DER (section 5.2)."""
    return tuple(dict.fromkeys((token.encoded, to_der(token.encoded))))


def sequence_forms(chains: Sequence[Chain]) -> tuple[bytes, ...]:
    """Returns the byte forms of the ArchiveTimeStampSequence of `chains` (atsc of 5.2), as it stands and DER."""
    stands = encode(SEQUENCE_TAG, b"".join(chain.encoded for chain in chains))
    normal = encode(SEQUENCE_TAG, b"".join(chain.normal for chain in chains))
    return (stands,) if stands == normal else (stands, normal)


# ---------------------------------------------------------------- writing


def encode_timestamp(hash_name: str, tree: Sequence[Sequence[bytes]], token: bytes) -> bytes:
    """Returns the DER of an ArchiveTimeStamp around an encoded token; the tree is always written (LESSONS 38)."""
    lists = b"".join(encode(SEQUENCE_TAG, b"".join(encode(b"\x04", value) for value in part)) for part in tree)
    return encode(SEQUENCE_TAG, _tagged_algorithm(hash_name) + encode(b"\xa2", lists) + token)


@cache
def _tagged_algorithm(hash_name: str) -> bytes:
    """Returns the digestAlgorithm field: AlgorithmIdentifier, implicitly tagged [0]."""
    return b"\xa0" + bytes(algos.DigestAlgorithm({"algorithm": hash_name}).dump())[1:]


def encode_record(chains: Sequence[Sequence[bytes]], hash_names: Sequence[str]) -> bytes:
    """Returns the DER of an EvidenceRecord of encoded archive time-stamps, chain by chain."""
    sequence = encode(SEQUENCE_TAG, b"".join(encode(SEQUENCE_TAG, b"".join(chain)) for chain in chains))
    return encode(SEQUENCE_TAG, _encoded_head(tuple(hash_names)) + sequence)


@cache
def _encoded_head(hash_names: tuple[str, ...]) -> bytes:
    """Returns version 1 and digestAlgorithms."""
    algorithms = DigestAlgorithms([{"algorithm": name} for name in hash_names])
    return bytes(core.Integer(1).dump() + algorithms.dump())
