"""Checking a location from its bytes alone: no database, and none of the code that wrote them (`archive-service check-store`).

Every AIP is verified whole, every seal derived again: signatures, the chain of notes, digests of segment, evidence and checkpoint, the leaves
and root from the segment's lines, each Evidence Record against its AIP's digest. Then the two are held against each other: every AIP that
the log names must be there with that digest. One changed byte anywhere is found; an object that belongs to nothing is named too.

Only readers are shared with the rest: packaging's verifier, the Merkle hash, the note and Evidence Record parsers. The forms of segment, note
and leaf are read here from their description, not with the functions that write them.
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from archive_service.digests import chunks, digest_stream, sha256
from archive_service.errors import ArchiveError, StoredObjectMissing, StoreUnavailable
from archive_service.evidence import merkle
from archive_service.evidence.checkpoint import NoteKey, parse_checkpoint, parse_note
from archive_service.evidence.checks import Indication
from archive_service.evidence.evidence_record_verify import DataObject, verify_evidence_record
from archive_service.ids import derived_id
from archive_service.packaging.verify import Outcome, verify_opened
from archive_service.preservation.check_renewals import RenewedEvidence, check_renewal, renewal_key
from archive_service.preservation.log_trust import ROTATION_EVENT, LogTrust
from archive_service.storage.port import LockEnforcement, Store, StoredObject, store_key
from archive_service.storage.ranged import opened_anywhere

_KINDS: Final = ("segments", "evidence", "checkpoints", "seals")
_KNOWN_PREFIXES: Final = ("aip/", "log/", "copies/", "quarantine/", "renditions/")
_SET_ASIDE_PARTS: Final = 4
_COPY_EVENT: Final = "copy.issued"
_STORED_EVENTS: Final = ("record.accessioned", "record.version-added")

Progress = Callable[[str, int], None]
"""(what, objects checked so far)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is not as it must be."""

    key: str
    outcome: Outcome
    """FAILED, or INDETERMINATE where it could not be checked."""
    reason: str


@dataclass(slots=True, kw_only=True)
class StoreCheck:
    """What a check of one location found."""

    location: str
    objects: int = 0
    bytes_read: int = 0
    aips: int = 0
    seals: int = 0
    leaves: int = 0
    problems: list[Problem] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """FAILED if anything failed, else INDETERMINATE if anything could not be checked, else PASSED."""
        found = {problem.outcome for problem in self.problems}
        if Outcome.FAILED in found:
            return Outcome.FAILED
        return Outcome.INDETERMINATE if found else Outcome.PASSED

    def fail(self, key: str, reason: str) -> None:
        """Notes a failure."""
        self.problems.append(Problem(key=key, outcome=Outcome.FAILED, reason=reason))

    def undecided(self, key: str, reason: str) -> None:
        """Notes what could not be checked."""
        self.problems.append(Problem(key=key, outcome=Outcome.INDETERMINATE, reason=reason))


@dataclass(slots=True, kw_only=True)
class _Log:
    """What the log says, gathered while it is read."""

    leaves: merkle.RunningRoot = field(default_factory=merkle.RunningRoot)
    aips: dict[str, str] = field(default_factory=dict)
    """SHA-256 by OBJID."""
    digest_of_id: dict[UUID, str] = field(default_factory=dict)
    copies: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Digest and size of certified copies by key."""
    destroyed: set[str] = field(default_factory=set)
    renditions: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Digest and size of renditions by key."""
    set_aside: set[tuple[str, str]] = field(default_factory=set)
    """Location and key of damaged bytes that a repair put aside."""
    renewals: list[dict[str, Any]] = field(default_factory=list)
    """Details of the events that tell of a renewal."""
    renewed: RenewedEvidence = field(default_factory=RenewedEvidence)
    objid_of_id: dict[UUID, str] = field(default_factory=dict)
    rotations: list[dict[str, Any]] = field(default_factory=list)
    """Of the segment being read: details of events that change the log's key."""
    previous: str = "0" * 64
    last_seq: int = 0


