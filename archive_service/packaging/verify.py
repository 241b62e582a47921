"""Verifying an AIP from its bytes alone: no server, no database, nothing trusted that the package says of itself.

Every check answers PASSED, FAILED or INDETERMINATE with its reasons; a check that could not be made because an earlier
part is damaged says so. Each byte of the file is read once for digests; documents are read a second time to be parsed.
Damaged input never raises.
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Final

from archive_service.digests import Digest, RunningDigest, chunks
from archive_service.errors import PackageInvalid
from archive_service.packaging import layout
from archive_service.packaging.aip_reader import (
    AipMetadata,
    ArchivedFile,
    ReadDossier,
    metadata_of,
    read_dossier,
    read_files,
    read_metadata,
    read_package_mets,
    read_simpledc,
)
from archive_service.packaging.csip import check_package
from archive_service.packaging.ead import EAD_DOC_SCHEMA, EAD_SCHEMA, maintenance_code
from archive_service.packaging.mets_reader import Mets, Node
from archive_service.packaging.package_view import PackageView, zip_view
from archive_service.packaging.profile import EadField, package_profile
from archive_service.packaging.xml_reader import XmlRefused
from archive_service.packaging.xml_text import xml_time
from archive_service.packaging.zip_reader import STORED, ZipIndex, ZipMember, read_index
from archive_service.packaging.zip_writer import central_header, end_records, local_header

__all__ = ["CheckResult", "OpenedAip", "Outcome", "VerificationReport", "read_metadata", "verify_aip", "verify_opened"]

_CHECKS: Final = (
    "zip_structure",
    "zip_content",
    "documents",
    "mets_fixity",
    "completeness",
    "premis_fixity",
    "identity",
    "dossier",
    "ead",
    "retention",
    "provenance",
    "csip",
)
"""The package's own checks, in the order they are reported."""
_PROBLEMS_MAX: Final = 50
"""Reasons kept of one check."""


class Outcome(StrEnum):
    """What a check found; the words of ETSI EN 319 102-1 in short."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    INDETERMINATE = "INDETERMINATE"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check's answer."""

    name: str
    outcome: Outcome
    reasons: Sequence[str] = ()
    """Why it failed, or why it could not be made; empty when passed."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Counts and the like, JSON values."""

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "name": self.name,
            "outcome": self.outcome.value,
            "reasons": list(self.reasons),
            "detail": dict(self.detail),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedAip:
    """A package as the caller's own checks get to see it (signatures again, evidence)."""

    path: Path
    digest: Digest
    """SHA-256 of the whole file."""
    size_bytes: int
    view: PackageView
    metadata: AipMetadata | None
    """None when the package is too damaged to be read."""


ExtraCheck = Callable[[OpenedAip], CheckResult]
Passing = Callable[[bytes], None]


def _nothing(_chunk: bytes) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationReport:
    """All checks of one package."""

    path: str
    digest: Digest | None
    """SHA-256 of the whole file; None when it could not be read."""
    size_bytes: int | None
    objid: str | None
    dossier_code: str | None
    checks: Sequence[CheckResult]

    @property
    def outcome(self) -> Outcome:
        """FAILED if any check failed, else INDETERMINATE if any could not be made, else PASSED."""
        outcomes = {check.outcome for check in self.checks}
        if Outcome.FAILED in outcomes:
            return Outcome.FAILED
        return Outcome.INDETERMINATE if Outcome.INDETERMINATE in outcomes else Outcome.PASSED

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        return {
            "path": self.path,
            "outcome": self.outcome.value,
            "sha256": self.digest.hex if self.digest is not None else None,
            "size_bytes": self.size_bytes,
            "objid": self.objid,
            "dossier_code": self.dossier_code,
            "checks": [check.as_json() for check in self.checks],
        }


def verify_aip(path: Path, *, extra_checks: Sequence[ExtraCheck] = ()) -> VerificationReport:
    """Re-derives everything in an AIP; the caller's `extra_checks` run on the opened package after its own."""
    try:
        with path.open("rb") as archive:
            return _verify(path, archive, extra_checks)
    except OSError as exc:
        unread = CheckResult(
            name="readable", outcome=Outcome.INDETERMINATE, reasons=[f"cannot be read: {exc.strerror}"]
        )
        return VerificationReport(
            path=str(path), digest=None, size_bytes=None, objid=None, dossier_code=None, checks=[unread]
        )


