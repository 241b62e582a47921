"""The time-stamp of a seal and the Evidence Records made with it: one hash tree over checkpoint and AIPs, one request, rows in bulk.

Nothing here holds more than one page of records: a seal may stamp a hundred thousand.
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, BinaryIO, Final
from uuid import UUID

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.orm import Session

from archive_service.digests import Digest, DigestAlgorithm, RunningDigest, canonical_json, digest_bytes
from archive_service.errors import ConfigurationInvalid
from archive_service.evidence.errors import TimestampUnavailable
from archive_service.evidence.evidence_record import HashTree, initial_record
from archive_service.evidence.timestamps import TimestampToken
from archive_service.evidence.token_trust import load_anchors
from archive_service.evidence.tsa_client import ObtainedTimestamp, TimestampAuthority, obtain_timestamp
from archive_service.models import Aip, AipEvidence, LogSeal
from archive_service.preservation.log_objects import EVIDENCE_TYPE, AipPlace, utc_text
from archive_service.preservation.log_storage import LogObject
from archive_service.service import Service
from archive_service.settings import Settings

MAX_STAMPED: Final = 100_000
"""AIPs under one time-stamp; those beyond wait for the next seal."""
_PAGE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedTree:
    """What a seal's time-stamp is to cover."""

    checkpoint: str
    tree_size: int
    root: str
    places: Sequence[tuple[int, AipPlace]]
    """The seal's AIPs with the index of their leaf."""


def stamp(service: Service, row: LogSeal, made: SealedTree, *, at: datetime) -> LogSeal:
    """Asks for the time-stamp and commits what can be made only once (commit 2); what another worker has committed is returned."""
    new = list(made.places[:MAX_STAMPED])
    with service.database.read() as session:
        waiting = select(AipEvidence.aip_id, Aip.sha256).join(Aip, Aip.id == AipEvidence.aip_id)
        earlier = session.execute(
            waiting.where(AipEvidence.stamped_by.is_(None))
            .order_by(AipEvidence.leaf_index)
            .limit(MAX_STAMPED - len(new))
        ).all()
    tree = HashTree(
        DigestAlgorithm.SHA_256,
        [
            (digest_bytes(made.checkpoint.encode()).raw,),
            *((bytes.fromhex(place.sha256),) for _, place in new),
            *((bytes.fromhex(digest),) for _, digest in earlier),
        ],
    )
    obtained, problem = _timestamp(service.settings, tree.root, at=at)
    with service.database.write() as session:
        held = session.get_one(LogSeal, row.ordinal, with_for_update=True)
        if held.checkpoint is not None:
            return held  # another worker was faster: its time-stamp counts
        held.checkpoint, held.tree_size, held.root = made.checkpoint, made.tree_size, made.root
        held.timestamp_problem = problem
        token = None if obtained is None else obtained.token
        if token is not None:
            held.timestamp, held.timestamp_at = initial_record(tree, 0, token), token.gen_time
        session.flush()
        _add(session, row.ordinal, made.places, tree, token)
        if token is not None:
            _add_to_earlier(session, row.ordinal, [aip_id for aip_id, _ in earlier], len(new) + 1, tree, token)
        return held


def _add(
    session: Session,
    ordinal: int,
    places: Sequence[tuple[int, AipPlace]],
    tree: HashTree,
    token: TimestampToken | None,
) -> None:
    """Adds the rows of the seal's own AIPs; place `i` is unit `i + 1` of the tree, as far as the tree goes."""
    for start in range(0, len(places), _PAGE):
        rows: list[dict[str, Any]] = []
        for position, (index, place) in enumerate(places[start : start + _PAGE], start=start + 1):
            stamped = token is not None and position < len(tree.units)
            rows.append(
                {
                    "aip_id": place.aip_id,
                    "leaf_index": index,
                    "leaf": place.leaf,
                    "seal": ordinal,
                    "stamped_by": ordinal if stamped else None,
                    "evidence_record": initial_record(tree, position, token) if stamped and token else None,
                }
            )
        session.execute(insert(AipEvidence), rows)


def _add_to_earlier(
    session: Session, ordinal: int, aip_ids: Sequence[UUID], first: int, tree: HashTree, token: TimestampToken
) -> None:
    """Gives AIPs of earlier seals the Evidence Record they lacked; the first of them is unit `first` of the tree."""
    table = AipEvidence.__table__
    statement = (
        update(AipEvidence)
        .where(table.c.aip_id == bindparam("b_aip_id"))
        .values(stamped_by=ordinal, evidence_record=bindparam("b_record"))
    )
    for start in range(0, len(aip_ids), _PAGE):
        rows = [
            {"b_aip_id": aip_id, "b_record": initial_record(tree, position, token)}
            for position, aip_id in enumerate(aip_ids[start : start + _PAGE], start=first + start)
        ]
        session.connection().execute(statement, rows)


def _timestamp(settings: Settings, digest: Digest, *, at: datetime) -> tuple[ObtainedTimestamp | None, str | None]:
    """Returns a time-stamp over `digest`, or why there is none; a missing one never stops sealing, it is made up for by a later seal."""
    try:
        authorities = configured_authorities(settings)
        if not authorities:
            return None, "no time-stamp authority is configured"
        return obtain_timestamp(digest, authorities, at=at), None
    except TimestampUnavailable as exc:
        return None, exc.message


def configured_authorities(settings: Settings) -> tuple[TimestampAuthority, ...]:
    """Returns the time-stamp authorities in the order they are asked.

    Raises:
        ConfigurationInvalid: the file of anchors cannot be read.
    """
    urls = [url.strip() for url in (settings.tsa_url or "").split(",") if url.strip()]
    try:
        anchors = load_anchors(settings.tsa_anchors.read_bytes()) if settings.tsa_anchors else ()
    except OSError as exc:
        raise ConfigurationInvalid(f"tsa_anchors {settings.tsa_anchors}: {exc.strerror}") from exc
    return tuple(TimestampAuthority(name=url, url=url, anchors=anchors) for url in urls)


def evidence_object(service: Service, row: LogSeal, target: BinaryIO) -> LogObject:
    """Writes a seal's evidence object into `target` and returns it; the same rows give the same bytes."""
    running = RunningDigest()
    for line in _evidence_lines(service, row):
        content = canonical_json(line) + b"\n"
        running.update(content)
        target.write(content)
    return LogObject(kind="evidence", content=target, digest=running.digest(), size_bytes=running.size_bytes)


def _evidence_lines(service: Service, row: LogSeal) -> Iterator[dict[str, Any]]:
    yield {
        "type": EVIDENCE_TYPE,
        "ordinal": row.ordinal,
        "prepared_at": utc_text(row.prepared_at),
        "timestamp_problem": row.timestamp_problem,
        "checkpoint_record": None if row.timestamp is None else b64encode(row.timestamp).decode(),
    }
    query = select(AipEvidence.aip_id, AipEvidence.leaf_index, AipEvidence.evidence_record).where(
        AipEvidence.stamped_by == row.ordinal
    )
    with service.database.read() as session:
        rows = session.execute(query.order_by(AipEvidence.leaf_index), execution_options={"yield_per": _PAGE})
        for aip_id, leaf_index, record in rows:
            yield {"aip": str(aip_id), "leaf_index": leaf_index, "record": b64encode(record or b"").decode()}