def check_store(
    store: Store, keys: tuple[NoteKey, ...], *, at: datetime, progress: Progress = lambda _what, _done: None
) -> StoreCheck:
    """Checks everything at a location and returns what is wrong; damage never raises.

    Args:
        store: The location.
        keys: Public keys of the log, from elsewhere than the location; without one signatures are not checked, which is said.
        at: Now, for the Evidence Records.
        progress: Told how far the work is.

    Raises:
        StoreUnavailable: the location does not answer.
    """
    found, log, trust = StoreCheck(location=store.name), _Log(), LogTrust(keys)
    if not keys:
        found.undecided("log/", "no public key of the log was given: signatures were not checked")
    listed: dict[str, StoredObject] = {item.key: item for item in store.list()}
    found.objects = len(listed)
    ordinals = sorted(
        int(Path(key).stem) for key in listed if key.startswith("log/seals/") and Path(key).stem.isdecimal()
    )
    for expected, ordinal in enumerate(ordinals, start=1):
        if ordinal != expected:
            found.fail(_key("seals", expected), "is missing: the chain of seals has a gap")
            break
        _guarded(found, _key("seals", ordinal), lambda ordinal=ordinal: _seal(store, ordinal, trust, log, found, at))  # type: ignore[misc]
        found.seals += 1
        progress("seals", found.seals)
    found.leaves = log.leaves.size
    for detail in log.renewals:
        key = renewal_key(int(detail["ordinal"]))
        _guarded(found, key, lambda key=key, detail=detail: _renewal(store, key, detail, log, found, at))  # type: ignore[misc]
    present = _aips(store, listed, log, found, progress)
    _absent(log, present, found)
    for key, (digest, size) in (log.copies | log.renditions).items():
        _guarded(found, key, lambda key=key, digest=digest, size=size: _plain_object(store, key, digest, size, found))  # type: ignore[misc]
    _set_aside(store, listed, log, found)
    _locks(store, listed, found)
    _strays(listed, len(ordinals), log, found)
    return found


def _guarded(found: StoreCheck, key: str, check: Callable[[], None]) -> None:
    """Runs a check; what it meets is its failure, an unreachable location ends everything."""
    try:
        check()
    except StoreUnavailable:
        raise
    except StoredObjectMissing:
        found.fail(key, "is missing, or an object it names is")
    except ArchiveError as exc:
        found.fail(key, f"{exc.code}: {exc.message}")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        found.fail(key, f"malformed: {type(exc).__name__} {exc}")


def _key(kind: str, ordinal: int) -> str:
    suffix = {"segments": "jsonl", "evidence": "jsonl", "checkpoints": "txt", "seals": "note"}[kind]
    return f"log/{kind}/{ordinal // 1000:06d}/{ordinal:09d}.{suffix}"


def _content(store: Store, key: str, found: StoreCheck) -> bytes:
    with store.open(store_key(key)) as source:
        content = b"".join(chunks(source))
    found.bytes_read += len(content)
    return content


# ------------------------------------------------------------------ the log


def _renewal(store: Store, key: str, detail: dict[str, Any], log: _Log, found: StoreCheck, at: datetime) -> None:
    if detail["sha256"]:
        aips = {str(aip): (log.objid_of_id[aip], digest) for aip, digest in log.digest_of_id.items()}
        check_renewal(_content(store, key, found), detail, log.renewed, aips, found.fail, at)


