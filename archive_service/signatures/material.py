"""Validation material as files, and judging again from it without a network (R032).

The AIP keeps what a verdict rested on: certificates, CRLs, OCSP responses and time-stamp tokens, each named by its SHA-256. Years
later the same file is judged with that material; its age is what the archive can prove (the receipt, an evidence record).
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from archive_service.digests import digest_bytes
from archive_service.errors import DigestMismatch
from archive_service.signatures.policy import SignaturePolicy
from archive_service.signatures.report import SignatureCheck
from archive_service.signatures.trust import TrustStore
from archive_service.signatures.validate import KnownExistence, validate_file

SUFFIXES: Final = frozenset({"cer", "crl", "ocsp", "tst"})


def write_material(folder: Path, material: Mapping[str, bytes]) -> None:
    """Writes material into a folder; a file that is there already has the same name and so the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in material.items():
        (folder / name).write_bytes(content)


def read_material(folder: Path) -> dict[str, bytes]:
    """Reads material written before.

    Raises:
        DigestMismatch: a file's bytes are not those its name says.
    """
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        stem, _, suffix = path.name.rpartition(".")
        if suffix not in SUFFIXES:
            continue
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != stem:
            raise DigestMismatch(f"{path.name} does not have the bytes its name says")
        found[path.name] = content
    return found


def proven_material(material: Mapping[str, bytes], at: datetime, source: str) -> tuple[KnownExistence, ...]:
    """Returns proofs that every piece of material existed at `at`, for material covered by an archive's own evidence."""
    return tuple(KnownExistence(digest=digest_bytes(content), at=at, source=source) for content in material.values())


def revalidate(
    path: Path,
    *,
    mime: str,
    trust: TrustStore,
    at: datetime,
    policy: SignaturePolicy,
    material: Mapping[str, bytes],
    siblings: Mapping[str, Path] | None = None,
    known_poes: Iterable[KnownExistence] = (),
) -> SignatureCheck:
    """Judges a file again with the material kept at intake, offline; arguments as `validate_file`.

    Raises:
        OSError: the file cannot be read.
    """

    def of(suffix: str) -> list[bytes]:
        return [content for name, content in sorted(material.items()) if name.endswith(f".{suffix}")]

    with_material = trust.with_material(intermediates=of("cer"), crls=of("crl"), ocsps=of("ocsp"))
    return validate_file(
        path, mime=mime, trust=with_material, at=at, policy=policy, siblings=siblings, known_poes=known_poes
    )
