"""Verification of RFC 4998 Evidence Records, ours and other software's (sections 4.3 and 5.3).

Where the RFC can be read in two ways, what deployed software writes is accepted:
- a first list of one hash stands for itself (EU DSS, Bouncy Castle), or is hashed (the letter of section 4.3 step 3);
- time-stamps and sequences are hashed as they stand, or in DER;
- a list may hold the hash of a whole group in place of its members' (section 4.2 step 3).
The concatenation at a hash-tree renewal is h(i) then ha(i), unsorted (section 5.2 step 4; the RFC's figure 4 errs).
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import pairwise
from typing import BinaryIO, Final

from asn1crypto import x509

from archive_service.clock import require_aware
from archive_service.digests import chunks
from archive_service.evidence.algorithms import HASH_NAMES, AlgorithmPolicy, secure_at
from archive_service.evidence.checks import Check, Indication, Verification, failed, overall, passed, undecided
from archive_service.evidence.cms_signature import key_bits
from archive_service.evidence.errors import EvidenceInvalid, EvidenceRecordInvalid
from archive_service.evidence.ers_asn1 import (
    ArchiveTimeStamp,
    Chain,
    EvidenceRecord,
    parse_evidence_record,
    sequence_forms,
    token_forms,
)
from archive_service.evidence.evidence_record import combine
from archive_service.evidence.timestamps import TimestampUncheckable, reading, signed_digest, verify_token_signature
from archive_service.evidence.token_trust import PATH_STEP, check_trust

SYNTAX: Final = "RFC 4998 3.1 syntax"
LISTED: Final = "RFC 4998 3.1 digestAlgorithms"
OBJECT: Final = "RFC 4998 5.3(1) data object in initial archive time-stamp"
GROUP: Final = "RFC 4998 5.3 data object group"
RENEWED_TIMESTAMP: Final = "RFC 4998 5.3(2) previous time-stamp covered"
RENEWED_TREE: Final = "RFC 4998 5.3(3) data object and older chains covered"
ONE_ALGORITHM: Final = "RFC 4998 5.3(2) one algorithm per chain"
SECURE_ALGORITHM: Final = "RFC 4998 5.3(2) algorithm secure when replaced"
SECURE_SIGNATURE: Final = "RFC 4998 5.3(2) time-stamp's signature secure when replaced"
ORDER: Final = "RFC 4998 5.1 chronological order"
ROOT: Final = "RFC 4998 4.3(3,4) root hash time-stamped"
SIGNATURE: Final = "RFC 4998 4.3(4) time-stamp signature"
TRUST_STEPS: Final = frozenset({PATH_STEP, SECURE_ALGORITHM, SECURE_SIGNATURE})
"""Steps that rest on what the verifier trusts, not on the record's bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataObject:
    """A data object by its digests; its bytes are read once, by whoever made it."""

    name: str
    digests: Mapping[str, bytes]
    """Digest values by hashlib's algorithm name; those of `EvidenceRecord.hash_names` are needed."""