def _seal(store: Store, ordinal: int, trust: LogTrust, log: _Log, found: StoreCheck, at: datetime) -> None:
    key = _key("seals", ordinal)
    content = _content(store, key, found)
    signed = parse_note(content)
    if signed.to_text().encode() != content:
        found.fail(key, "is not in canonical form")
    kind, origin, number, previous, *digests = signed.text.rstrip("\n").split("\n")
    if (kind, number) != ("archive-seal/1", str(ordinal)):
        found.fail(key, "is of another form or number")
    if previous != log.previous:
        found.fail(key, "does not name the seal before it: the chain is broken")
    log.previous = hashlib.sha256(content).hexdigest()
    stated = {name: (digest, int(size)) for name, digest, size in (line.split(" ") for line in digests)}
    segment, evidence, checkpoint = (
        _stated(store, _key(kind, ordinal), stated[name], found)
        for kind, name in (("segments", "segment"), ("evidence", "evidence"), ("checkpoints", "checkpoint"))
    )
    log.rotations = []
    _segment(segment, origin, ordinal, log, found)
    if len(signed.signatures) != 1 + len(log.rotations):
        found.fail(key, f"has {len(signed.signatures)} signatures instead of {1 + len(log.rotations)}")
    if trust.keys:
        try:
            trust.accept(signed, log.rotations)
        except ArchiveError as exc:
            found.fail(key, f"{exc.code}: {exc.message}")
    _checkpoint(checkpoint, origin, ordinal, trust.keys, log, found)
    _evidence(evidence, checkpoint, ordinal, log, found, at)


def _stated(store: Store, key: str, stated: tuple[str, int], found: StoreCheck) -> bytes:
    content = _content(store, key, found)
    if (hashlib.sha256(content).hexdigest(), len(content)) != stated:
        found.fail(key, "differs from what its seal says")
    return content


def _segment(content: bytes, origin: str, ordinal: int, log: _Log, found: StoreCheck) -> None:
    key = _key("segments", ordinal)
    head, *lines = content.rstrip(b"\n").split(b"\n")
    header = json.loads(head)
    stated = (header["type"], header["origin"], header["ordinal"], header["tree_size_before"], header["first_seq"])
    if stated != ("archive-log-segment/1", origin, ordinal, log.leaves.size, log.last_seq + 1):
        found.fail(key, "its header does not follow from the segments before it")
    for line in lines:
        value = json.loads(line)
        seq = value["seq"]
        if not log.last_seq < seq <= header["last_seq"]:
            found.fail(key, f"event {seq} is out of order")
        log.last_seq = seq
        _event(value, line, origin, log)
    log.last_seq = header["last_seq"]


def _event(value: dict[str, Any], line: bytes, origin: str, log: _Log) -> None:  # parsed JSON
    event = value["event"]
    fields = {
        "event_digest": f"SHA-256:{hashlib.sha256(line).hexdigest()}",
        "event_id": str(derived_id("log-event", origin, str(value["seq"]))),
        "event_type": event["type"],
        "occurred_at": event["at"],
    }
    log.leaves.append(_leaf("audit-event", fields))
    detail = event["detail"]
    if event["type"] in _STORED_EVENTS:
        fields = {
            "aip_digest": f"SHA-256:{detail['sha256']}",
            "record_id": detail["record_id"],
            "size_bytes": detail["size_bytes"],
            "version": detail["version"],
        }
        log.leaves.append(_leaf("aip", fields))
        log.aips[detail["aip"]] = detail["sha256"]
        log.digest_of_id[derived_id("aip", detail["aip"])] = detail["sha256"]
        log.objid_of_id[derived_id("aip", detail["aip"])] = detail["aip"]
    if event["type"] == _COPY_EVENT and "certified_copy" in value.get("rows", {}):
        row = value["rows"]["certified_copy"]
        log.copies[row["store_key"]] = row["pdf_sha256"], row["pdf_size_bytes"]
    if event["type"] == "record.rendition-made" and "rendition" in value.get("rows", {}):
        row = value["rows"]["rendition"]
        log.renditions[row["store_key"]] = row["sha256"], row["size_bytes"]
    if event["type"] == "evidence.renewed":
        log.renewals.append(detail)
    if event["type"] == ROTATION_EVENT:
        log.rotations.append(detail)
    if event["subject_kind"] == "incident" and detail.get("quarantine_key"):
        log.set_aside.add((detail["location"], detail["quarantine_key"]))
    if event["type"] in {"record.destroyed", "record.handed-over"}:
        log.destroyed.add(event["subject_id"])


