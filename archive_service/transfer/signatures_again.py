"""Judging the signatures in an AIP again, from the package alone: no network, no database (R032).

For each component: the file and the material kept at intake → the same policy, the same moment, the same trust anchors (those recorded in
the package, or a store given by whoever asks) → the verdicts must be those of the stored reports.

    PASSED         every verdict comes out as stored
    FAILED         one does not, although everything it rests on is the same; or the bytes no longer fit a signature
    INDETERMINATE  one does not, and policy, trust store or program are not those of the time, so that a difference may have that cause;
                   or a check was stopped here, by time or memory

A verdict that is better under the given anchors than stored is no fault of the package: what is stored must come out again under the
recorded anchors (none at all, where the package was built without), and the difference is told in words. Whoever builds a package can
record a root of their own, so the answer always names the anchors it rests on.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from archive_service import __version__
from archive_service.errors import ConfigurationInvalid, PackageInvalid
from archive_service.ingest.checkers import may_be_signed, neighbours
from archive_service.ingest.evidence import ANCHORS_FILE_NAME
from archive_service.packaging.aip_reader import AipMetadata, ArchivedFile
from archive_service.packaging.package_view import PackageView
from archive_service.packaging.verify import CheckResult, OpenedAip, Outcome
from archive_service.scratch import Scratch
from archive_service.signatures.acceptance import STOPPED
from archive_service.signatures.certificates import name_text
from archive_service.signatures.policy import SignaturePolicy, load_policy
from archive_service.signatures.pool import SignaturePool, SignatureTask
from archive_service.signatures.reach import Reach, reach_of
from archive_service.signatures.report import Indication, SignatureCheck
from archive_service.signatures.trust import TrustAnchorEntry, TrustStore

CHECK_NAME: Final = "signatures"
MATERIAL_BYTES_MAX: Final = 512 * 1024 * 1024
"""Material of one package: hundreds of dossiers' worth; more is not read into memory."""
REASONS_MAX: Final = 50
_COMPARED: Final = (
    "kind",
    "indication",
    "sub_indication",
    "integrity",
    "level",
    "signer",
    "signing_time",
    "changes_after_signing",
)
"""What must come out as stored."""
_SUFFIXES: Final = ("cer", "crl", "ocsp", "tst")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Again:
    """One component to judge again."""

    file: ArchivedFile
    path: str
    """The name it was sent under."""
    stored: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """What the verdicts are derived from, and what of it may differ from the time of the stored reports."""

    at: datetime
    policy: SignaturePolicy
    trust: TrustStore
    differs: tuple[str, ...]
    other_trust: bool = False
    """The anchors given are not those of the time."""


class _CannotJudge(Exception):
    """The package lacks what judging again needs; the text says what."""


def signatures_again(opened: OpenedAip, *, trust: TrustStore | None, pool: SignaturePool) -> CheckResult:
    """Judges every signature of an opened AIP again and compares with the stored reports; never raises for what the package holds.

    Args:
        opened: The package, its bytes already compared with its METS.
        trust: The trust anchors to go by; None for those the package recorded, whose digests are then all there is to rely on.
        pool: Who validates, within limits.
    """
    if opened.metadata is None:
        return _not_made("the package cannot be read")
    try:
        return _judged(opened.view, opened.metadata, trust, pool)
    except (_CannotJudge, ConfigurationInvalid, PackageInvalid) as exc:
        return _not_made(str(exc))
    except (KeyError, ValueError, TypeError, AttributeError) as exc:
        return _not_made(f"reports or material are malformed: {type(exc).__name__}: {exc}")


def _not_made(reason: str) -> CheckResult:
    return CheckResult(name=CHECK_NAME, outcome=Outcome.INDETERMINATE, reasons=[f"not checked: {reason}"])