def verify_opened(name: str, archive: BinaryIO, *, passing: Passing = _nothing) -> VerificationReport:
    """Re-derives everything in an AIP that the caller has opened, seekable, wherever it lies; errors of reading it are the caller's.

    `passing` is given every byte of the file, once and in order.
    """
    return _verify(Path(name), archive, (), passing)


def _verify(
    path: Path, archive: BinaryIO, extra_checks: Sequence[ExtraCheck], passing: Passing = _nothing
) -> VerificationReport:
    index = read_index(archive)
    if index.findings or any(member.method != STORED for member in index.members):
        return _unsound(path, archive, index, passing)
    digest, digests, damaged = _read_once(archive, index, passing)
    hexes = {name.partition("/")[2]: value.hex for name, value in digests.items()}
    view = zip_view(archive, index, hexes)
    dossier = _dossier_first(view)
    checks = [_structure(archive, index, view), _result("zip_content", damaged, {"entries": len(index.members)})]
    package = _Package(view, digests)
    checks += [
        _guard("documents", package.documents),
        _guard("mets_fixity", package.mets_fixity),
        _guard("completeness", package.completeness),
        _guard("premis_fixity", package.premis_fixity),
    ]
    metadata, problem = _metadata(view, package, dossier)
    if metadata is None:
        names = _CHECKS[6:11]
        checks += [CheckResult(name=name, outcome=Outcome.INDETERMINATE, reasons=[problem]) for name in names]
    else:
        checks += [
            _guard("identity", lambda: chain(_identity(metadata), _headers(view, metadata, package.mets()))),
            _guard("dossier", lambda: _dossier(metadata, hexes)),
            _guard("ead", lambda: _ead(view, metadata)),
            _guard("retention", lambda: _retention(metadata)),
            _guard("provenance", lambda: _provenance(metadata)),
        ]
    checks.append(_csip(view, metadata, package))
    opened = OpenedAip(path=path, digest=digest, size_bytes=index.size_bytes, view=view, metadata=metadata)
    checks += [check(opened) for check in extra_checks]
    return VerificationReport(
        path=str(path),
        digest=digest,
        size_bytes=index.size_bytes,
        objid=metadata.objid if metadata else view.folder or None,
        dossier_code=metadata.dossier.dossier_code if metadata else None,
        checks=checks,
    )


# ------------------------------------------------------------ reading


def _unsound(path: Path, archive: BinaryIO, index: ZipIndex, passing: Passing) -> VerificationReport:
    """What can be said of a file that is no sound archive of stored entries: nothing in it is unpacked."""
    problems = [f"{item.location}: {item.message('en')}".removeprefix(": ") for item in index.findings]
    problems += [f"{member.name}: is compressed" for member in index.members if member.method != STORED]
    archive.seek(0)
    running = RunningDigest()
    for chunk in chunks(archive):
        running.update(chunk)
        passing(chunk)
    reason = "not checked: not a sound archive of stored entries"
    rest = [CheckResult(name=name, outcome=Outcome.INDETERMINATE, reasons=[reason]) for name in _CHECKS[1:]]
    return VerificationReport(
        path=str(path),
        digest=running.digest(),
        size_bytes=index.size_bytes,
        objid=None,
        dossier_code=None,
        checks=[_result("zip_structure", problems), *rest],
    )


def _read_once(archive: BinaryIO, index: ZipIndex, passing: Passing) -> tuple[Digest, dict[str, Digest], list[str]]:
    """Returns the file's digest, every entry's digest by name, and what is damaged, in one pass over the file."""
    whole = RunningDigest()
    digests: dict[str, Digest] = {}
    damaged: list[str] = []
    archive.seek(0)
    for member in sorted(index.members, key=_offset):
        for chunk in chunks(archive, limit_bytes=member.data_offset - archive.tell()):
            whole.update(chunk)
            passing(chunk)
        running = RunningDigest()
        crc = 0
        for chunk in chunks(archive, limit_bytes=member.size_bytes):
            whole.update(chunk)
            passing(chunk)
            running.update(chunk)
            crc = zlib.crc32(chunk, crc)
        if crc != member.crc:
            damaged.append(f"{member.name}: CRC-32 {crc:08x}, its header says {member.crc:08x}")
        digests[member.name] = running.digest()
    for chunk in chunks(archive):
        whole.update(chunk)
        passing(chunk)
    return whole.digest(), digests, damaged