def _leaf(kind: str, fields: dict[str, Any]) -> bytes:
    """Returns the hash of a leaf in the form `archive-log-leaf/1` (described in the evidence package)."""
    body = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(b"\x00" + f"archive-log-leaf/1 {kind}\n{body}".encode()).digest()


def _checkpoint(
    content: bytes, origin: str, ordinal: int, keys: tuple[NoteKey, ...], log: _Log, found: StoreCheck
) -> None:
    key = _key("checkpoints", ordinal)
    signed = parse_checkpoint(content)
    if signed.to_text().encode() != content or signed.checkpoint.origin != origin:
        found.fail(key, "is not in canonical form or of another log")
    if keys:
        signed.verify(keys)
    if (signed.checkpoint.size, signed.checkpoint.root) != (log.leaves.size, log.leaves.root()):
        found.fail(key, "its size and root do not follow from the events")


def _evidence(content: bytes, checkpoint: bytes, ordinal: int, log: _Log, found: StoreCheck, at: datetime) -> None:
    key = _key("evidence", ordinal)
    head, *lines = content.rstrip(b"\n").split(b"\n")
    header = json.loads(head)
    if (header["type"], header["ordinal"]) != ("archive-log-evidence/1", ordinal):
        found.fail(key, "its header is of another form or number")
    if header["checkpoint_record"] is not None:
        hashes = {name: hashlib.new(name, checkpoint).digest() for name in ("sha256", "sha384", "sha512")}
        _record(header["checkpoint_record"], hashes["sha256"].hex(), f"{key} checkpoint", found, at)
        log.renewed.samples[f"seal:{ordinal}"] = b64decode(header["checkpoint_record"]), hashes
    for line in lines:
        item = json.loads(line)
        digest = log.digest_of_id.get(UUID(item["aip"]))
        if digest is None:
            found.fail(key, f"holds the Evidence Record of {item['aip']}, which the log does not know")
        else:
            _record(item["record"], digest, f"{key} {item['aip']}", found, at)


def _record(text: str, digest: str, subject: str, found: StoreCheck, at: datetime) -> None:
    thing = DataObject(name=subject, digests={"sha256": sha256(digest).raw})
    verified = verify_evidence_record(b64decode(text, validate=True), [thing], at=at)
    if verified.integrity is Indication.FAILED:
        reasons = "; ".join(reason.message("en") for reason in verified.reasons)
        found.fail(subject, f"the Evidence Record does not hold: {reasons}")


# ------------------------------------------------------------------ AIPs and the rest


def _aips(
    store: Store, listed: dict[str, StoredObject], log: _Log, found: StoreCheck, progress: Progress
) -> Iterator[str] | set[str]:
    present: set[str] = set()
    for key in sorted(key for key in listed if key.startswith("aip/")):
        _guarded(found, key, lambda key=key: _aip(store, key, log, found, present))  # type: ignore[misc]
        found.aips += 1
        progress("aips", found.aips)
    return present


def _aip(store: Store, key: str, log: _Log, found: StoreCheck, present: set[str]) -> None:
    """Verifies an AIP where it lies, and takes in the same reading its digests in the algorithms that renewals brought in."""
    others = {name: hashlib.new(name) for name in log.renewed.algorithms}

    def pass_on(chunk: bytes) -> None:
        for state in others.values():
            state.update(chunk)

    with opened_anywhere(store, store_key(key)) as archive:
        report = verify_opened(key, archive, passing=pass_on)
    found.bytes_read += report.size_bytes or 0
    for check in report.checks:
        if check.outcome is Outcome.FAILED:
            found.fail(key, f"{check.name}: {'; '.join(check.reasons[:3])}")
    if report.objid is None or report.digest is None:
        return
    _rehashed(
        key, log.renewed.rehashed.get(report.objid, {}), {name: others[name].hexdigest() for name in others}, found
    )
    sealed = log.aips.get(report.objid)
    if sealed is None:
        found.undecided(key, "is not in the sealed log (yet): only its own digests could be checked")
    elif sealed != report.digest.hex:
        found.fail(key, f"its digest is {report.digest.hex}, sealed was {sealed}")
    present.add(report.objid)


