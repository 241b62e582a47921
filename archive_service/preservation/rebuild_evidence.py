"""Renewals of evidence back into a database: what a sealed event names, from the object at the location, with the digest the event states."""

import json
from base64 import b64decode
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from archive_service.digests import digest_bytes
from archive_service.evidence.timestamps import parse_token
from archive_service.models import Aip, EvidenceRenewal, RenewedRecord
from archive_service.preservation.evidence_batches import RENEWAL, add_missing_batches, append, batch_of, new_batch
from archive_service.preservation.log_objects import LogObjectInvalid, object_key
from archive_service.preservation.log_storage import read_object
from archive_service.preservation.renewal import retire_empty
from archive_service.storage.port import Store

MAX_OBJECT_BYTES = 1024**3
"""A renewal's object has some 100 MB at most."""


def take_in_renewal(session: Session, store: Store, detail: dict[str, Any], at: datetime) -> None:
    """Adds one renewal with the rows that follow from it; the seals it covers are there already. Safe to repeat.

    Raises:
        StoredObjectMissing: its object is not at the location.
        LogObjectInvalid: the object is not the one that the event names.
    """
    ordinal = int(detail["ordinal"])
    if session.get(EvidenceRenewal, ordinal) is not None:
        return
    add_missing_batches(session)
    header, lines = _object(store, ordinal, detail["sha256"]) if detail["sha256"] else ({"token": ""}, [])
    token = b64decode(header["token"]) or None
    row = EvidenceRenewal(
        ordinal=ordinal,
        kind=detail["kind"],
        state="DONE",
        hash_name=detail["hash_name"],
        batches=detail["batches"],
        token=token,
        authority=detail["authority"],
        urgency="",
        ends_at=datetime.fromisoformat(detail["ends_at"]),
        object_sha256=detail["sha256"] or "",
        prepared_at=datetime.fromisoformat(detail["prepared_at"]),
        done_at=at,
    )
    session.add(row)
    session.flush()
    if row.kind == "timestamp-renewal":
        for line in lines:
            append(batch_of(session, line["batch"]), b64decode(line["archive_timestamp"]), ordinal)
        return
    for line in lines:
        if line["aip"] is None or session.get(Aip, UUID(line["aip"])) is not None:
            session.add(_renewed(ordinal, line))
    if token is not None:
        session.add(new_batch(RENEWAL, ordinal, parse_token(token)))
    session.flush()
    retire_empty(session, row)


def _object(store: Store, ordinal: int, sha256_hex: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    content = read_object(store, "renewals", ordinal, limit_bytes=MAX_OBJECT_BYTES)
    if digest_bytes(content).hex != sha256_hex:
        raise LogObjectInvalid(f"{object_key('renewals', ordinal)} at {store.name} is not what its event says")
    header, *lines = (json.loads(line) for line in content.splitlines())
    return header, lines


def _renewed(ordinal: int, line: dict[str, Any]) -> RenewedRecord:
    return RenewedRecord(
        renewal=ordinal,
        position=line["position"],
        aip_id=None if line["aip"] is None else UUID(line["aip"]),
        seal=line["seal"],
        digest=line["digest"],
        left_out=line["left_out"],
        record=None if line["record"] is None else b64decode(line["record"]),
    )