def read_data_object(name: str, source: BinaryIO, hash_names: Iterable[str]) -> DataObject:
    """Returns a data object, hashed in one pass with every algorithm of `hash_names` that can be computed."""
    states = {item: hashlib.new(item, usedforsecurity=False) for item in hash_names if item in HASH_NAMES}
    for chunk in chunks(source):
        for state in states.values():
            state.update(chunk)
    return DataObject(name=name, digests={item: state.digest() for item, state in states.items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRecordVerification(Verification):
    """All checks of one record."""

    existed_at: datetime | None = None
    """Time of the first time-stamp: what the record proves, as far as the checks passed."""
    timestamps: tuple[datetime, ...] = ()
    """Times of all time-stamps in order."""

    @property
    def integrity(self) -> Indication:
        """Outcome of what the bytes alone decide: structure, hashes, order, signatures; not trust or policy."""
        return overall(self.integrity_checks)

    @property
    def integrity_checks(self) -> tuple[Check, ...]:
        """The checks that `integrity` is of."""
        return tuple(check for check in self.checks if check.step not in TRUST_STEPS)


def verify_evidence_record(
    content: bytes,
    objects: Sequence[DataObject],
    *,
    at: datetime,
    anchors: Sequence[x509.Certificate] = (),
    policy: AlgorithmPolicy | None = None,
    whole_group: bool = False,
    certificates: Sequence[x509.Certificate] = (),
) -> EvidenceRecordVerification:
    """Checks an Evidence Record for data objects, offline, as of `at`. Never raises on hostile bytes.

    Steps:
      1. the bytes are an EvidenceRecord (3.1)
      2. each archive time-stamp by itself: digest algorithms agree, the tree leads to the time-stamped root (4.3
         steps 3, 4), the token's signature is good and made while its certificate was valid
      3. times ascend (5.1)
      4. the initial archive time-stamp holds each data object's hash (5.3 step 1) and, with `whole_group`, no other
      5. within a chain each archive time-stamp holds the hash of the one before; one algorithm per chain (5.3 step 2)
      6. each further chain holds the hash of data object and older chains together (5.3 step 3)
      7. trust: each token's certificate path holds at the time of the next time-stamp, the last at `at`, and so do key
         and digest of its signature; each chain's algorithm was secure when the next chain began, the last is at `at`

    The caller must have hashed the objects from their bytes, and must say itself which anchors and policy it trusts;
    without them step 7 is INDETERMINATE, while `integrity` still tells what the bytes prove.
    """
    require_aware(at)
    try:
        record = parse_evidence_record(content)
    except EvidenceRecordInvalid as exc:
        return EvidenceRecordVerification(
            checks=(failed(SYNTAX, "EVIDENCE_RECORD_MALFORMED", detail=exc.message[:500]),)
        )
    checks = [passed(SYNTAX), *_check_listed(record)]
    stamps = tuple(_stamps(record, at, certificates))
    for stamp in stamps:
        checks += [_check_root(stamp.item, stamp.subject), stamp.signature]
    checks.append(_check_order(record, at))
    checks += _check_objects(record, objects)
    if whole_group:
        checks.append(_check_whole_group(record, objects))
    for number, chain in enumerate(record.chains, 1):
        checks += _check_chain(chain, number)
    for count in range(1, len(record.chains)):
        checks += _check_renewed_tree(record, count, objects)
    checks += _check_trust(stamps, anchors, certificates)
    checks += _check_algorithms(record, at, policy)
    checks += _check_signature_algorithms(stamps, policy)
    times = tuple(item.token.gen_time for chain in record.chains for item in chain.timestamps)
    return EvidenceRecordVerification(checks=tuple(checks), existed_at=times[0], timestamps=times)


def _subject(chain: int, position: int) -> str:
    return f"chain {chain} time-stamp {position}"


# ---------------------------------------------------------------- step 2: one archive time-stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamp:
    """One archive time-stamp in its place."""

    item: ArchiveTimeStamp
    subject: str
    signature: Check
    signer: x509.Certificate | None
    """Whose signature was found good; None when it was not, or could not be checked."""
    needed_until: datetime
    """When the next archive time-stamp took over, or the time of checking: until then it must have held."""


def _stamps(record: EvidenceRecord, at: datetime, certificates: Sequence[x509.Certificate]) -> Iterator[_Stamp]:
    items = [
        (_subject(number, position), item)
        for number, chain in enumerate(record.chains, 1)
        for position, item in enumerate(chain.timestamps, 1)
    ]
    moments = [item.token.gen_time for _, item in items[1:]] + [at]
    for (subject, item), moment in zip(items, moments, strict=True):
        check, signer = _check_signature(item, subject, certificates)
        yield _Stamp(item=item, subject=subject, signature=check, signer=signer, needed_until=moment)


def _check_listed(record: EvidenceRecord) -> list[Check]:
    """Checks that digestAlgorithms names what the record uses (3.1); nothing protects that field, so it proves nothing false."""
    missing = [name for name in record.hash_names if name not in record.digest_algorithms]
    return [undecided(LISTED, "EVIDENCE_RECORD_ALGORITHM_NOT_LISTED", algorithm=", ".join(missing))] if missing else []


def _check_root(item: ArchiveTimeStamp, subject: str) -> Check:
    if item.hash_name != item.token.hash_name:
        return failed(
            ROOT, "EVIDENCE_RECORD_DIGEST_ALGORITHM", subject, tree=item.hash_name, imprint=item.token.hash_name
        )
    if item.tree is None:
        return passed(ROOT, subject)  # the time-stamp is over the hash itself, which steps 4 to 6 look for
    if item.hash_name not in HASH_NAMES:
        return undecided(ROOT, "EVIDENCE_RECORD_ALGORITHM_UNSUPPORTED", subject, algorithm=item.hash_name)
    if item.token.imprint not in _roots(item.hash_name, item.tree):
        return failed(ROOT, "EVIDENCE_RECORD_ROOT_DIFFERS", subject, imprint=item.token.imprint.hex())
    return passed(ROOT, subject)


def _roots(hash_name: str, tree: tuple[tuple[bytes, ...], ...]) -> set[bytes]:
    """Returns the root hashes that the tree can stand for: two readings when its first list has one hash."""
    first, rest = tree[0], tree[1:]
    starts = {combine(hash_name, first)} | ({first[0]} if len(first) == 1 else set())
    roots = set()
    for start in starts:
        value = start
        for part in rest:
            value = combine(hash_name, (*part, value))
        roots.add(value)
    return roots


def _check_signature(
    item: ArchiveTimeStamp, subject: str, certificates: Sequence[x509.Certificate]
) -> tuple[Check, x509.Certificate | None]:
    try:
        signer = verify_token_signature(item.token, certificates)
        with reading("the signer's certificate"):
            start, end = signer.not_valid_before, signer.not_valid_after
            key_bits(signer.public_key)  # read lazily, so that it is read here
    except TimestampUncheckable as exc:
        return undecided(SIGNATURE, "EVIDENCE_RECORD_TOKEN_NOT_CHECKED", subject, detail=exc.message), None
    except EvidenceInvalid as exc:
        return failed(SIGNATURE, "EVIDENCE_RECORD_TOKEN_FALSE", subject, detail=exc.message), None
    if not start <= item.token.gen_time <= end:
        params = {"time": item.token.gen_time.isoformat(), "start": start.isoformat(), "end": end.isoformat()}
        return failed(SIGNATURE, "EVIDENCE_RECORD_TOKEN_OUTSIDE_VALIDITY", subject, **params), signer
    return passed(SIGNATURE, subject), signer


# ---------------------------------------------------------------- step 3: order


def _check_order(record: EvidenceRecord, at: datetime) -> Check:
    times = [item.token.gen_time for chain in record.chains for item in chain.timestamps]
    for earlier, later in pairwise(times):
        if later < earlier:
            return failed(ORDER, "EVIDENCE_RECORD_ORDER", earlier=earlier.isoformat(), later=later.isoformat())
    if times[-1] > at:
        return undecided(ORDER, "EVIDENCE_RECORD_FROM_THE_FUTURE", time=times[-1].isoformat(), at=at.isoformat())
    return passed(ORDER)


# ---------------------------------------------------------------- step 4: data objects


def _check_objects(record: EvidenceRecord, objects: Sequence[DataObject]) -> list[Check]:
    if not objects:
        return [undecided(OBJECT, "EVIDENCE_RECORD_NO_OBJECT")]
    initial = record.chains[0].timestamps[0]
    hashes = [(item.name, _digest(item, initial.hash_name)) for item in objects]
    return _found(OBJECT, initial, hashes, encrypted=record.encrypted)


def _digest(item: DataObject, hash_name: str) -> bytes | None:
    return item.digests.get(hash_name)


def _first_list(item: ArchiveTimeStamp) -> tuple[bytes, ...]:
    """Returns the hashes an archive time-stamp directly holds; without a tree the imprint alone (section 4.3)."""
    return (item.token.imprint,) if item.tree is None else item.tree[0]


def _found(
    step: str, item: ArchiveTimeStamp, hashes: Sequence[tuple[str, bytes | None]], *, encrypted: bool = False
) -> list[Check]:
    """Checks that each named hash, or the group's hash over all of them, stands in the first list.

    Names may repeat: files of one name from several folders are several objects.
    """
    held = set(_first_list(item))
    known = [value for _, value in hashes if value is not None]
    rest = [value for value in known if value not in held]
    # what does not stand there by itself may be the members of a group whose hash does; all the objects may be one
    groups = [members for members in (known, rest) if len(members) > 1] if len(known) == len(hashes) else []
    as_group = any(combine(item.hash_name, members) in held for members in groups)
    checks = []
    for name, value in hashes:
        if value is None:
            checks.append(undecided(step, "EVIDENCE_RECORD_NO_DIGEST", name, algorithm=item.hash_name))
        elif as_group or value in held:
            checks.append(passed(step, name))
        elif encrypted:
            checks.append(undecided(step, "EVIDENCE_RECORD_ENCRYPTED", name))
        else:
            checks.append(failed(step, "EVIDENCE_RECORD_OBJECT_NOT_COVERED", name, hash=value.hex()))
    return checks


def _check_whole_group(record: EvidenceRecord, objects: Sequence[DataObject]) -> Check:
    initial = record.chains[0].timestamps[0]
    hashes = [_digest(item, initial.hash_name) for item in objects]
    known = [value for value in hashes if value is not None]
    if len(known) < len(hashes):
        return undecided(GROUP, "EVIDENCE_RECORD_NO_DIGEST", algorithm=initial.hash_name)
    held = set(known)
    others = [value for value in _first_list(initial) if value not in held]
    if others and others != [combine(initial.hash_name, known)]:
        return failed(GROUP, "EVIDENCE_RECORD_NON_DATA_OBJECTS", count=len(others))
    return passed(GROUP)


# ---------------------------------------------------------------- step 5: within a chain


def _check_chain(chain: Chain, number: int) -> list[Check]:
    checks = []
    names = sorted({item.hash_name for item in chain.timestamps})
    if len(names) > 1:
        subject = f"chain {number}"
        checks.append(failed(ONE_ALGORITHM, "EVIDENCE_RECORD_MIXED_ALGORITHMS", subject, names=", ".join(names)))
    for position, (before, item) in enumerate(pairwise(chain.timestamps), 2):
        checks.append(_check_renewed_timestamp(before, item, _subject(number, position)))
    return checks


def _check_renewed_timestamp(before: ArchiveTimeStamp, item: ArchiveTimeStamp, subject: str) -> Check:
    if item.hash_name not in HASH_NAMES:
        return undecided(RENEWED_TIMESTAMP, "EVIDENCE_RECORD_ALGORITHM_UNSUPPORTED", subject, algorithm=item.hash_name)
    held = _first_list(item)
    if any(hashlib.new(item.hash_name, form).digest() in held for form in token_forms(before.token)):
        return passed(RENEWED_TIMESTAMP, subject)
    return failed(RENEWED_TIMESTAMP, "EVIDENCE_RECORD_TIMESTAMP_NOT_COVERED", subject)


# ---------------------------------------------------------------- step 6: across chains


def _check_renewed_tree(record: EvidenceRecord, count: int, objects: Sequence[DataObject]) -> list[Check]:
    """Checks that chain `count + 1` covers the data objects together with the `count` chains before it."""
    if not objects:
        return [undecided(RENEWED_TREE, "EVIDENCE_RECORD_NO_OBJECT", f"chain {count + 1}")]
    item = record.chains[count].timestamps[0]
    name = item.hash_name
    if name not in HASH_NAMES:
        subject = _subject(count + 1, 1)
        return [undecided(RENEWED_TREE, "EVIDENCE_RECORD_ALGORITHM_UNSUPPORTED", subject, algorithm=name)]
    attempts = []
    for form in sequence_forms(record.chains[:count]):
        older = hashlib.new(name, form).digest()
        hashes = [
            (f"{data.name}, chain {count + 1}", None if value is None else hashlib.new(name, value + older).digest())
            for data in objects
            for value in (_digest(data, name),)
        ]
        attempts.append(_found(RENEWED_TREE, item, hashes, encrypted=record.encrypted))
    return next((checks for checks in attempts if overall(checks) is not Indication.FAILED), attempts[0])


# ---------------------------------------------------------------- step 7: trust


def _check_trust(
    stamps: Sequence[_Stamp],
    anchors: Sequence[x509.Certificate],
    certificates: Sequence[x509.Certificate],
) -> list[Check]:
    return [
        undecided(PATH_STEP, "EVIDENCE_RECORD_PATH_NOT_CHECKED", stamp.subject)
        if stamp.signer is None
        else check_trust(
            stamp.item.token,
            stamp.signer,
            anchors=anchors,
            at=stamp.needed_until,
            subject=stamp.subject,
            certificates=certificates,
        )
        for stamp in stamps
    ]


def _check_algorithms(record: EvidenceRecord, at: datetime, policy: AlgorithmPolicy | None) -> list[Check]:
    starts = [chain.timestamps[0].token.gen_time for chain in record.chains[1:]] + [at]
    return [
        _check_algorithm(chain.hash_name, moment, policy, f"chain {number}")
        for number, (chain, moment) in enumerate(zip(record.chains, starts, strict=True), 1)
    ]


def _check_algorithm(name: str, moment: datetime, policy: AlgorithmPolicy | None, subject: str) -> Check:
    until = None if policy is None else policy.digest_until(name)
    return _secure(SECURE_ALGORITHM, name, until, moment, subject)


def _check_signature_algorithms(stamps: Sequence[_Stamp], policy: AlgorithmPolicy | None) -> list[Check]:
    return [
        _check_signature_algorithm(stamp, stamp.signer, policy)
        for stamp in stamps
        if stamp.signer is not None and policy is not None
    ]


def _check_signature_algorithm(stamp: _Stamp, signer: x509.Certificate, policy: AlgorithmPolicy) -> Check:
    """Checks that key and digest of a time-stamp's signature were secure for as long as it was the newest proof."""
    key, digest = signer.public_key, signed_digest(stamp.item.token)
    bits = key_bits(key)
    ends = (
        (f"{key.algorithm} {bits}", policy.signature_until(key.algorithm, bits)),
        (digest, policy.digest_until(digest)),
    )
    checks = [_secure(SECURE_SIGNATURE, name, until, stamp.needed_until, stamp.subject) for name, until in ends]
    return next((check for check in checks if check.reason is not None), checks[0])


def _secure(step: str, name: str, until: date | None, moment: datetime, subject: str) -> Check:
    if until is None:
        return undecided(step, "EVIDENCE_RECORD_ALGORITHM_UNKNOWN", subject, algorithm=name)
    if not secure_at(until, moment):
        return undecided(
            step,
            "EVIDENCE_RECORD_ALGORITHM_EXPIRED",
            subject,
            algorithm=name,
            until=until.isoformat(),
            at=moment.isoformat(),
        )
    return passed(step, subject)