def _judged(view: PackageView, metadata: AipMetadata, trust: TrustStore | None, pool: SignaturePool) -> CheckResult:
    material = _material(view, metadata)
    terms = _terms(metadata, material, trust)
    sent = {component.id: component.path for component in metadata.dossier.components}
    parts = [
        _Again(
            file=file,
            path=sent.get(file.component_id, ""),
            stored=metadata.signature_reports.get(file.component_id, ()),
        )
        for file in metadata.files
    ]
    unknown = sorted(metadata.signature_reports.keys() - {part.file.component_id for part in parts})
    problems = [(True, f"{component_id}: reports for a component that is not there") for component_id in unknown]
    checks = _validate(view, parts, terms, material, pool)
    terms = _with_stops(terms, checks)
    settled = [part for part in parts if _is_no_worse(part, _of(checks, part), terms)]
    for part in parts:
        problems += () if part in settled else _differences(part, _of(checks, part), terms)
    if settled:
        own = _terms(metadata, material, None)
        recorded = _validate(view, parts, own, material, pool)
        own = _with_stops(own, recorded)
        for part in settled:
            problems += _differences(part, _of(recorded, part), own)
    better = sum(was != now for part in settled for was, now in _indications(part, _of(checks, part)))
    failed = any(fails for fails, _ in problems)
    outcome = Outcome.FAILED if failed else Outcome.INDETERMINATE if problems else Outcome.PASSED
    return CheckResult(
        name=CHECK_NAME,
        outcome=outcome,
        reasons=[text for _, text in problems[:REASONS_MAX]],
        detail={
            "signatures": sum(len(part.stored) for part in parts),
            "judged_at": terms.at.isoformat(),
            "trust": "given" if trust is not None else "recorded in the package",
            "trust_digest": terms.trust.digest,
            "anchors": [entry.sha256 for entry in terms.trust.anchors],
            "notes": _notes(terms, better, given=trust is not None),
        },
    )


def _with_stops(terms: _Terms, checks: Mapping[str, SignatureCheck]) -> _Terms:
    """Returns terms under which a difference decides nothing, where a check was stopped: what that file carries may be what another lacks."""
    stopped = any(text.startswith(STOPPED) for check in checks.values() for text in check.not_checked)
    return replace(terms, differs=(*terms.differs, "a check was stopped")) if stopped else terms


def _of(checks: Mapping[str, SignatureCheck], part: _Again) -> SignatureCheck:
    return checks.get(part.file.component_id, SignatureCheck())


def _notes(terms: _Terms, better: int, *, given: bool) -> list[dict[str, str]]:
    """Returns in words which anchors the verdicts rest on, anchor by anchor: a forger's own root must be there to be seen."""
    notes = [dict(_GIVEN if given else _RECORDED if terms.trust.anchors else _NO_ANCHORS)]
    shown = terms.trust.anchors[:ANCHORS_SHOWN]
    notes += [
        dict.fromkeys(("vi", "en"), f"SHA-256 {entry.sha256}  {name_text(entry.certificate.subject)} ({entry.scheme})")
        for entry in shown
    ]
    if len(shown) < len(terms.trust.anchors):
        notes.append(dict.fromkeys(("vi", "en"), f"… {len(terms.trust.anchors) - len(shown)}"))
    if better:
        notes.append({language: text.format(count=better) for language, text in _BETTER.items()})
    return notes


ANCHORS_SHOWN: Final = 20
_GIVEN: Final = {
    "vi": "Chữ ký được xét theo các chứng thư gốc do người kiểm tra cung cấp (--trust):",
    "en": "Signatures were judged with the trust anchors the verifier gave (--trust):",
}
_RECORDED: Final = {
    "vi": "Chữ ký được xét theo các chứng thư gốc ghi trong chính gói này; ai lập gói cũng có thể ghi chứng thư gốc của mình. Hãy đối chiếu"
    " các giá trị dưới đây với nguồn tin cậy, hoặc dùng --trust:",
    "en": "Signatures were judged with the trust anchors recorded in the package itself; whoever builds a package can record a root of their"
    " own. Compare these with a source you trust, or use --trust:",
}
_NO_ANCHORS: Final = {
    "vi": "Gói không ghi chứng thư gốc nào: chưa xác nhận được ai đã ký; kết quả chỉ là các nhận định đã lưu được lập lại đúng. Dùng --trust.",
    "en": "The package records no trust anchors: it was not established who signed; the stored verdicts, which say so, came out again. Use"
    " --trust.",
}
_BETTER: Final = {
    "vi": "{count} chữ ký được đánh giá tốt hơn theo chứng thư gốc đã cung cấp so với lúc lập gói; đó không phải lỗi của gói.",
    "en": "{count} signatures are judged better under the given anchors than when the package was made; that is no fault of the package.",
}


