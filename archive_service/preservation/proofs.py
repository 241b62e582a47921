"""What a third party gets to check a record without this server: proof of inclusion, checkpoint, Evidence Record (DESIGN D7).

Only finished seals are told of: what they say is durable at every location.
"""

from base64 import b64encode
from typing import Any, Final
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from archive_service.errors import BadRequest, NotFound
from archive_service.evidence.checkpoint import parse_checkpoint
from archive_service.evidence.leaves import prove
from archive_service.evidence.merkle import LogReader
from archive_service.models import Aip, AipEvidence, LogSeal, LogTile
from archive_service.preservation.evidence_batches import record_of_aip

BUNDLE_TYPE: Final = "archive-evidence/1"


def latest_seal(session: Session) -> LogSeal:
    """Returns the newest finished seal.

    Raises:
        NotFound: nothing was sealed yet.
    """
    query = select(LogSeal).where(LogSeal.state == "SEALED").order_by(LogSeal.ordinal.desc()).limit(1)
    seal = session.scalars(query).one_or_none()
    if seal is None:
        raise NotFound("nothing was sealed yet")
    return seal


def seal_of_size(session: Session, size: int) -> LogSeal:
    """Returns the finished seal with a checkpoint of this size.

    Raises:
        NotFound: none.
    """
    query = select(LogSeal).where(LogSeal.state == "SEALED", LogSeal.tree_size == size)
    seal = session.scalars(query).one_or_none()
    if seal is None:
        raise NotFound(f"no checkpoint of size {size}")
    return seal


def log_reader(session: Session, size: int) -> LogReader:
    """Returns a reader of the log as sealed."""
    return LogReader(
        size,
        lambda level, number: (
            session.scalar(select(LogTile.hashes).where(LogTile.level == level, LogTile.number == number)) or b""
        ),
    )


def consistency(session: Session, first: int, second: int) -> dict[str, Any]:
    """Returns the proof that the checkpoint of size `first` is a beginning of the one of size `second` (RFC 9162 2.1.4).

    Raises:
        BadRequest: the sizes are not in order.
        NotFound: no checkpoint of such a size.
    """
    if not 0 < first <= second:
        raise BadRequest(
            "from and to must be checkpoint sizes, in order", problems=[{"location": "from", "reason": "order"}]
        )
    earlier, later = seal_of_size(session, first), seal_of_size(session, second)
    proof = log_reader(session, second).consistency_proof(first, second)
    return {
        "type": "archive-log-consistency/1",
        "from": first,
        "to": second,
        "proof": [b64encode(value).decode() for value in proof],
        "from_checkpoint": earlier.checkpoint,
        "to_checkpoint": later.checkpoint,
    }


def evidence_bundles(session: Session, record_id: UUID) -> list[dict[str, Any]]:
    """Returns the evidence of each AIP version of a record, oldest first; a version not sealed yet says so."""
    query = (
        select(Aip, AipEvidence)
        .outerjoin(AipEvidence, AipEvidence.aip_id == Aip.id)
        .where(Aip.record_id == record_id)
        .order_by(Aip.version)
    )
    return [_bundle(session, aip, evidence) for aip, evidence in session.execute(query)]


def _bundle(session: Session, aip: Aip, evidence: AipEvidence | None) -> dict[str, Any]:
    bundle: dict[str, Any] = {
        "type": BUNDLE_TYPE,
        "record_id": str(aip.record_id),
        "objid": aip.objid,
        "version": aip.version,
        "aip_sha256": aip.sha256,
        "log_proof": None,
        "evidence_record": None,
        "timestamp_problem": None,
    }
    included = session.get(LogSeal, evidence.seal) if evidence is not None else None
    if evidence is None or included is None or included.state != "SEALED":
        return bundle | {"timestamp_problem": "not sealed yet"}
    seal = latest_seal(session)
    proof = prove(
        evidence.leaf,
        evidence.leaf_index,
        log_reader(session, seal.tree_size or 0),
        parse_checkpoint(seal.checkpoint or ""),
    )
    stamped = session.get(LogSeal, evidence.stamped_by) if evidence.stamped_by is not None else None
    if stamped is not None and stamped.state == "SEALED" and evidence.evidence_record is not None:
        bundle["evidence_record"] = b64encode(record_of_aip(session, evidence) or b"").decode()
    else:
        bundle["timestamp_problem"] = included.timestamp_problem or "no time-stamp yet"
    return bundle | {"log_proof": proof.as_json()}