def _rehashed(key: str, renewed: dict[str, str], read: dict[str, str], found: StoreCheck) -> None:
    for name, digest in renewed.items():
        if name not in read:
            found.undecided(key, f"its {name} digest cannot be computed here")
        elif read[name] != digest:
            found.fail(key, f"its {name} digest is {read[name]}, renewed was {digest}")


def _absent(log: _Log, present: Iterator[str] | set[str], found: StoreCheck) -> None:
    for objid in sorted(set(log.aips) - set(present)):
        found.fail(f"aip {objid}", "is in the sealed log and not at this location")


def _plain_object(store: Store, key: str, digest: str, size: int, found: StoreCheck) -> None:
    read, read_bytes = _digest(store, key)
    found.bytes_read += read_bytes
    if (read, read_bytes) != (digest, size):
        found.fail(key, "differs from what the log says of it")


def _set_aside(store: Store, listed: dict[str, StoredObject], log: _Log, found: StoreCheck) -> None:
    """Damaged bytes that were put aside are kept under their own digest: `quarantine/<incident>/<sha256>/<name>`."""
    for location, key in sorted(log.set_aside):
        if location == store.name and key not in listed:
            found.fail(key, "is missing: damaged bytes that a repair put aside")
    for key in sorted(key for key in listed if key.startswith("quarantine/")):
        _guarded(found, key, lambda key=key: _as_named(store, key, found))  # type: ignore[misc]


def _as_named(store: Store, key: str, found: StoreCheck) -> None:
    parts = key.split("/")
    if len(parts) != _SET_ASIDE_PARTS:
        found.undecided(key, "has no digest in its name: put aside by an earlier version, or by nobody")
        return
    read, size = _digest(store, key)
    found.bytes_read += size
    if read != parts[2]:
        found.fail(key, "differs from the digest in its name")


def _digest(store: Store, key: str) -> tuple[str, int]:
    """Returns an object's SHA-256 in hex and its size in bytes; it is read piece by piece."""
    with store.open(store_key(key)) as source:
        digest, size = digest_stream(source)
    return digest.hex, size


def _locks(store: Store, listed: dict[str, StoredObject], found: StoreCheck) -> None:
    """Locks that this service keeps in files are read; a server's own are the server's business."""
    if store.capabilities.lock_enforcement is LockEnforcement.SERVICE:
        for key in sorted(listed):
            _guarded(found, key, lambda key=key: _lock_is_read(store, key))  # type: ignore[misc]


def _lock_is_read(store: Store, key: str) -> None:
    store.lock(store_key(key))


def _strays(listed: dict[str, StoredObject], seals: int, log: _Log, found: StoreCheck) -> None:
    wanted = {_key(kind, ordinal) for ordinal in range(1, seals + 1) for kind in _KINDS}
    renewed = {renewal_key(int(detail["ordinal"])) for detail in log.renewals}
    for key in sorted(listed):
        if not key.startswith(_KNOWN_PREFIXES):
            found.fail(key, "belongs to nothing this archive writes")
        elif key.startswith("log/renewals/"):
            if key not in renewed:
                found.undecided(key, "belongs to a renewal that is not sealed (yet)")
        elif key.startswith("log/") and key not in wanted:
            found.undecided(key, "belongs to a seal that is not finished")
        elif key.startswith("copies/") and key not in log.copies:
            found.undecided(key, "is not in the sealed register of certified copies (yet)")
        elif key.startswith("renditions/") and key not in log.renditions:
            found.undecided(key, "is not among the sealed renditions (yet)")
