"""Format checks on files no one here wrote: agreement on PDF/A-1b by clause, no crash and no hang on any file.

The corpora are read in place (ARCHIVE_CORPORA, else ../shared/corpora beside the checkout) and never copied.
"""

import os
import re
import sys
import time
import tomllib
from collections import Counter
from datetime import date
from pathlib import Path

import pikepdf
import pytest

from archive_service.formats import identify as identify_module
from archive_service.formats.check import check_file
from archive_service.formats.identify import identify
from archive_service.formats.limits import DEFAULT
from archive_service.formats.pdf import PDF_ERRORS
from archive_service.formats.pdfa import structural_problems
from archive_service.formats.policy import DEFAULT_POLICY, load_policy

HERE = Path(__file__).parent
POLICY = load_policy(DEFAULT_POLICY, on=date(2026, 1, 1))
NAME = re.compile(r"(?P<clause>\d+(?:-\d+)*)-t\d+-(?P<expected>pass|fail)-[a-z]+")
SECONDS_PER_FILE = 10.0


def corpus(name: str, not_run) -> list[Path]:
    root = Path(os.environ.get("ARCHIVE_CORPORA") or HERE.parents[2] / "shared" / "corpora") / name
    found = sorted(root.rglob("*.pdf"))
    if not found:
        not_run("corpora", f"no files under {name} (set ARCHIVE_CORPORA)")
    return found


def say(capsys: pytest.CaptureFixture[str], lines: list[str]) -> None:
    """Prints the agreement whatever pytest captures: it is the result of the run."""
    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines) + "\n")


def verdict(path: Path) -> tuple[str, str]:
    """Returns what our checks say, and their first reason."""
    try:
        with pikepdf.open(path, suppress_warnings=True) as pdf:
            problems = structural_problems(pdf, path, 1, DEFAULT)
    except PDF_ERRORS as exc:
        return "error", str(exc)
    return ("fail", " ".join(problems[0])) if problems else ("pass", "")


def test_agreement_on_pdfa_1b(not_run, capsys):
    table = tomllib.loads((HERE / "pdfa_expectations_1b.toml").read_text(encoding="utf-8"))
    known: dict[str, str] = table["disagreements"]
    agreed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    wrong: dict[str, str] = {}
    for path in corpus("pdfa-1b", not_run):
        match = NAME.search(path.stem)
        assert match, path.name
        clause = match["clause"].replace("-", ".")
        ours, reason = verdict(path)
        total[clause] += 1
        agreed[clause] += ours == match["expected"]
        if ours != match["expected"]:
            wrong[match[0]] = f"expected {match['expected']}, ours {ours} {reason}"
    rate = agreed.total() / total.total()
    lines = [f"PDF/A-1b: {agreed.total()} of {total.total()} files agree ({rate:.1%})"]
    lines += [
        f"  {clause}: {agreed[clause]} of {total[clause]}" for clause in sorted(total) if agreed[clause] < total[clause]
    ]
    lines += [f"  {name}: {what} | {known.get(name, 'NOT EXPLAINED')}" for name, what in sorted(wrong.items())]
    say(capsys, lines)
    assert set(wrong) == set(known)
    assert rate >= table["minimum_agreement"]


@pytest.mark.parametrize("name", ["pyhanko/pdf", "pdfa-1b"])
def test_no_crash_and_no_hang(name, not_run, capsys):
    codes: Counter[str] = Counter()
    slowest = (0.0, "")
    files = corpus(name, not_run)
    for path in files:
        started = time.monotonic()
        report = check_file(path, name=path.name, component=None, policy=POLICY, depth="full")
        slowest = max(slowest, (time.monotonic() - started, path.name))
        codes.update(finding.code for finding in report.findings)
        for finding in report.findings:
            assert "{" not in finding.message("vi").replace("{}", "")
    say(capsys, [f"{name}: {len(files)} files, slowest {slowest[0]:.2f} s ({slowest[1]}), findings {dict(codes)}"])
    assert slowest[0] < SECONDS_PER_FILE


def test_honest_signed_files_are_accepted(not_run):
    """Signed PDFs that pyHanko's tests treat as sound get no error from the format checks."""
    honest = [path for path in corpus("pyhanko/pdf", not_run) if path.name in {"minimal.pdf", "minimal-with-field.pdf"}]
    assert honest
    for path in honest:
        report = check_file(path, name=path.name, component=None, policy=POLICY)
        assert [finding.code for finding in report.findings if finding.severity == "error"] == []


@pytest.mark.parametrize("name", ["pyhanko/pdf", "pdfa-1b"])
def test_pronom_on_parts_of_a_file_agrees_with_the_whole(name, not_run, monkeypatch):
    paths = corpus(name, not_run)[::5]
    parts = [identify(path, name=path.name).puid for path in paths]
    monkeypatch.setattr(identify_module, "_WINDOW_FROM_BYTES", 1 << 40)
    assert parts == [identify(path, name=path.name).puid for path in paths]
