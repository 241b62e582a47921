"""Checking files on their own, offline: what the command line's `check` and `package` do with each file.

Life of a file: bytes hashed → format in a limited process → signatures in a limited process → one result. A file that hangs, crashes its
process or cannot be read gives a result with the reason, and the next file's turn comes; results are given in the order of the files.
"""

import os
import stat
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from archive_service import clock
from archive_service.digests import digest_stream
from archive_service.dossier import DOSSIER_FILE_NAME, Component, parse_dossier, parse_json
from archive_service.errors import StoreUnavailable
from archive_service.findings import Finding, rejects
from archive_service.formats import virus
from archive_service.formats.limits import DEFAULT
from archive_service.formats.policy import FormatPolicy
from archive_service.formats.pool import FormatPool
from archive_service.formats.report import FormatReport
from archive_service.ingest.checkers import may_be_signed, scan_limits
from archive_service.ingest.policies import format_policy_on, trust_in_force
from archive_service.ingest.uploads import mismatch_finding
from archive_service.packaging.zip_reader import DEFAULT_LIMITS
from archive_service.settings import Settings
from archive_service.signatures.acceptance import findings_for
from archive_service.signatures.policy import SignaturePolicy
from archive_service.signatures.policy import load_policy as load_signature_policy
from archive_service.signatures.pool import SignaturePool, SignatureTask
from archive_service.signatures.report import SignatureCheck
from archive_service.signatures.trust import TrustStore

SIBLINGS_MAX: Final = 200
"""Most files of a folder offered to an XML signature as what it may refer to by name."""
AHEAD: Final = 4
"""Files in work per process, so that one slow file does not leave the others idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePolicies:
    """What single files are judged by."""

    formats: FormatPolicy
    signatures: SignaturePolicy
    trust: TrustStore


@dataclass(frozen=True, slots=True, kw_only=True)
class FileToCheck:
    """One file and what is known of it beforehand."""

    path: Path
    component: Component | None = None
    """What the dossier.json above it says of the file."""
    problems: tuple[Finding, ...] = ()
    """What is wrong with it already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What was found out about one file; the form of `check --json`."""

    path: Path
    size_bytes: int
    sha256: str | None
    """None when the file could not be read."""
    formats: FormatReport | None
    signatures: SignatureCheck
    findings: tuple[Finding, ...]
    not_checked: tuple[str, ...] = ()
    """What nobody looked at besides formats and signatures."""

    @property
    def accepted(self) -> bool:
        """Whether nothing found rejects the file."""
        return not rejects(self.findings)

    def as_json(self) -> dict[str, Any]:
        """Returns the object of DESIGN section 5 for this file."""
        found = self.formats.identification if self.formats else None
        return {
            "path": printable(self.path),
            "size_bytes": self.size_bytes,
            "sha256": self.sha256,
            "mime": found.mime if found else "application/octet-stream",
            "puid": found.puid if found else None,
            "format": (found.format_name if found else None) or "unknown",
            "signatures": [report.as_json() for report in self.signatures.reports],
            "findings": [finding.as_json() for finding in self.findings],
            "facts": dict(self.formats.facts) if self.formats else {},
            "checked": list(self.formats.checked) if self.formats else [],
            "not_checked": [
                *(self.formats.not_checked if self.formats else ()),
                *self.signatures.not_checked,
                *self.not_checked,
            ],
            "accepted": self.accepted,
        }


def printable(path: Path) -> str:
    """Returns a path as text; bytes of a name that are not UTF-8 are shown as U+FFFD, because no JSON text can hold them."""
    return os.fsencode(path).decode("utf-8", "replace")


def load_file_policies(settings: Settings, *, at: datetime, trust: TrustStore | None = None) -> FilePolicies:
    """Returns the policies for judging files at a time; before the first format policy was in force, today's formats apply.

    Raises:
        ConfigurationInvalid: a policy or the trust store is missing or malformed.
    """
    formats = format_policy_on(settings, clock.civil_date(at))
    signatures = load_signature_policy(settings.signature_policy)
    return FilePolicies(
        formats=formats, signatures=signatures, trust=trust_in_force(settings) if trust is None else trust
    )


# ------------------------------------------------------------ which files


def files_below(paths: Iterable[Path]) -> Iterator[FileToCheck]:
    """Yields every file named or below a folder named, in order of path; what cannot be listed comes as a problem, not as an error."""
    for path in paths:
        if _is_folder(path):
            yield from _walk(path)
        else:
            yield FileToCheck(path=path)


def _is_folder(path: Path | os.DirEntry[str]) -> bool:
    """Whether this is a folder to go into: one that was named, or that is no link; what cannot be told is looked at as a file."""
    try:
        return path.is_dir() if isinstance(path, Path) else path.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether this is a file, or a link to one; a circle of links is none."""
    try:
        return entry.is_file()
    except OSError:
        return False


