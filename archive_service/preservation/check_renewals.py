"""Checking the renewals of evidence at a location from their bytes: digest as sealed, every new Evidence Record against its AIP's digests.

Part of `check_store`: the form of the objects is read here from its description (`log/renewals/<n>.jsonl`: a header with the time-stamp, then a
line for each batch of a time-stamp renewal, or for each record of a hash-tree renewal).
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from archive_service.evidence.algorithms import HASH_NAMES
from archive_service.evidence.checks import Indication
from archive_service.evidence.ers_asn1 import parse_evidence_record
from archive_service.evidence.evidence_record import with_appended
from archive_service.evidence.evidence_record_verify import DataObject, verify_evidence_record

Fail = Callable[[str, str], None]
"""(key, what is wrong)."""


@dataclass(slots=True, kw_only=True)
class RenewedEvidence:
    """What the renewals of a log say, gathered in their order."""

    samples: dict[str, tuple[bytes, dict[str, bytes]]] = field(default_factory=dict)
    """One record of each batch and the digests of what it covers: all records of a batch share the chain that is renewed."""
    rehashed: dict[str, dict[str, str]] = field(default_factory=dict)
    """Digests of AIPs in other algorithms, by OBJID and algorithm: compared when the AIPs are read."""
    algorithms: set[str] = field(default_factory=set)
    """Of those algorithms, the ones that can be computed here."""


def renewal_key(ordinal: int) -> str:
    """Returns the key of a renewal's object."""
    return f"log/renewals/{ordinal // 1000:06d}/{ordinal:09d}.jsonl"


def check_renewal(
    content: bytes,
    detail: dict[str, Any],
    known: RenewedEvidence,
    aips: dict[str, tuple[str, str]],
    fail: Fail,
    at: datetime,
) -> None:
    """Checks one renewal's object against the sealed event that tells of it, and its records.

    Args:
        content: The object.
        detail: Of the event.
        known: What was gathered so far; added to.
        aips: OBJID and SHA-256 of every AIP the log knows, by id.
        fail: Told of each failure.
        at: Now.
    """
    key = renewal_key(int(detail["ordinal"]))
    if hashlib.sha256(content).hexdigest() != detail["sha256"]:
        fail(key, "differs from what its sealed event says")
    head, *lines = (json.loads(line) for line in content.splitlines())
    if (head["type"], head["ordinal"], head["kind"]) != ("archive-log-renewal/1", detail["ordinal"], detail["kind"]):
        fail(key, "its header is of another form or number")
    for line in lines:
        if "batch" in line:
            _appended(line, known, key, fail, at)
        elif line["record"] is not None:
            _rehashed(line, head, known, aips, key, fail, at)


def _appended(line: dict[str, Any], known: RenewedEvidence, key: str, fail: Fail, at: datetime) -> None:
    if line["batch"] not in known.samples:
        fail(key, f"renews {line['batch']}, which the log does not know")
        return
    record, digests = known.samples[line["batch"]]
    renewed = with_appended(parse_evidence_record(record), [b64decode(line["archive_timestamp"], validate=True)])
    known.samples[line["batch"]] = renewed, digests
    _verify(renewed, digests, f"{key} {line['batch']}", fail, at)


def _rehashed(
    line: dict[str, Any],
    head: dict[str, Any],
    known: RenewedEvidence,
    aips: dict[str, tuple[str, str]],
    key: str,
    fail: Fail,
    at: datetime,
) -> None:
    subject = line["aip"] or f"checkpoint {line['seal']}"
    digests = {head["hash_name"]: bytes.fromhex(line["digest"])}
    if line["aip"] is not None:
        if line["aip"] not in aips:
            fail(key, f"holds the Evidence Record of {line['aip']}, which the log does not know")
            return
        objid, sha256_hex = aips[line["aip"]]
        digests["sha256"] = bytes.fromhex(sha256_hex)
        known.rehashed.setdefault(objid, {})[head["hash_name"]] = line["digest"]
        known.algorithms |= {head["hash_name"]} & HASH_NAMES & hashlib.algorithms_available
    else:
        digests |= known.samples[f"seal:{line['seal']}"][1]
    record = b64decode(line["record"], validate=True)
    _verify(record, digests, f"{key} {subject}", fail, at)
    known.samples.setdefault(f"renewal:{head['ordinal']}", (record, digests))


def _verify(record: bytes, digests: dict[str, bytes], subject: str, fail: Fail, at: datetime) -> None:
    verified = verify_evidence_record(record, [DataObject(name=subject, digests=digests)], at=at)
    if verified.integrity is Indication.FAILED:
        reasons = "; ".join(reason.message("en") for reason in verified.reasons)
        fail(subject, f"the Evidence Record does not hold: {reasons}")
