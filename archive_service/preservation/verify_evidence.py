"""Checking an AIP's evidence file offline: inclusion in the log, checkpoint signature, Evidence Record, time-stamp path.

Works from three things: the AIP's bytes, the evidence bundle (`GET /api/v1/evidence/records/{id}`, one item of it), and what the verifier
trusts: public keys of the log and root certificates of time-stamp authorities, from elsewhere than the bundle. Whatever was not given or
not there is INDETERMINATE with its reason, never passed.
"""

import json
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from asn1crypto import x509

from archive_service.digests import Digest, canonical_json, digest_stream
from archive_service.evidence.algorithms import AlgorithmPolicy, load_algorithm_policy
from archive_service.evidence.checkpoint import NoteKey
from archive_service.evidence.checks import Indication, Verification
from archive_service.evidence.errors import EvidenceRecordInvalid, LogProofInvalid
from archive_service.evidence.ers_asn1 import parse_evidence_record
from archive_service.evidence.evidence_record_verify import DataObject, read_data_object, verify_evidence_record
from archive_service.evidence.leaves import parse_log_proof, verify_log_proof
from archive_service.packaging.verify import CheckResult, Outcome

BUNDLE_TYPE: Final = "archive-evidence/1"
MAX_BUNDLE_BYTES: Final = 64 * 1024 * 1024
"""An Evidence Record has at most 16 MiB, base64 and the proof come on top."""
_OUTCOMES: Final = {
    Indication.PASSED: Outcome.PASSED,
    Indication.INDETERMINATE: Outcome.INDETERMINATE,
    Indication.FAILED: Outcome.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceTrust:
    """What the verifier trusts, and when it looks."""

    at: datetime
    keys: tuple[NoteKey, ...] = ()
    """Public keys of the log and of its witnesses."""
    anchors: tuple[x509.Certificate, ...] = ()
    """Root certificates of time-stamp authorities."""
    policy: AlgorithmPolicy | None = None
    """Until when algorithms hold; default the profile's."""


def verify_evidence(
    aip: Path, bundle: Path, trust: EvidenceTrust, *, language: str = "vi", digest: Digest | None = None
) -> list[CheckResult]:
    """Returns the checks `evidence_bundle`, `log_inclusion` and `evidence_record`; damaged input never raises.

    Args:
        aip: The package.
        bundle: Its evidence file.
        trust: What the verifier trusts.
        language: Of the reasons: `vi`, `en` or `vi / en` for both.
        digest: SHA-256 of the package where it was hashed already, so that it is not read again.
    """
    try:
        with bundle.open("rb") as source:
            content = source.read(MAX_BUNDLE_BYTES + 1)
        if digest is None:
            with aip.open("rb") as source:
                digest, _ = digest_stream(source)
        size_bytes = aip.stat().st_size
    except OSError as exc:
        return [_result("evidence_bundle", Outcome.INDETERMINATE, [f"cannot be read: {exc.strerror}"])]
    value, problem = _bundle(content, digest)
    if value is None:
        rest = [_not_checked(name, "the evidence file is unusable") for name in ("log_inclusion", "evidence_record")]
        return [_result("evidence_bundle", Outcome.FAILED, [problem]), *rest]
    return [
        CheckResult(name="evidence_bundle", outcome=Outcome.PASSED, detail={"size_bytes": size_bytes}),
        _log_inclusion(value, digest, trust, language),
        _evidence_record(aip, value, digest, trust, language),
    ]


def _bundle(content: bytes, digest: Digest) -> tuple[dict[str, Any] | None, str]:
    """Returns the bundle of this AIP; of a whole API answer the item with its digest is taken."""
    if len(content) > MAX_BUNDLE_BYTES:
        return None, f"longer than {MAX_BUNDLE_BYTES} bytes"
    try:
        value = json.loads(content)
        canonical_json(value)  # refuses what Python reads and JSON does not know, such as halves of characters
    except (ValueError, RecursionError):
        return None, "not JSON"
    items = value.get("items", [value]) if isinstance(value, dict) else []
    items = items if isinstance(items, list) else []
    bundles = [item for item in items if isinstance(item, dict) and item.get("type") == BUNDLE_TYPE]
    if not bundles:
        return None, f"not an evidence file of form {BUNDLE_TYPE}"
    fitting = [item for item in bundles if item.get("aip_sha256") == digest.hex]
    return (fitting[0], "") if fitting else (None, f"it is not about this file (SHA-256 {digest.hex})")


def _log_inclusion(value: dict[str, Any], digest: Digest, trust: EvidenceTrust, language: str) -> CheckResult:
    if value.get("log_proof") is None:
        return _not_checked("log_inclusion", str(value.get("timestamp_problem") or "no proof in the evidence file"))
    try:
        proof = parse_log_proof(json.dumps(value["log_proof"]).encode())
    except LogProofInvalid as exc:
        return _result("log_inclusion", Outcome.FAILED, [exc.message])
    detail = {"tree_size": proof.tree_size, "leaf_index": proof.index, "origin": proof.checkpoint.checkpoint.origin}
    return _of("log_inclusion", verify_log_proof(proof, trust.keys, expected=[digest]), detail, language)


def _evidence_record(
    aip: Path, value: dict[str, Any], digest: Digest, trust: EvidenceTrust, language: str
) -> CheckResult:
    text = value.get("evidence_record")
    if text is None:
        return _not_checked("evidence_record", f"no time-stamp: {value.get('timestamp_problem') or 'none was given'}")
    try:
        record = b64decode(text, validate=True)
    except (ValueError, TypeError):
        return _result("evidence_record", Outcome.FAILED, ["it is not base64"])
    thing = _data_object(aip, record, digest)
    verified = verify_evidence_record(
        record, [thing], at=trust.at, anchors=trust.anchors, policy=trust.policy or load_algorithm_policy()
    )
    detail = {
        "integrity": verified.integrity.value,
        "existed_at": verified.existed_at.isoformat() if verified.existed_at else None,
        "timestamps": [at.isoformat() for at in verified.timestamps],
    }
    return _of("evidence_record", verified, detail, language)


def _data_object(aip: Path, record: bytes, digest: Digest) -> DataObject:
    """Returns the package by the digests its record needs; read again only for others than SHA-256."""
    try:
        names = parse_evidence_record(record).hash_names
    except EvidenceRecordInvalid:
        names = ()
    if set(names) <= {"sha256"}:
        return DataObject(name=aip.name, digests={"sha256": digest.raw})
    with aip.open("rb") as source:
        return read_data_object(aip.name, source, names)


def _of(name: str, verified: Verification, detail: dict[str, Any], language: str) -> CheckResult:
    languages = language.split(" / ")
    reasons = [" / ".join(reason.message(item) for item in languages) for reason in verified.reasons]
    return CheckResult(name=name, outcome=_OUTCOMES[verified.indication], reasons=reasons, detail=detail)


def _result(name: str, outcome: Outcome, reasons: Sequence[str]) -> CheckResult:
    return CheckResult(name=name, outcome=outcome, reasons=list(reasons))


def _not_checked(name: str, reason: str) -> CheckResult:
    return _result(name, Outcome.INDETERMINATE, [f"not checked: {reason}"])
