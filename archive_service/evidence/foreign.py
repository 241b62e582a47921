"""Evidence Records of other software, however they come: bare, in PEM or base64, as a CMS attribute, in a CMS signature (RFC 4998 appendix A).

One call for a file of evidence and the files it speaks of; nothing is needed but them and the anchors the verifier trusts.
"""

import io
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from asn1crypto import cms, core, pem, x509

from archive_service.evidence.algorithms import AlgorithmPolicy
from archive_service.evidence.checks import failed, undecided
from archive_service.evidence.errors import EvidenceInvalid, EvidenceRecordInvalid
from archive_service.evidence.ers_asn1 import MAX_RECORD_BYTES, Attribute, parse_evidence_record
from archive_service.evidence.evidence_record_verify import (
    SYNTAX,
    DataObject,
    EvidenceRecordVerification,
    read_data_object,
    verify_evidence_record,
)
from archive_service.evidence.timestamps import LIBRARY_ERRORS

ATTRIBUTES: Final = frozenset({"1.2.840.113549.1.9.16.2.49", "1.2.840.113549.1.9.16.2.50"})
"""id-aa-er-internal and id-aa-er-external (RFC 4998 appendix A)."""
CMS_NAME: Final = "CMS without its Evidence Record"
"""Name of the data object that an internal Evidence Record speaks of."""
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BLANK: Final = b" \t\r\n" + _BYTE_ORDER_MARK
_SEQUENCE: Final = b"\x30"
"""First byte of every DER or BER form of a record; in base64 it would be the digit 0, which no record's base64 begins with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwrapped:
    """What was found in a file of evidence."""

    records: tuple[bytes, ...]
    """Evidence Records as they stand; several when the file is a signature that carries several."""
    signature: bytes | None = None
    """The CMS signature without its Evidence Records, when the file is one: what an internal record is over."""


def unwrap(content: bytes) -> Unwrapped:
    """Returns the Evidence Records in a file; bytes of no known wrapping are taken as a bare record.

    Raises:
        EvidenceRecordInvalid: PEM that cannot be read, or a CMS object without Evidence Record.
    """
    if len(content) > MAX_RECORD_BYTES:
        raise EvidenceRecordInvalid(f"evidence of {len(content)} bytes; at most {MAX_RECORD_BYTES} are read")
    try:
        content = _binary(content)
        found = _attribute(content) or _signature(content)
    except (EvidenceInvalid, *LIBRARY_ERRORS) as exc:
        raise EvidenceRecordInvalid(f"not an Evidence Record: {type(exc).__name__} {exc}") from exc
    return found or Unwrapped(records=(content,))


def _binary(content: bytes) -> bytes:
    """Returns what PEM or plain base64 stands for; other bytes as they are."""
    if pem.detect(content):
        return bytes(pem.unarmor(content)[2])
    if content[:1] == _SEQUENCE:
        return content
    try:
        return b64decode(b"".join(content.removeprefix(_BYTE_ORDER_MARK).split()), validate=True) or content
    except ValueError:
        return content


def _first_is_oid(content: bytes) -> str | None:
    """Returns the object identifier that a SEQUENCE begins with; None for anything else, such as a bare record."""
    try:
        sequence = core.Sequence.load(content, strict=True)
        first = core.Asn1Value.load(sequence.contents)
    except LIBRARY_ERRORS:
        return None
    return first.dotted if isinstance(first, core.ObjectIdentifier) else None


def _attribute(content: bytes) -> Unwrapped | None:
    if _first_is_oid(content) not in ATTRIBUTES:
        return None
    return Unwrapped(records=tuple(value.dump() for value in Attribute.load(content, strict=True)["values"]))


def _signature(content: bytes) -> Unwrapped | None:
    if _first_is_oid(content) is None:
        return None
    info = cms.ContentInfo.load(content, strict=True)
    if info["content_type"].native != "signed_data":
        raise EvidenceRecordInvalid(f"a CMS object of type {info['content_type'].native} carries no Evidence Record")
    records: list[bytes] = []
    bare = info.copy()
    for signer, kept in zip(info["content"]["signer_infos"], bare["content"]["signer_infos"], strict=True):
        attributes = signer["unsigned_attrs"]
        if isinstance(attributes, core.Void):
            continue
        evidence = [item for item in attributes if item["type"].dotted in ATTRIBUTES]
        records += [value.dump() for item in evidence for value in item["values"]]
        rest = [item for item in attributes if item["type"].dotted not in ATTRIBUTES]
        kept["unsigned_attrs"] = cms.CMSAttributes(rest) if rest else None
    if not records:
        raise EvidenceRecordInvalid("a CMS signature without Evidence Record (RFC 4998 appendix A)")
    return Unwrapped(records=tuple(records), signature=bare.dump(force=True))


def verify_foreign(
    content: bytes,
    files: Sequence[Path],
    *,
    anchors: Sequence[x509.Certificate],
    at: datetime,
    policy: AlgorithmPolicy | None = None,
    certificates: Sequence[x509.Certificate] = (),
    whole_group: bool = False,
) -> list[EvidenceRecordVerification]:
    """Verifies the Evidence Records in a file of evidence for the files they speak of; one result for each. Never raises on hostile bytes.

    A record inside a CMS signature is over that signature without it, and over the detached content where there is one: the files.

    Args:
        content: The file of evidence.
        files: The data objects; those of one record are a group.
        anchors: Roots of time-stamp authorities that the verifier trusts.
        at: Now.
        policy: Until when algorithms hold.
        certificates: Certificates that the time-stamps do not carry; the anchors are looked at as well.
        whole_group: Whether the record must be about these files and no others.

    Raises:
        OSError: a file cannot be read.
    """
    if content.lstrip(_BLANK).startswith(b"<"):
        check = undecided(SYNTAX, "EVIDENCE_RECORD_FORM_UNSUPPORTED", form="XML Evidence Record (RFC 6283)")
        return [EvidenceRecordVerification(checks=(check,))]
    try:
        found = unwrap(content)
    except EvidenceRecordInvalid as exc:
        problem = failed(SYNTAX, "EVIDENCE_RECORD_MALFORMED", detail=exc.message[:500])
        return [EvidenceRecordVerification(checks=(problem,))]
    return [
        verify_evidence_record(
            record,
            _objects(record, files, found.signature),
            at=at,
            anchors=anchors,
            policy=policy,
            certificates=(*certificates, *anchors),
            whole_group=whole_group,
        )
        for record in found.records
    ]


def _objects(record: bytes, files: Sequence[Path], signature: bytes | None) -> list[DataObject]:
    try:
        names = parse_evidence_record(record).hash_names
    except EvidenceRecordInvalid:
        return []
    objects = [] if signature is None else [read_data_object(CMS_NAME, io.BytesIO(signature), names)]
    several = len({path.name for path in files}) < len(files)
    for path in files:
        with path.open("rb") as source:
            objects.append(read_data_object(str(path) if several else path.name, source, names))
    return objects
