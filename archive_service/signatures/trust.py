"""Trust stores: which certificate authorities are believed, by scheme, from when until when (R031).

On disk a store is a folder of certificate files. In the full form each first-level folder is a scheme (`public_service`,
`national`, `foreign`, `timestamp`, or a name of the operator's own), `intermediates/` holds helper certificates that are not
trusted by themselves, `revocation/` holds CRLs and OCSP responses fetched beforehand, and `store.toml` says from when an anchor is
effective and since when it is retired. A flat folder of PEM, DER or CRT files works too: each file is an anchor.

Nothing is ever deleted from a store: an anchor that is no longer trusted is retired at a date, so that signatures proven older
than that can still be judged.
"""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Self

from asn1crypto import pem, x509

from archive_service.clock import require_aware
from archive_service.digests import canonical_json
from archive_service.errors import ConfigurationInvalid, Conflict, NotFound

STORE_FILE_NAME: Final = "store.toml"
INTERMEDIATES_FOLDER: Final = "intermediates"
REVOCATION_FOLDER: Final = "revocation"
DEFAULT_SCHEME: Final = "default"
"""Scheme of anchors in a flat folder."""

MAX_CERTIFICATE_FILE_BYTES: Final = 8 * 1024 * 1024
"""A trust list of a whole country in PEM is under 2 MB; anything larger is not a certificate file."""
MAX_REVOCATION_FILE_BYTES: Final = 64 * 1024 * 1024
"""The largest CRLs of public authorities are around 40 MB."""