Described = Mapping[Path, Component]
"""Files by what the dossier.json above them says."""


def _walk(folder: Path) -> Iterator[FileToCheck]:
    """Goes into folders however deep: their listings are kept in a list, not on Python's stack."""
    open_folders: list[Iterator[FileToCheck | tuple[Path, Described]]] = [_listing(folder, {})]
    while open_folders:
        found = next(open_folders[-1], None)
        if found is None:
            open_folders.pop()
        elif isinstance(found, FileToCheck):
            yield found
        else:
            open_folders.append(_listing(*found))


def _listing(folder: Path, described: Described) -> Iterator[FileToCheck | tuple[Path, Described]]:
    """Yields the files of a folder and, with what is known of what is below, its folders."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as exc:
        yield FileToCheck(path=folder, problems=(_unreadable(folder, exc.strerror or str(exc)),))
        return
    problems: tuple[Finding, ...] = ()
    if any(entry.name == DOSSIER_FILE_NAME for entry in entries):
        described, problems = _described(folder)
    for entry in entries:
        path = folder / entry.name
        if _is_folder(entry):
            yield path, described
        elif entry.name == DOSSIER_FILE_NAME:
            yield FileToCheck(path=path, problems=problems)
        else:
            yield FileToCheck(path=path, component=described.get(path))


def _described(folder: Path) -> tuple[dict[Path, Component], tuple[Finding, ...]]:
    """Reads dossier.json; one that is malformed or too large describes nothing and its problems are its findings."""
    source = folder / DOSSIER_FILE_NAME
    try:
        status = source.stat()
        if not stat.S_ISREG(status.st_mode):
            return {}, ()  # a pipe may never end; the check of the file itself says so
        if status.st_size > DEFAULT_LIMITS.max_dossier_json_bytes:
            sizes = {"size_bytes": status.st_size, "limit_bytes": DEFAULT_LIMITS.max_dossier_json_bytes}
            return {}, (Finding(code="PACKAGE_DOSSIER_JSON_TOO_LARGE", location=printable(source), params=sizes),)
        value, findings = parse_json(source.read_bytes())
    except OSError:
        return {}, ()  # the check of the file itself says so
    dossier = None
    if not findings:
        dossier, findings = parse_dossier(value)
    if dossier is None:
        return {}, tuple(findings)
    return {folder / component.path: component for component in dossier.components}, ()


def _unreadable(path: Path, reason: str) -> Finding:
    return Finding(code="FILE_UNREADABLE", location=printable(path), params={"reason": reason})


# ------------------------------------------------------------ checking


@dataclass(slots=True, kw_only=True)
class FileChecks:
    """Processes that check files; use as a context manager."""

    policies: FilePolicies
    at: datetime
    """The time signatures are judged at."""
    workers: int
    settings: Settings
    depth: str | None = None
    """How much is looked at: `identify`, `standard`, `full`; None leaves it to the format policy, as the service does."""
    _formats: FormatPool = field(init=False)
    _signatures: SignaturePool = field(init=False)
    _folders: dict[Path, list[str]] = field(init=False, default_factory=dict)

    def __enter__(self) -> Self:
        memory_bytes = self.settings.check_memory_limit_mb * 1024 * 1024
        self._formats = FormatPool(workers=self.workers, limits=replace(DEFAULT, memory_bytes=memory_bytes))
        self._signatures = SignaturePool(
            self.workers,
            time_limit_s=self.settings.signature_time_limit_s,
            memory_limit_bytes=memory_bytes,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._formats.close()
        self._signatures.close()

    def run(self, files: Iterable[FileToCheck]) -> Iterator[FileResult]:
        """Yields a result for each file, in order; never raises for what a file is."""
        waiting: deque[Future[FileResult]] = deque()
        with ThreadPoolExecutor(max_workers=self.workers, thread_name_prefix="check") as threads:
            for file in files:
                waiting.append(threads.submit(self._check, file))
                if len(waiting) >= self.workers * AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _check(self, file: FileToCheck) -> FileResult:
        size_bytes = 0
        try:
            status = file.path.stat()
            if not stat.S_ISREG(status.st_mode):
                return _without_content(file, "not a regular file")
            size_bytes = status.st_size
            return self._check_content(file)
        except OSError as exc:
            return _without_content(file, exc.strerror or str(exc), size_bytes)
        except StoreUnavailable as exc:
            return _without_content(file, exc.message, size_bytes)
        except Exception as exc:  # noqa: BLE001 - the border: a fault over one file must reach its line, not end the others'
            return _without_content(file, f"{type(exc).__name__}: {exc}", size_bytes)

    def _check_content(self, file: FileToCheck) -> FileResult:
        path, component = file.path, file.component
        with path.open("rb") as source:
            digest, size_bytes = digest_stream(source)
        formats = self._formats.check(
            path, name=path.name, component=component, policy=self.policies.formats, depth=self.depth
        )
        mime = formats.identification.mime
        signatures = SignatureCheck()
        if may_be_signed(mime):
            task = SignatureTask(
                path=path,
                mime=mime,
                trust=self.policies.trust,
                at=self.at,
                policy=self.policies.signatures,
                siblings=self._siblings(path, mime),
            )
            signatures = self._signatures.submit(task).result()
        location = component.id if component else ""
        scanned = virus.scan(path, self.settings.clamd, scan_limits(self.settings))
        mismatch: tuple[Finding, ...] = ()
        if component is not None and component.sha256.lower() != digest.hex:
            declared = component.sha256.lower()
            reason = f"expected SHA-256:{declared}, got {digest}"
            mismatch = (mismatch_finding(component.id, component.path, declared, reason),)
        return FileResult(
            path=path,
            size_bytes=size_bytes,
            sha256=digest.hex,
            formats=formats,
            signatures=signatures,
            not_checked=() if self.settings.clamd else (f"virus: {scanned.reason}",),
            findings=(
                *file.problems,
                *mismatch,
                *(virus.findings(scanned, location) if self.settings.clamd else ()),
                *formats.findings,
                *findings_for(signatures, component=component, policy=self.policies.signatures),
            ),
        )

    def _siblings(self, path: Path, mime: str) -> Mapping[str, Path]:
        """Files beside this one that a detached signature may speak of: those of like name; for XML any of a small folder."""
        names = self._folders.get(path.parent)
        if names is None:
            with os.scandir(path.parent) as entries:
                names = sorted(entry.name for entry in entries if _is_file(entry))
            self._folders[path.parent] = names
        if mime.endswith("xml") and len(names) <= SIBLINGS_MAX:
            chosen = names
        else:
            stem = path.name.rsplit(".", 1)[0]
            first = bisect_left(names, stem)
            chosen = [name for name in names[first : first + SIBLINGS_MAX] if name.startswith(stem)]
        return {name: path.parent / name for name in chosen if name != path.name}


def _without_content(file: FileToCheck, reason: str, size_bytes: int = 0) -> FileResult:
    known = any(finding.code == "FILE_UNREADABLE" for finding in file.problems)
    found = () if known else (_unreadable(file.path, reason),)
    return FileResult(
        path=file.path,
        size_bytes=size_bytes,
        sha256=None,
        formats=None,
        signatures=SignatureCheck(),
        findings=(*file.problems, *found),
    )