def _offset(member: ZipMember) -> int:
    return member.header_offset


def _dossier_first(view: PackageView) -> ReadDossier | None:
    """Reads dossier.json, which takes most memory of all, before anything else does; what is wrong with it the reading of metadata tells."""
    try:
        return read_dossier(view)
    except PackageInvalid:
        return None


def _metadata(view: PackageView, package: "_Package", dossier: ReadDossier | None) -> tuple[AipMetadata | None, str]:
    try:
        package.mets()  # what a package without them says of itself is not looked at any further
        return metadata_of(view, read=dossier, files=package.files()), ""
    except PackageInvalid as exc:
        return None, f"not checked: {exc.message}"
    except XmlRefused as exc:
        return None, f"not checked: {exc}"


def _result(name: str, problems: Sequence[str], detail: Mapping[str, Any] | None = None) -> CheckResult:
    outcome = Outcome.FAILED if problems else Outcome.PASSED
    return CheckResult(name=name, outcome=outcome, reasons=list(problems[:_PROBLEMS_MAX]), detail=detail or {})


def _guard(name: str, check: Callable[[], Iterator[str]]) -> CheckResult:
    """Runs a check; damage that stops it is its failure."""
    problems: list[str] = []
    try:
        for problem in check():
            problems.append(problem)
            if len(problems) == _PROBLEMS_MAX:
                break
    except PackageInvalid as exc:
        problems.append(exc.message)
    except XmlRefused as exc:
        problems.append(str(exc))
    return _result(name, problems)


# ------------------------------------------------------------ checks on bytes


def _structure(archive: BinaryIO, index: ZipIndex, view: PackageView) -> CheckResult:
    """Every byte that is not a file's is the one this archive form has: headers, directory and end are derived again."""
    problems: list[str] = []
    if not index.contiguous:
        problems.append("bytes stand between the entries, or before or after them")
    if view.roots != 1:
        problems.append(f"{view.roots} entries at the top instead of one folder")
    times = index.members[0].dos_time if index.members else (0, 0)
    central: list[bytes] = []
    end = 0
    for member in index.members:
        name = member.name.encode()
        expected = local_header(name, member.crc, member.size_bytes, times)
        archive.seek(member.header_offset)
        if archive.read(len(expected)) != expected:
            problems.append(f"{member.name}: its header is not of this archive form")
        central.append(central_header(name, member.crc, member.size_bytes, member.header_offset, times))
        end = member.data_offset + member.size_bytes
    directory = b"".join(central)
    expected = directory + end_records(len(central), end, len(directory))
    archive.seek(end)
    if archive.read(len(expected) + 1) != expected:
        problems.append("the central directory is not of this archive form")
    return _result("zip_structure", problems, {"entries": len(index.members), "size_bytes": index.size_bytes})