_CERTIFICATE_SUFFIXES: Final = frozenset({".pem", ".crt", ".cer", ".der"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustAnchorEntry:
    """One trusted authority."""

    scheme: str
    der: bytes
    effective_from: datetime | None = None
    retired_at: datetime | None = None
    """Not trusted for anything proven later than this."""
    reason: str = ""
    file: str = ""
    """Path in the store folder, for people."""

    @property
    def sha256(self) -> str:
        """Fingerprint of the certificate, hex."""
        return hashlib.sha256(self.der).hexdigest()

    @property
    def certificate(self) -> x509.Certificate:
        """The parsed certificate."""
        return parse_certificate(self.der)

    def effective_at(self, at: datetime) -> bool:
        """Returns whether the anchor is trusted for a signature judged at `at`."""
        started = self.effective_from is None or self.effective_from <= at
        return started and (self.retired_at is None or at < self.retired_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustStore:
    """An immutable reading of a trust store folder."""

    anchors: tuple[TrustAnchorEntry, ...] = ()
    intermediates: tuple[bytes, ...] = ()
    """DER of helper certificates: used to build paths, never trusted by themselves."""
    crls: tuple[bytes, ...] = ()
    ocsps: tuple[bytes, ...] = ()
    unreadable: tuple[str, ...] = ()
    """Files that look like certificates and could not be read, with the reason."""
    digest: str = field(default="", compare=False)
    """SHA-256 over the anchors, their dates and schemes: pins which store a verdict rests on (R145)."""

    def __post_init__(self) -> None:
        entries = sorted(
            [entry.scheme, entry.sha256, *(str(date or "") for date in (entry.effective_from, entry.retired_at))]
            for entry in self.anchors
        )
        object.__setattr__(self, "digest", hashlib.sha256(canonical_json(entries)).hexdigest())

    @classmethod
    def empty(cls) -> Self:
        """Returns a store that trusts nobody: every path ends INDETERMINATE."""
        return cls()

    @classmethod
    def of(cls, certificates: Iterable[bytes], *, scheme: str = DEFAULT_SCHEME) -> Self:
        """Returns a store that trusts the given DER certificates."""
        return cls(anchors=tuple(TrustAnchorEntry(scheme=scheme, der=der) for der in certificates))

    @classmethod
    def load(cls, folder: Path) -> "TrustStore":
        """Returns the store in `folder`; a folder read before and unchanged since is not read again.

        Raises:
            ConfigurationInvalid: no such folder, or `store.toml` is malformed.
        """
        if not folder.is_dir():
            raise ConfigurationInvalid(f"no trust store folder {folder}")
        return _load(folder.resolve(), _fingerprint(folder))

    def anchors_at(self, at: datetime) -> tuple[TrustAnchorEntry, ...]:
        """Returns the anchors trusted at `at`."""
        return tuple(entry for entry in self.anchors if entry.effective_at(at))

    def scheme_of(self, der: bytes) -> str | None:
        """Returns the scheme under which a certificate is an anchor."""
        return next((entry.scheme for entry in self.anchors if entry.der == der), None)

    def with_material(
        self, *, intermediates: Iterable[bytes], crls: Iterable[bytes], ocsps: Iterable[bytes]
    ) -> "TrustStore":
        """Returns a store that also knows helper certificates and revocation information; its digest stays."""
        return replace(
            self,
            intermediates=(*self.intermediates, *intermediates),
            crls=(*self.crls, *crls),
            ocsps=(*self.ocsps, *ocsps),
        )


@lru_cache(maxsize=4096)
def parse_certificate(der: bytes) -> x509.Certificate:
    """Returns the parsed certificate; parsing is cached because the same issuers come with every file.

    Raises:
        ValueError: not a certificate.
    """
    certificate = x509.Certificate.load(der, strict=True)
    # asn1crypto parses lazily: touch the parts that path building reads, so that a malformed one fails here
    _ = (
        certificate.subject.hashable,
        certificate.issuer.hashable,
        certificate.serial_number,
        certificate.not_valid_after,
    )
    return certificate


def certificates_in(content: bytes) -> list[bytes]:
    """Returns the DER of every certificate in a PEM bundle or DER file.

    Raises:
        ValueError: none found, or one is malformed.
    """
    found = [content]
    if pem.detect(content):
        found = [der for kind, _, der in pem.unarmor(content, multiple=True) if kind == "CERTIFICATE"]
    if not found:
        raise ValueError("no certificate in the file")
    for der in found:
        parse_certificate(der)
    return found


def _fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple((str(path.relative_to(folder)), path.stat().st_mtime_ns, path.stat().st_size) for path in files)


@lru_cache(maxsize=64)
def _load(folder: Path, _fingerprint: tuple[tuple[str, int, int], ...]) -> TrustStore:
    dates = _read_dates(folder / STORE_FILE_NAME)
    anchors: dict[tuple[str, bytes], TrustAnchorEntry] = {}
    intermediates: list[bytes] = []
    unreadable: list[str] = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if (
            not path.is_file()
            or path.suffix.lower() not in _CERTIFICATE_SUFFIXES
            or relative.parts[0] == REVOCATION_FOLDER
        ):
            continue
        try:
            found = certificates_in(_read(path, MAX_CERTIFICATE_FILE_BYTES))
        except (OSError, ValueError) as exc:
            unreadable.append(f"{relative}: {exc}")
            continue
        scheme = relative.parts[0] if len(relative.parts) > 1 else DEFAULT_SCHEME
        if scheme == INTERMEDIATES_FOLDER:
            intermediates += found
            continue
        for der in found:
            entry = TrustAnchorEntry(scheme=scheme, der=der, file=str(relative))
            anchors[scheme, der] = replace(entry, **dates.get(entry.sha256, {}))
    crls, ocsps = _revocation_files(folder / REVOCATION_FOLDER, unreadable)
    return TrustStore(
        anchors=tuple(anchors.values()),
        intermediates=tuple(intermediates),
        crls=tuple(crls),
        ocsps=tuple(ocsps),
        unreadable=tuple(unreadable),
    )


def _revocation_files(folder: Path, unreadable: list[str]) -> tuple[list[bytes], list[bytes]]:
    found: dict[str, list[bytes]] = {".crl": [], ".ocsp": []}
    for path in sorted(folder.glob("*")) if folder.is_dir() else ():
        if path.suffix.lower() in found:
            try:
                content = _read(path, MAX_REVOCATION_FILE_BYTES)
                found[path.suffix.lower()].append(pem.unarmor(content)[2] if pem.detect(content) else content)
            except (OSError, ValueError) as exc:
                unreadable.append(f"{folder.name}/{path.name}: {exc}")
    return found[".crl"], found[".ocsp"]


def _read(path: Path, limit_bytes: int) -> bytes:
    if path.stat().st_size > limit_bytes:
        raise ValueError(f"larger than {limit_bytes} bytes")
    return path.read_bytes()


def _read_dates(path: Path) -> Mapping[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        return {
            entry["sha256"].lower(): {
                "effective_from": _aware(entry.get("effective_from")),
                "retired_at": _aware(entry.get("retired_at")),
                "reason": entry.get("reason", ""),
            }
            for entry in raw.get("anchor", [])
        }
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ConfigurationInvalid(f"{path}: {type(exc).__name__}: {exc}") from exc


def _aware(value: datetime | None) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise TypeError(f"{value!r} must be a time with zone")
    return require_aware(value).astimezone(UTC)


def add(
    folder: Path, content: bytes, *, scheme: str, effective_from: datetime | None = None
) -> tuple[TrustAnchorEntry, ...]:
    """Adds the certificates in `content` (PEM or DER) as anchors of `scheme`; returns them.

    Raises:
        ConfigurationInvalid: not a certificate, or a scheme name that is not a plain folder name.
        Conflict: one of them is already an anchor of that scheme.
    """
    if not scheme.replace("_", "").replace("-", "").isalnum() or scheme in {INTERMEDIATES_FOLDER, REVOCATION_FOLDER}:
        raise ConfigurationInvalid(f"{scheme!r} is not a scheme name")
    try:
        found = certificates_in(content)
    except ValueError as exc:
        raise ConfigurationInvalid(f"not a certificate: {exc}") from exc
    (folder / scheme).mkdir(parents=True, exist_ok=True)
    entries = [TrustAnchorEntry(scheme=scheme, der=der, effective_from=_aware(effective_from)) for der in found]
    for entry in entries:
        target = folder / scheme / f"{entry.sha256}.pem"
        if target.exists() or TrustStore.load(folder).scheme_of(entry.der) == scheme:
            raise Conflict(f"certificate {entry.sha256} is already an anchor of {scheme}")
        target.write_bytes(pem.armor("CERTIFICATE", entry.der))
        if effective_from:
            _append_dates(folder, entry)
    return tuple(entries)


def retire(folder: Path, sha256: str, *, at: datetime, reason: str) -> TrustAnchorEntry:
    """Marks an anchor as no longer trusted from `at` on; the certificate itself stays for what was proven before.

    Raises:
        NotFound: no such anchor.
        Conflict: it is retired already.
    """
    entry = next((e for e in TrustStore.load(folder).anchors if e.sha256 == sha256.lower()), None)
    if entry is None:
        raise NotFound(f"no trust anchor {sha256}")
    if entry.retired_at:
        raise Conflict(f"trust anchor {sha256} was retired at {entry.retired_at.isoformat()}")
    retired = replace(entry, retired_at=_aware(at), reason=reason)
    _append_dates(folder, retired)
    return retired


def _append_dates(folder: Path, entry: TrustAnchorEntry) -> None:
    """Rewrites store.toml with the dates of one anchor; later entries of the same anchor win."""
    path = folder / STORE_FILE_NAME
    lines = [path.read_text(encoding="utf-8").rstrip() + "\n"] if path.is_file() else []
    lines += ["[[anchor]]", f'sha256 = "{entry.sha256}"', f'scheme = "{entry.scheme}"']
    lines += [
        f"{name} = {value.isoformat()}"
        for name, value in (("effective_from", entry.effective_from), ("retired_at", entry.retired_at))
        if value
    ]
    if entry.reason:
        lines.append(f"reason = {_toml_string(entry.reason)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml_string(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else " " for char in escaped) + '"'
