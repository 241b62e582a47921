"""Shared by the signature tests: run a check on bytes, read the worst verdict."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from archive_service.signatures import KnownExistence, SignatureCheck, TrustStore, load_policy, validate_file
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World

POLICY = load_policy()


def trust_of(world: World) -> TrustStore:
    store = TrustStore.of([world.root.der], scheme="national")
    return store.with_material(intermediates=[world.issuing.der], crls=[], ocsps=[])


def check(
    folder: Path,
    content: bytes,
    world: World,
    *,
    at: datetime = SIGNED_AT,
    mime: str = "application/pdf",
    name: str = "file.bin",
    trust: TrustStore | None = None,
    siblings: dict[str, bytes] | None = None,
    known: Iterable[KnownExistence] = (),
) -> SignatureCheck:
    path = folder / name
    path.write_bytes(content)
    others = {}
    for sibling, data in (siblings or {}).items():
        others[sibling] = folder / sibling
        others[sibling].write_bytes(data)
    return validate_file(
        path,
        mime=mime,
        trust=trust if trust is not None else trust_of(world),
        at=at,
        policy=POLICY,
        siblings=others,
        known_poes=known,
    )