class _Package:
    """The package's documents, read once and compared with its bytes."""

    def __init__(self, view: PackageView, digests: Mapping[str, Digest]) -> None:
        self._view = view
        self._digests = digests
        self._read: list[Mets] | None = None
        self._files: list[ArchivedFile] | None = None

    def documents(self) -> Iterator[str]:
        """METS and PREMIS are there and valid with the schemas of this program, not with those the package carries."""
        self.mets()
        self.files()
        yield from ()

    def mets_fixity(self) -> Iterator[str]:
        """Every reference has the size and SHA-256 of the bytes."""
        for document in self.mets():
            for attributes, path in document.references():
                digest = self._digest(path)
                if digest is None:
                    yield f"{path}: is missing or damaged"
                elif attributes.get("CHECKSUMTYPE") != "SHA-256" or attributes.get("CHECKSUM") != digest.hex:
                    yield f"{path}: SHA-256 differs from METS"
                elif attributes.get("SIZE") != str(self._view.sizes[path]):
                    yield f"{path}: size differs from METS"

    def completeness(self) -> Iterator[str]:
        """Every file is referenced, once, by the document it belongs to; METS.xml by nothing."""
        seen: dict[str, int] = {layout.METS: 1}
        for document in self.mets():
            for _, path in document.references():
                seen[path] = seen.get(path, 0) + 1
        for path in self._view.sizes:
            if path not in seen:
                yield f"{path}: is referenced by no METS"
        for path, count in seen.items():
            if count > 1:
                yield f"{path}: is referenced {count} times"

    def premis_fixity(self) -> Iterator[str]:
        """PREMIS states the digest and size of each data file, and of nothing else."""
        stated = set()
        for file in self.files():
            stated.add(file.path)
            digest = self._digest(file.path)
            if digest is None:
                yield f"{file.path}: is missing or damaged"
            elif file.digest != digest or file.size_bytes != self._view.sizes[file.path]:
                yield f"{file.path}: digest or size differs from PREMIS"
        for path in self._view.sizes:
            if path.startswith(f"{layout.REP_DATA}/") and path not in stated:
                yield f"{path}: PREMIS says nothing of it"

    def files(self) -> list[ArchivedFile]:
        """Returns the files PREMIS describes, read once."""
        if self._files is None:
            self._files = list(read_files(self._view))
        return self._files

    def mets(self) -> list[Mets]:
        """Returns both METS documents, read once."""
        if self._read is None:
            self._read = [read_package_mets(self._view, path) for path in (layout.METS, layout.REP_METS)]
        return self._read

    def _digest(self, path: str) -> Digest | None:
        return self._digests.get(f"{self._view.folder}/{path}")


# ------------------------------------------------------------ checks on content


def _identity(metadata: AipMetadata) -> Iterator[str]:
    """OBJID, URN and folder are one identity, derived from archive code, dossier code, version and dossier.json."""
    uuid = layout.derived_uuid(
        metadata.archive_code, metadata.dossier.dossier_code, metadata.version, metadata.dossier_json
    )
    if metadata.objid != metadata.folder:
        yield f"OBJID {metadata.objid} is not the folder {metadata.folder}"
    if metadata.urn != layout.urn(uuid, metadata.fonds_code):
        yield f"URN {metadata.urn} does not follow from the dossier"
    if metadata.objid != layout.objid(uuid, metadata.fonds_code):
        yield f"OBJID {metadata.objid} does not follow from the dossier"


def _headers(view: PackageView, metadata: AipMetadata, documents: Sequence[Mets]) -> Iterator[str]:
    """Both METS say of the package what package.json and dossier.json say, and nothing stands after their end.

    No digest inside the package covers METS.xml of the package itself, so what it says is derived again.
    """
    time = xml_time(metadata.at)
    wanted = {
        "CREATEDATE": time,
        "LASTMODDATE": time,
        "RECORDSTATUS": metadata.dossier.record_status.value,
        "agents": [
            ("archive-service", metadata.software_version),
            (metadata.dossier.archiving_agency, metadata.archive_code),
        ],
        "altRecordID": [metadata.urn, metadata.dossier.dossier_code]
        + ([metadata.previous_objid] if metadata.previous_objid is not None else []),
    }
    for document in documents:
        path = document.folder + layout.METS
        header = document.header or Node(name="metsHdr", attributes={})
        found = {name: header.attributes.get(name) for name in ("CREATEDATE", "LASTMODDATE", "RECORDSTATUS")} | {
            "agents": [tuple(part.text for part in agent.children) for agent in header.all("agent")],
            "altRecordID": [part.text for part in header.all("altRecordID")],
        }
        for name, value in wanted.items():
            if found[name] != value:
                yield f"{path}: {name} is {found[name]!r}, expected {value!r}"
        tail = deque(view.read(path), maxlen=2)
        if not b"".join(tail).endswith(b"</mets>\n"):
            yield f"{path}: something stands after its end"
    if documents and documents[0].attributes.get("LABEL") != metadata.dossier.title:
        yield f"{layout.METS}: LABEL is not the title of the dossier"


def _dossier(metadata: AipMetadata, hexes: Mapping[str, str]) -> Iterator[str]:
    """The data files are exactly the components of dossier.json, byte for byte."""
    by_id = {file.component_id: file for file in metadata.files}
    for component in metadata.dossier.components:
        file = by_id.pop(component.id, None)
        if file is None:
            yield f"component {component.id} has no file"
        elif hexes.get(file.path) != component.sha256.lower() or file.size_bytes != component.size_bytes:
            yield f"{file.path}: differs from component {component.id} of dossier.json"
        elif file.original_name != component.path:
            yield f"{file.path}: PREMIS names {file.original_name!r}, dossier.json {component.path!r}"
    yield from (f"{file.path}: dossier.json has no component {file.component_id}" for file in by_id.values())


