"""Verifying what a third party was handed, offline: an AIP with its evidence file, a dispute package, an Evidence Record with its data.

Nothing the files say of themselves is trusted. Keys and root certificates that come in a dispute package let everything be checked, but a
forger could have put them there: `trust_source` stays INDETERMINATE until the verifier names its own.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from asn1crypto import x509
from pydantic import BaseModel, ConfigDict

from archive_service.digests import RunningDigest, canonical_json
from archive_service.disputes.steps import ANCHORS, MANIFEST, PACKAGE_TYPE
from archive_service.errors import ArchiveError, ConfigurationInvalid, PackageInvalid
from archive_service.evidence.algorithms import load_algorithm_policy
from archive_service.evidence.checkpoint import NoteKey, parse_vkey
from archive_service.evidence.checks import Indication, overall
from archive_service.evidence.ers_asn1 import MAX_RECORD_BYTES
from archive_service.evidence.evidence_record_verify import EvidenceRecordVerification
from archive_service.evidence.foreign import verify_foreign
from archive_service.evidence.token_trust import load_anchors
from archive_service.ingest.files import printable
from archive_service.packaging.aip_reader import read_metadata
from archive_service.packaging.verify import CheckResult, OpenedAip, Outcome, VerificationReport, verify_aip
from archive_service.packaging.zip_reader import ZipIndex, read_index, read_member
from archive_service.preservation.verify_evidence import EvidenceTrust, verify_evidence
from archive_service.resources import profiles_dir
from archive_service.rules import rule_files
from archive_service.scratch import Scratch
from archive_service.signatures.pool import SignaturePool
from archive_service.signatures.trust import TrustStore
from archive_service.transfer.signatures_again import signatures_again

BOTH: Final = "vi / en"
MAX_SMALL_BYTES: Final = 64 * 1024 * 1024
"""Manifests, keys and evidence files are read whole; a larger one is not ours."""
MAX_VERSION: Final = 1_000_000
MAX_KEYS: Final = 100
"""Most keys of one file: a log changes its key every few years."""
_TIMESTAMP_SCHEME: Final = "timestamp"
_KEYS: Final = "keys/log.vkey"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What the verifier brings along."""

    at: datetime
    store: TrustStore | None = None
    """Anchors for document signatures; None = those the package recorded."""
    keys: tuple[NoteKey, ...] = ()
    anchors: tuple[x509.Certificate, ...] = ()
    """Roots of time-stamp authorities."""

    def for_evidence(self) -> EvidenceTrust:
        """Returns what evidence is judged by."""
        return EvidenceTrust(at=self.at, keys=self.keys, anchors=self.anchors, policy=load_algorithm_policy())


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was found of one file."""

    path: str
    kind: str
    """`aip`, `dispute-package` or `evidence-record`."""
    checks: Sequence[CheckResult]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Digest, size, identifiers."""

    @property
    def outcome(self) -> Outcome:
        """FAILED if any check failed, else INDETERMINATE if any could not be made, else PASSED."""
        found = {check.outcome for check in self.checks}
        if Outcome.FAILED in found:
            return Outcome.FAILED
        return Outcome.INDETERMINATE if Outcome.INDETERMINATE in found else Outcome.PASSED

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON form, with the names and meanings of the checks in both languages."""
        return {
            "path": printable(Path(self.path)),
            "kind": self.kind,
            "outcome": self.outcome.value,
            **self.facts,
            "checks": [{**check.as_json(), **texts_of(check)} for check in self.checks],
        }


# ------------------------------------------------------------------ names of the checks


class _Text(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    vi: str
    en: str
    failed_vi: str
    failed_en: str
    basis: str


class _Texts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    checks: dict[str, _Text]


@cache
def check_texts() -> Mapping[str, _Text]:
    """Returns the texts of all checks by name.

    Raises:
        ConfigurationInvalid: the file is malformed.
    """
    raw, _ = rule_files.read(rule_files.versioned_path(profiles_dir() / "verification", None), _Texts)
    return raw.checks


def texts_of(check: CheckResult) -> dict[str, str]:
    """Returns title and, where it did not pass, meaning of a check in both languages."""
    text = check_texts().get(check.name.rpartition("/")[2])
    if text is None:
        return {"title_vi": check.name, "title_en": check.name}
    found = {"title_vi": text.vi, "title_en": text.en}
    if check.outcome is Outcome.FAILED:
        found |= {"meaning_vi": text.failed_vi, "meaning_en": text.failed_en}
    return found


# ------------------------------------------------------------------ trust


def trusted(path: Path | None, store: TrustStore | None, *, at: datetime) -> Trusted:
    """Returns what a trust folder or file gives: `*.vkey` are keys of logs, scheme `timestamp` (else every anchor) roots of time-stamps.

    Raises:
        ConfigurationInvalid: a key cannot be read.
    """
    if path is None or store is None:
        return Trusted(at=at)
    keys = tuple(_keys(file) for file in sorted(path.rglob("*.vkey"))) if path.is_dir() else ()
    stamping = [entry for entry in store.anchors if entry.scheme == _TIMESTAMP_SCHEME]
    documents = len(stamping) < len(store.anchors)
    roots = tuple(x509.Certificate.load(entry.der) for entry in stamping or store.anchors)
    flat = tuple(key for group in keys for key in group)
    return Trusted(at=at, store=store if documents else None, keys=flat, anchors=roots)


def _keys(file: Path) -> tuple[NoteKey, ...]:
    try:
        return _parsed_keys(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ArchiveError) as exc:
        raise ConfigurationInvalid(f"{file} is no verifier key: {exc}") from exc


def _parsed_keys(text: str) -> tuple[NoteKey, ...]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > MAX_KEYS:
        raise ConfigurationInvalid(f"{len(lines)} keys; at most {MAX_KEYS} are read")
    return tuple(map(parse_vkey, lines))


# ------------------------------------------------------------------ one file


def verify_file(path: Path, trust: Trusted, pool: SignaturePool, *, evidence: Path | None = None) -> Verified:
    """Verifies an AIP or a dispute package; damaged input never raises.

    Args:
        path: The ZIP.
        trust: What the verifier brings along.
        pool: Who validates signatures.
        evidence: The AIP's evidence file; default `<name>.evidence.json` beside it, where there is one.
    """
    index = _dispute_index(path)
    if index is not None:
        return _dispute(path, index, trust, pool)
    beside = evidence or next((item for item in _beside(path) if item.is_file()), None)
    return _aip(path, trust, pool, beside)


NO_EVIDENCE: Final = "chưa kiểm tra: không có tệp chứng cứ / not checked: no evidence file"


def _beside(path: Path) -> Iterator[Path]:
    yield path.with_name(f"{path.name}.evidence.json")
    yield path.with_name(f"{path.name.removesuffix('.zip')}.evidence.json")


def _aip(path: Path, trust: Trusted, pool: SignaturePool, evidence: Path | None) -> Verified:
    report = _checked(path, trust, pool)
    checks = list(report.checks)
    if evidence is not None:
        checks += verify_evidence(path, evidence, trust.for_evidence(), language=BOTH, digest=report.digest)
    looked_at = NO_EVIDENCE if evidence is None else printable(Path(evidence.name))
    return Verified(path=str(path), kind="aip", checks=checks, facts={**_facts(report), "evidence": looked_at})


def _checked(path: Path, trust: Trusted, pool: SignaturePool) -> VerificationReport:
    def again(opened: OpenedAip) -> CheckResult:
        return signatures_again(opened, trust=trust.store, pool=pool)

    return verify_aip(path, extra_checks=[again])


def _facts(report: VerificationReport) -> dict[str, Any]:
    return {
        "sha256": report.digest.hex if report.digest is not None else None,
        "size_bytes": report.size_bytes,
        "objid": report.objid,
        "dossier_code": report.dossier_code,
    }


# ------------------------------------------------------------------ dispute package


def _dispute_index(path: Path) -> ZipIndex | None:
    """Returns the index of a dispute package; None for anything else."""
    try:
        with path.open("rb") as archive:
            index = read_index(archive)
    except (OSError, PackageInvalid):
        return None
    return index if any(member.name == MANIFEST for member in index.members) else None


def _dispute(path: Path, index: ZipIndex, trust: Trusted, pool: SignaturePool) -> Verified:
    with path.open("rb") as archive, Scratch() as folder:
        read = partial(_small, archive, index)
        digests, damaged = _digests(archive, index)
        checks = [_sums(index, digests, damaged, read("SHA256SUMS"))]
        manifest, versions, problem = _manifest(read(MANIFEST))
        if problem:
            broken = CheckResult(name="sums", outcome=Outcome.FAILED, reasons=[f"{MANIFEST}: {problem}"])
            return Verified(path=str(path), kind="dispute-package", checks=[*checks, broken])
        own, source = _with_enclosed(trust, read(_KEYS), read(ANCHORS))
        for item in versions:
            checks += _version(archive, index, item, digests, own, pool, folder)
        checks.append(source)
    facts = {"dossier_code": manifest.get("dossier_code"), "record_id": manifest.get("record_id")}
    return Verified(path=str(path), kind="dispute-package", checks=checks, facts=facts)


def _manifest(content: bytes | None) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """Returns the manifest, its versions, and what is wrong with it."""
    try:
        manifest = json.loads(content or b"")
        canonical_json(
            manifest
        )  # refuses what Python reads and JSON does not know, such as NaN or halves of characters
        versions = [
            {"version": int(item["version"]), "aip": str(item["aip"]), "evidence": str(item["evidence"])}
            for item in manifest["versions"]
        ]
        distinct = (
            len({item["version"] for item in versions}) == len({item["aip"] for item in versions}) == len(versions)
        )
        numbered = all(0 < int(item["version"]) <= MAX_VERSION for item in manifest["versions"])
        sound = manifest["type"] == PACKAGE_TYPE and versions and distinct and numbered
        problem = "" if sound else f"not of form {PACKAGE_TYPE}"
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        return {}, [], f"{type(exc).__name__}: {exc}"
    return manifest, versions, problem


def _small(archive: Any, index: ZipIndex, name: str) -> bytes | None:  # BinaryIO
    member = next((item for item in index.members if item.name == name), None)
    if member is None or member.size_bytes > MAX_SMALL_BYTES:
        return None
    try:
        return b"".join(read_member(archive, member))
    except PackageInvalid:
        return None


def _digests(archive: Any, index: ZipIndex) -> tuple[dict[str, str], list[str]]:  # BinaryIO
    found, damaged = {}, []
    for member in index.members:
        running = RunningDigest()
        try:
            for chunk in read_member(archive, member):
                running.update(chunk)
        except PackageInvalid as exc:
            damaged.append(f"{member.name}: {exc.message}")
        found[member.name] = running.digest().hex
    return found, damaged


def _sums(index: ZipIndex, digests: Mapping[str, str], damaged: Sequence[str], listing: bytes | None) -> CheckResult:
    stated: dict[str, str] = {}
    for line in (listing or b"").decode("utf-8", "replace").splitlines():
        value, _, name = line.partition("  ")
        stated[name] = value
    problems = [f"{item.location}: {item.message('en')}" for item in index.findings] + list(damaged)
    problems += [] if listing is not None else ["SHA256SUMS is missing"]
    problems += [f"{name}: is not in SHA256SUMS" for name in digests if name not in {*stated, "SHA256SUMS"}]
    problems += [
        f"{name}: SHA-256 {digests.get(name, '–')}" for name, value in stated.items() if digests.get(name) != value
    ]
    return CheckResult(name="sums", outcome=Outcome.FAILED if problems else Outcome.PASSED, reasons=problems[:50])


def _with_enclosed(trust: Trusted, keys: bytes | None, anchors: bytes | None) -> tuple[Trusted, CheckResult]:
    """Returns the trust to check with, and the check of where it comes from."""
    try:
        enclosed = _parsed_keys((keys or b"").decode())
        roots = load_anchors(anchors) if anchors else ()
    except (UnicodeDecodeError, ArchiveError) as exc:
        return trust, CheckResult(name="trust_source", outcome=Outcome.FAILED, reasons=[f"keys or certificates: {exc}"])
    foreign = [key.vkey() for key in enclosed if trust.keys and key not in trust.keys]
    known = {item.dump() for item in trust.anchors}
    foreign += [item.subject.human_friendly for item in roots if known and item.dump() not in known]
    if foreign:
        return trust, CheckResult(
            name="trust_source",
            outcome=Outcome.FAILED,
            reasons=[f"không được tin cậy / not trusted: {item}" for item in foreign],
        )
    taken = [key.vkey() for key in enclosed if not trust.keys]
    taken += [f"{item.subject.human_friendly}, SHA-256 {item.sha256.hex()}" for item in roots if not known]
    own = replace(trust, keys=trust.keys or enclosed, anchors=trust.anchors or roots)
    if not (own.keys or own.anchors):
        nothing = (
            "không có khóa hay chứng thư gốc nào: hãy dùng --trust / no keys or root certificates at all: give --trust"
        )
        return own, CheckResult(name="trust_source", outcome=Outcome.INDETERMINATE, reasons=[nothing])
    if not taken:
        return own, CheckResult(name="trust_source", outcome=Outcome.PASSED)
    said = "lấy từ chính gói này: hãy so với bản công bố, hoặc dùng --trust / from this package itself: compare, or give --trust"
    return own, CheckResult(name="trust_source", outcome=Outcome.INDETERMINATE, reasons=[said, *taken])


def _version(
    archive: Any,  # BinaryIO
    index: ZipIndex,
    item: Mapping[str, Any],
    digests: Mapping[str, str],
    trust: Trusted,
    pool: SignaturePool,
    folder: Path,
) -> Iterator[CheckResult]:
    mark = f"v{item['version']}"
    members = {member.name: member for member in index.members}
    if item["aip"] not in members:
        yield CheckResult(name=f"{mark}/zip_structure", outcome=Outcome.FAILED, reasons=[f"{item['aip']} is missing"])
        return
    aip, bundle = folder / f"{mark}.zip", folder / f"{mark}.evidence.json"
    try:
        with aip.open("wb") as target:
            target.writelines(read_member(archive, members[item["aip"]]))
        bundle.write_bytes(_small(archive, index, str(item["evidence"])) or b"")
    except PackageInvalid as exc:
        yield CheckResult(name=f"{mark}/zip_content", outcome=Outcome.FAILED, reasons=[exc.message])
        return
    report = _checked(aip, trust, pool)
    checks = [*report.checks, *verify_evidence(aip, bundle, trust.for_evidence(), language=BOTH, digest=report.digest)]
    yield from (replace(check, name=f"{mark}/{check.name}") for check in checks)
    yield _originals(aip, mark, digests)
    aip.unlink()


def _originals(aip: Path, mark: str, digests: Mapping[str, str]) -> CheckResult:
    name = f"{mark}/originals"
    try:
        files = read_metadata(aip).files
    except (PackageInvalid, OSError) as exc:
        return CheckResult(name=name, outcome=Outcome.INDETERMINATE, reasons=[f"not checked: {exc}"])
    prefix = f"originals/{mark}/"
    wanted = {number: file.digest.hex for number, file in enumerate(files, start=1)}
    problems = []
    for path in (item for item in digests if item.startswith(prefix)):
        number = path.removeprefix(prefix).partition("-")[0]
        if not number.isdecimal() or wanted.get(int(number)) != digests[path]:
            problems.append(f"{path} is not in the package")
    return CheckResult(name=name, outcome=Outcome.FAILED if problems else Outcome.PASSED, reasons=problems[:50])


# ------------------------------------------------------------------ Evidence Record of any software


def verify_record(record: Path, objects: Sequence[Path], trust: Trusted) -> Verified:
    """Verifies an RFC 4998 Evidence Record of any software against the files it speaks of; damaged input never raises.

    It may come bare, in PEM or base64, as a CMS attribute or inside a CMS signature, which may carry several. The checks come out one by one;
    `integrity` in the facts tells what the bytes alone prove, without trust and policy.

    Raises:
        ConfigurationInvalid: a file cannot be read.
    """
    try:
        with record.open("rb") as source:
            content = source.read(MAX_RECORD_BYTES + 1)
        found = verify_foreign(content, objects, at=trust.at, anchors=trust.anchors, policy=load_algorithm_policy())
    except OSError as exc:
        raise ConfigurationInvalid(f"{exc.filename}: {exc.strerror}") from exc
    times = sorted(at for item in found for at in item.timestamps)
    facts = {
        "integrity": overall(check for item in found for check in item.integrity_checks).value,
        "existed_at": times[0].isoformat() if times else None,
        "timestamps": [at.isoformat() for at in times],
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    checks = [
        replace(check, name=f"record {number}: {check.name}") if len(found) > 1 else check
        for number, item in enumerate(found, 1)
        for check in _record_checks(item)
    ]
    return Verified(path=str(record), kind="evidence-record", checks=checks, facts=facts)


def _record_checks(found: EvidenceRecordVerification) -> list[CheckResult]:
    outcomes = {
        Indication.PASSED: Outcome.PASSED,
        Indication.FAILED: Outcome.FAILED,
        Indication.INDETERMINATE: Outcome.INDETERMINATE,
    }
    return [
        CheckResult(
            name=f"{check.step}{f' [{check.subject}]' if check.subject else ''}",
            outcome=outcomes[check.indication],
            reasons=[f"{check.reason.message('vi')} / {check.reason.message('en')}"]
            if check.reason is not None
            else [],
            detail={"code": check.reason.code} if check.reason is not None else {},
        )
        for check in found.checks
    ]
