"""Judges a folder of third-party signed files against a table of published expectations and prints the agreement.

    python -m tests.conformance.run_corpus FOLDER TABLE [--json]

The table (TOML) has `[defaults]` (time, trust = list of certificate files below the folder, revocation = rule) and `[[expect]]`
entries: `files` (glob), `indication` (list of allowed worst indications, or "none" for no signature), optionally `time`, `trust`,
`revocation`, `mime`, `why`. The first matching entry counts; files that match none are only required not to crash.
"""

import argparse
import dataclasses
import fnmatch
import json
import resource
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from archive_service.signatures import SignatureCheck, SignaturePolicy, TrustStore, load_policy
from archive_service.signatures.policy import RevocationRule
from archive_service.signatures.pool import SignaturePool, SignatureTask
from archive_service.signatures.trust import certificates_in

MIME_BY_SUFFIX = {
    ".pdf": "application/pdf",
    ".xml": "application/xml",
    ".p7s": "application/pkcs7-signature",
    ".p7m": "application/pkcs7-mime",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One file judged."""

    file: str
    expected: tuple[str, ...]
    found: str
    agrees: bool
    why: str
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """The whole run."""

    verdicts: tuple[Verdict, ...]
    seconds: float
    peak_rss_mb: float

    @property
    def judged(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.verdicts if verdict.expected)

    @property
    def disagreements(self) -> tuple[Verdict, ...]:
        return tuple(verdict for verdict in self.judged if not verdict.agrees)

    def as_json(self) -> dict[str, Any]:
        rate = 1 - len(self.disagreements) / len(self.judged) if self.judged else 1.0
        return {
            "files": len(self.verdicts),
            "with_expectation": len(self.judged),
            "agreement": round(rate, 4),
            "seconds": round(self.seconds, 2),
            "peak_rss_mb": round(self.peak_rss_mb, 1),
            "disagreements": [dataclasses.asdict(verdict) for verdict in self.disagreements],
        }


def run(folder: Path, table: Path, *, workers: int = 0) -> Agreement:
    """Judges every file of the folder."""
    raw = tomllib.loads(table.read_text(encoding="utf-8"))
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix.lower() in MIME_BY_SUFFIX]
    entries = [_entry(path, folder, raw) for path in files]
    started = time.perf_counter()
    with SignaturePool(workers) as pool:
        checks = pool.check([_task(path, folder, entry) for path, entry in zip(files, entries, strict=True)])
    seconds = time.perf_counter() - started
    verdicts = tuple(
        _verdict(path.relative_to(folder), entry, check)
        for path, entry, check in zip(files, entries, checks, strict=True)
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN if workers else resource.RUSAGE_SELF).ru_maxrss / 1024
    return Agreement(verdicts=verdicts, seconds=seconds, peak_rss_mb=peak)


def _entry(path: Path, folder: Path, raw: dict[str, Any]) -> dict[str, Any]:
    name = path.relative_to(folder).as_posix()
    defaults = raw.get("defaults", {})
    for entry in raw.get("expect", []):
        if fnmatch.fnmatch(name, entry["files"]):
            return {**defaults, **entry}
    return {**defaults, "indication": []}


def _task(path: Path, folder: Path, entry: dict[str, Any]) -> SignatureTask:
    at = entry["time"]
    assert isinstance(at, datetime)
    ders = [der for name in entry.get("trust", []) for der in certificates_in((folder / name).read_bytes())]
    return SignatureTask(
        path=path,
        mime=entry.get("mime", MIME_BY_SUFFIX[path.suffix.lower()]),
        trust=TrustStore.of(ders),
        at=at,
        policy=policy_with(entry.get("revocation")),
        siblings={other.name: other for other in path.parent.iterdir() if other != path and other.is_file()},
    )


def policy_with(revocation: str | None) -> SignaturePolicy:
    """The default policy, with another revocation rule where the published expectation was made without revocation data."""
    policy = load_policy()
    if revocation is None:
        return policy
    rule = RevocationRule(revocation)
    return dataclasses.replace(policy, signer_revocation=rule, ca_revocation=rule, timestamp_revocation=rule)


def _verdict(name: Path, entry: dict[str, Any], check: SignatureCheck) -> Verdict:
    found = check.indication.value if check.indication else "none"
    expected = tuple(entry["indication"])
    details = [
        f"{report.field_name}: {report.indication} {report.sub_indication or ''} {[r.code for r in report.reasons]}"
        for report in check.reports
    ]
    return Verdict(
        file=name.as_posix(),
        expected=expected,
        found=found,
        agrees=not expected or found in expected,
        why=entry.get("why", ""),
        details=(*details, *check.not_checked),
    )


def as_text(agreement: Agreement) -> Iterator[str]:
    """Yields the printed form."""
    summary = agreement.as_json()
    yield (
        f"{summary['with_expectation']} of {summary['files']} files have an expectation; agreement {summary['agreement']:.1%}; "
        f"{summary['seconds']} s, peak {summary['peak_rss_mb']} MB"
    )
    for verdict in agreement.disagreements:
        yield f"  {verdict.file}: expected {' or '.join(verdict.expected)}, found {verdict.found} ({verdict.why})"
        yield from (f"      {detail}" for detail in verdict.details)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Agreement of signature checks with published expectations")
    parser.add_argument("folder", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    agreement = run(arguments.folder, arguments.table, workers=arguments.workers)
    lines = [json.dumps(agreement.as_json(), ensure_ascii=False)] if arguments.json else list(as_text(agreement))
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if agreement.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