# ------------------------------------------------------------ what the verdicts rest on


def _material(view: PackageView, metadata: AipMetadata) -> dict[str, bytes]:
    """Reads the kept material; a piece is named by its digest, so one that was exchanged is noticed."""
    paths = {name: path for name, path in metadata.validation_material.items() if path in view.sizes}
    if sum(view.sizes[path] for path in paths.values()) > MATERIAL_BYTES_MAX:
        raise _CannotJudge(f"the validation material is larger than {MATERIAL_BYTES_MAX} bytes")
    found = {}
    for name, path in paths.items():
        stem, _, suffix = name.rpartition(".")
        if suffix in _SUFFIXES or name == ANCHORS_FILE_NAME:
            content = b"".join(view.read(path))
            if suffix in _SUFFIXES and hashlib.sha256(content).hexdigest() != stem:
                raise _CannotJudge(f"{path} does not have the bytes its name says")
            found[name] = content
    return found


def _terms(metadata: AipMetadata, material: Mapping[str, bytes], trust: TrustStore | None) -> _Terms:
    reports = [report for reports in metadata.signature_reports.values() for report in reports]
    differs: list[str] = []
    if metadata.software_version != __version__:
        differs.append(f"program {metadata.software_version}, now {__version__}")
    used = trust if trust is not None else _recorded_anchors(material)
    if not reports:
        at = datetime.fromisoformat(str(metadata.intake.get("checked_at") or metadata.at.isoformat()))
        return _Terms(at=at, policy=load_policy(), trust=used, differs=tuple(differs))
    first = reports[0]
    names = ("judged_at", "policy_id", "policy_version", "policy_digest", "trust_digest")
    if any(report[name] != first[name] for report in reports for name in names):
        raise _CannotJudge("the stored reports were not made at one time by one policy")
    policy = load_policy(first["policy_id"], first["policy_version"])
    if policy.digest != first["policy_digest"]:
        differs.append(f"policy {policy.id} {policy.version} has other content now")
    if trust is not None and trust.digest != first["trust_digest"]:
        differs.append("the trust store given is not the one of the time")
    at = datetime.fromisoformat(first["judged_at"])
    other_trust = trust is not None and trust.digest != first["trust_digest"]
    return _Terms(at=at, policy=policy, trust=used, differs=tuple(differs), other_trust=other_trust)


def _recorded_anchors(material: Mapping[str, bytes]) -> TrustStore:
    if ANCHORS_FILE_NAME not in material:
        return TrustStore.empty()

    def entry(raw: Mapping[str, Any]) -> TrustAnchorEntry:
        def moment(name: str) -> datetime | None:
            return datetime.fromisoformat(raw[name]) if raw[name] else None

        return TrustAnchorEntry(
            scheme=raw["scheme"],
            der=material[f"{raw['sha256']}.cer"],
            effective_from=moment("effective_from"),
            retired_at=moment("retired_at"),
        )

    return TrustStore(anchors=tuple(entry(raw) for raw in json.loads(material[ANCHORS_FILE_NAME])))


# ------------------------------------------------------------ judging


def _validate(
    view: PackageView, parts: Sequence[_Again], terms: _Terms, material: Mapping[str, bytes], pool: SignaturePool
) -> dict[str, SignatureCheck]:
    """Validates with what the files carry; then, where material came from elsewhere (helper certificates, lists fetched), with that too."""
    with Scratch() as folder:
        tasks = dict(_tasks(view, parts, terms, folder))
        checks = dict(zip(tasks, pool.check(tasks.values()), strict=True))
        carried = {name for check in checks.values() for name in check.material}
        anchors = {f"{entry.sha256}.cer" for entry in terms.trust.anchors}
        extra = {name: content for name, content in material.items() if name not in carried | anchors}
        if not any(extra_name.endswith((".cer", ".crl", ".ocsp")) for extra_name in extra):
            return checks

        def of(suffix: str) -> list[bytes]:
            return [content for name, content in sorted(extra.items()) if name.endswith(f".{suffix}")]

        richer = terms.trust.with_material(intermediates=of("cer"), crls=of("crl"), ocsps=of("ocsp"))
        again = {key: replace(task, trust=richer) for key, task in tasks.items() if checks[key].reports}
        return checks | dict(zip(again, pool.check(again.values()), strict=True))