def _ead(view: PackageView, metadata: AipMetadata) -> Iterator[str]:
    """EAD and EAD_doc carry the fields of TT 05/2025 in their form, and the codes of this dossier (R040, R046)."""
    profile = package_profile()
    values = read_simpledc(view, layout.EAD, EAD_SCHEMA)
    yield from _fields(layout.EAD, profile.ead, values)
    code = f"{metadata.archive_code}{profile.separator}{metadata.dossier.dossier_code}"
    if values.get("arcFileCode") != code:
        yield f"{layout.EAD}: arcFileCode is not {code}"
    if values.get("maintenance") != maintenance_code(metadata.retention, profile):
        yield f"{layout.EAD}: maintenance does not follow from the retention assignment"
    if values.get("totalDoc") != str(len(metadata.dossier.components)):
        yield f"{layout.EAD}: totalDoc is not {len(metadata.dossier.components)}"
    if values.get("riskRecovery") == "1" and not values.get("riskRecoveryStatus"):
        yield f"{layout.EAD}: riskRecoveryStatus is empty though riskRecovery is 1"
    for ordinal in range(1, len(metadata.dossier.components) + 1):
        path = f"{layout.REP_DESCRIPTIVE}/EAD_doc_{ordinal:07d}.xml"
        document = read_simpledc(view, path, EAD_DOC_SCHEMA)
        yield from _fields(path, profile.ead_doc, document)
        if document.get("docCode") != f"{code}{profile.separator}{ordinal:0{profile.doc_ordinal_digits}d}":
            yield f"{path}: docCode does not follow from arcFileCode and ordinal"


def _fields(path: str, fields: Sequence[EadField], values: Mapping[str, str]) -> Iterator[str]:
    for item in fields:
        problem = item.problem(values.get(item.name, ""))
        if problem is not None:
            yield f"{path}: {item.name} {problem}"


def _retention(metadata: AipMetadata) -> Iterator[str]:
    """The assignment names rule, rule file with version and digest, and legal basis, or why there is none (R060, R145)."""
    retention = metadata.retention
    kind = str(retention.get("kind", "")).upper()
    if kind not in {"PERMANENT", "YEARS", "UNMATCHED"}:
        yield "there is no retention assignment"
        return
    wanted = ["rule_set_id", "rule_set_version", "rule_set_digest"]
    wanted += ["blocked_reason"] if kind == "UNMATCHED" else ["deciding_rule_id", "basis"]
    wanted += ["years", "due_on"] if kind == "YEARS" else []
    yield from (f"the retention assignment has no {name}" for name in wanted if not retention.get(name))


def _provenance(metadata: AipMetadata) -> Iterator[str]:
    """There is an event of packaging (R045), and every event names a known agent and known components."""
    if all(event.type != "information package creation" for event in metadata.events):
        yield 'there is no event "information package creation"'
    agents = {agent.id for agent in metadata.agents}
    components = {component.id for component in metadata.dossier.components}
    for event in metadata.events:
        if event.agent_id not in agents:
            yield f"event {event.id} names the unknown agent {event.agent_id}"
        unknown = sorted(set(event.linked) - components)
        if unknown:
            yield f"event {event.id} names the unknown component {unknown[0]}"


def _csip(view: PackageView, metadata: AipMetadata | None, package: _Package) -> CheckResult:
    version = metadata.csip_version if metadata is not None else "2.0.4"
    documents = package.mets() if metadata is not None else None
    report = check_package(view, version=version, package_type="AIP", documents=documents)
    reasons = [
        f"{item.id} ({item.level.value}): {problem}" for item in report.failed().values() for problem in item.problems
    ]
    outcome = Outcome.PASSED if report.valid else Outcome.FAILED
    return CheckResult(
        name="csip",
        outcome=outcome,
        reasons=reasons[:_PROBLEMS_MAX],
        detail={"csip_version": version, "checked": len(report.results)},
    )