def _tasks(
    view: PackageView, parts: Sequence[_Again], terms: _Terms, folder: Path
) -> Iterator[tuple[str, SignatureTask]]:
    paths = {part.path: folder / f"{ordinal:07d}" / _safe(part.path) for ordinal, part in enumerate(parts, start=1)}
    near = neighbours(paths)
    reach = {
        part.path: reach_of(part.file.mime, paths[part.path].suffix, partial(view.read, part.file.path))
        for part in parts
        if may_be_signed(part.file.mime)
    }
    beside = {path: near(path) for path, reached in reach.items() if reached is Reach.NEIGHBOURS}
    needed = {path for path, reached in reach.items() if reached is not Reach.NOTHING}.union(*beside.values())
    for part in parts:  # a film of many gigabytes beside signed papers stays where it is
        if part.path in needed:
            _extract(view, part.file.path, paths[part.path])
    for part in parts:
        if reach.get(part.path, Reach.NOTHING) is not Reach.NOTHING:
            yield (
                part.file.component_id,
                SignatureTask(
                    path=paths[part.path],
                    mime=part.file.mime,
                    trust=terms.trust,
                    at=terms.at,
                    policy=terms.policy,
                    siblings=beside.get(part.path, {}),
                ),
            )


def _safe(path: str) -> str:
    """Returns the last part of a name as sent, harmless as a file name."""
    last = path.replace("\\", "/").rpartition("/")[2]
    name = "".join(char if char.isprintable() else "_" for char in last)[:80]
    return name if name.strip(". ") else "_"


def _extract(view: PackageView, source: str, target: Path) -> None:
    target.parent.mkdir()
    with target.open("wb") as out:
        for chunk in view.read(source):
            out.write(chunk)


# ------------------------------------------------------------ comparing


def _differences(part: _Again, check: SignatureCheck, terms: _Terms) -> Iterator[tuple[bool, str]]:
    """Yields what came out otherwise than stored, with whether it makes the check fail; a check that was stopped here proves nothing."""
    name, found = part.file.component_id, [report.as_json() for report in check.reports]
    stops = [text for text in check.not_checked if text.startswith(STOPPED)]
    if stops and [report["reasons"] for report in found] != [stored.get("reasons") for stored in part.stored]:
        yield False, f"{name}: not checked: {'; '.join(stops)}"
        return
    if len(found) != len(part.stored):
        yield (
            not terms.differs,
            f"{name}: {len(part.stored)} reports are stored, {len(found)} signatures were found{_because(terms)}",
        )
        return
    for ordinal, (stored, now) in enumerate(zip(part.stored, found, strict=True), start=1):
        other = [key for key in _COMPARED if stored.get(key) != now[key]]
        if not other:
            continue
        text = "; ".join(f"{key} stored {stored.get(key)}, now {now[key]}" for key in other)
        reasons = " ".join(reason["en"] for reason in now["reasons"])
        broken = now["integrity"] in {"digest_mismatch", "signature_invalid"} and "integrity" in other
        yield broken or not terms.differs, f"{name} signature {ordinal}: {text}. {reasons}{_because(terms)}"


def _is_no_worse(part: _Again, check: SignatureCheck, terms: _Terms) -> bool:
    """Returns whether anchors that are not those of the time changed something, and no verdict for the worse."""
    if not terms.other_trust or len(check.reports) != len(part.stored) or not any(_differences(part, check, terms)):
        return False
    return all(_RANK.get(was, 0) <= _RANK[now] for was, now in _indications(part, check))


def _indications(part: _Again, check: SignatureCheck) -> Iterator[tuple[str, str]]:
    for stored, report in zip(part.stored, check.reports, strict=True):
        yield str(stored.get("indication")), report.indication.value


_RANK: Final = {
    Indication.TOTAL_FAILED.value: 0,
    Indication.INDETERMINATE.value: 1,
    Indication.TOTAL_PASSED.value: 2,
}


def _because(terms: _Terms) -> str:
    return f" ({'; '.join(terms.differs)})" if terms.differs else ""
