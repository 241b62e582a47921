"""`archive-service check` as others call it: one JSON line per file, the right exit code, and no file that stops it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import pem

from archive_service.packaging.zip_reader import DEFAULT_LIMITS
from archive_service.samples.small import minimal_dossier, tiny_pdf
from tests.unit.formats.clamd_server import eicar
from tests.unit.signatures.pki_fixtures import SIGNED_AT, World, sign_pdf

CORPORA = Path(os.environ.get("ARCHIVE_CORPORA") or Path(__file__).resolve().parents[3] / "shared" / "corpora")
KEYS = {"path", "size_bytes", "sha256", "mime", "puid", "format", "signatures", "findings", "accepted"}
SIGNATURE_KEYS = {"kind", "indication", "sub_indication", "level", "signer", "signing_time", "covers_whole_file"}
FINDING_KEYS = {"code", "severity", "location", "message"}
INDICATIONS = {"TOTAL-PASSED", "INDETERMINATE", "TOTAL-FAILED"}


def run(*arguments: str | Path, timeout: float = 300) -> tuple[int, list[dict[str, Any]], str]:
    """Runs the command in a process of its own, without database or network."""
    done = subprocess.run(
        [sys.executable, "-m", "archive_service", "check", "--json", *map(str, arguments)],
        capture_output=True,
        timeout=timeout,
        check=False,
        env={**os.environ, "LC_ALL": "C", "ARCHIVE_DATA_DIR": "nowhere"},
    )
    lines = [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]
    return done.returncode, lines, done.stderr.decode()


def _has_the_agreed_form(line: dict[str, Any]) -> None:
    assert line.keys() >= KEYS
    for signature in line["signatures"]:
        assert signature.keys() >= SIGNATURE_KEYS
        assert signature["indication"] in INDICATIONS
        assert isinstance(signature["covers_whole_file"], bool)
    for finding in line["findings"]:
        assert finding.keys() >= FINDING_KEYS
        assert finding["severity"] in {"error", "warning", "info"}
        assert isinstance(finding["message"], str)
    rejected = any(finding["severity"] == "error" for finding in line["findings"])
    assert line["accepted"] is not rejected


def _codes(line: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in line["findings"]]


def test_a_good_file_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "đơn đề nghị.pdf"
    path.write_bytes(tiny_pdf("xin chào"))
    code, lines, _ = run(path)
    assert code == 0
    assert [(line["path"], line["accepted"], line["mime"]) for line in lines] == [(str(path), True, "application/pdf")]
    _has_the_agreed_form(lines[0])


def test_every_file_gets_its_line_whatever_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "tệp"
    (folder / "con").mkdir(parents=True)
    (folder / "a.pdf").write_bytes(tiny_pdf("a"))
    (folder / "b.pdf").write_bytes(b"%PDF-1.7\ncut off")
    (folder / "c.pdf").write_bytes(b"")
    (folder / "dossier.json").write_bytes(b'{"dossier_code":')
    os.mkfifo(folder / "d.pdf")
    (folder / "e.pdf").symlink_to(folder / "nowhere")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s"))
    (Path(os.fsdecode(os.fsencode(folder) + b"/f\xff.txt"))).write_bytes(b"chu")
    (folder / "con" / "g.exe").write_bytes(b"MZ" + bytes(200))
    (folder / "vòng").symlink_to(folder)
    code, lines, errors = run(folder, tmp_path / "missing.pdf", folder / "a.pdf")
    assert code == 1
    assert "Traceback" not in errors
    for line in lines:
        _has_the_agreed_form(line)
    found = {Path(line["path"]).name: line for line in lines}
    assert found.keys() == {
        *("a.pdf", "b.pdf", "c.pdf", "d.pdf", "e.pdf", "dossier.json", "s", "f�.txt", "g.exe", "vòng", "missing.pdf")
    }
    assert len(lines) == 12
    for name in ("d.pdf", "e.pdf", "s", "vòng", "missing.pdf"):
        assert _codes(found[name]) == ["FILE_UNREADABLE"], name
    assert found["a.pdf"]["accepted"]
    assert found["f�.txt"]["accepted"]
    for name in ("b.pdf", "c.pdf", "g.exe"):
        assert not found[name]["accepted"], name
    assert "DOSSIER_JSON_MALFORMED" in _codes(found["dossier.json"])


def test_names_and_folders_that_stop_nothing(tmp_path: Path) -> None:
    """A circle of links beside honest files, names no JSON is made for, folders deeper than Python's stack, descriptions that never end."""
    folder = tmp_path / "tệp"
    folder.mkdir()
    names = ["mau\x1b[31m.txt", 'ngoac".txt', "gach\\.txt", "xuong\ndong.txt", "-json.txt"]
    for name in names:
        (folder / name).write_bytes(b"chu")
    (folder / "a.pdf").write_bytes(tiny_pdf("a"))
    (folder / "mot").symlink_to("hai")
    (folder / "hai").symlink_to("mot")
    kinds: list[Callable[[Path], None]] = [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir, _endless]
    for number, make in enumerate(kinds):
        described = folder / f"ho-so-{number}"
        described.mkdir()
        make(described / "dossier.json")
        (described / "a.txt").write_bytes(b"chu")
    with _deep_folder(folder / "sau", 1_200) as deepest:
        (deepest / "day.txt").write_bytes(b"chu")
        code, lines, errors = run(folder, tmp_path / ("x" * 300))
    assert (code, errors.count("Traceback")) == (1, 0)
    found = {Path(line["path"]).relative_to(tmp_path).as_posix(): line for line in lines}
    for name in (*names, "a.pdf", *(f"ho-so-{number}/a.txt" for number in range(4))):
        assert found[f"tệp/{name}"]["accepted"], name
    assert [line["accepted"] for path, line in found.items() if path.endswith("/day.txt")] == [True]
    unreadable = ["tệp/mot", "tệp/hai", "tệp/ho-so-0/dossier.json", "tệp/ho-so-1/dossier.json", "x" * 300]
    assert [_codes(found[name]) for name in unreadable] == [["FILE_UNREADABLE"]] * 5
    assert "PACKAGE_DOSSIER_JSON_TOO_LARGE" in _codes(found["tệp/ho-so-3/dossier.json"])
    assert len(lines) == len(names) + 3 + 4 + 3 + 1 + 1


@contextlib.contextmanager
def _deep_folder(top: Path, depth: int) -> Iterator[Path]:
    """Folders in folders, taken away again one by one: no library that removes trees goes that deep."""
    folders = [top]
    for _ in range(depth):
        folders.append(folders[-1] / "a")
    for folder in folders:
        folder.mkdir()
    try:
        yield folders[-1]
    finally:
        for folder in reversed(folders):
            for left in folder.iterdir():
                left.unlink()
            folder.rmdir()


def _endless(path: Path) -> None:
    """A description larger than any may be, in no space on the disk."""
    with path.open("wb") as out:
        out.truncate(DEFAULT_LIMITS.max_dossier_json_bytes + 1)


def test_a_dossier_folder_is_judged_by_what_it_says_of_its_files(tmp_path: Path) -> None:
    folder = minimal_dossier(tmp_path / "dossiers").folder
    before = {Path(line["path"]).name: line for line in run(folder)[1]}
    changed = next(path for path in sorted(folder.rglob("*.pdf")))
    changed.write_bytes(changed.read_bytes() + b"\n")
    after = {Path(line["path"]).name: line for line in run(folder)[1]}
    assert "COMPONENT_DIGEST_MISMATCH" not in [code for line in before.values() for code in _codes(line)]
    assert "COMPONENT_DIGEST_MISMATCH" in _codes(after[changed.name])
    assert not after[changed.name]["accepted"]


def test_trust_folder_with_flat_certificate_files(tmp_path: Path) -> None:
    world = World()
    signed = tmp_path / "ký.pdf"
    signed.write_bytes(sign_pdf(world, level="LT"))
    trust = tmp_path / "trust"
    trust.mkdir()
    at = SIGNED_AT.isoformat()
    assert [s["sub_indication"] for s in run(signed, "--at", at)[1][0]["signatures"]] == ["NO_CERTIFICATE_CHAIN_FOUND"]
    (trust / "root.der").write_bytes(world.root.der)
    (trust / "broken.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    code, lines, errors = run(signed, "--at", at, "--trust", trust)
    assert (code, [s["indication"] for s in lines[0]["signatures"]]) == (0, ["TOTAL-PASSED"])
    assert "broken.pem" in errors
    (tmp_path / "root.pem").write_bytes(pem.armor("CERTIFICATE", world.root.der))
    code, lines, _ = run(signed, "--at", at, "--trust", tmp_path / "root.pem")
    assert (code, [s["indication"] for s in lines[0]["signatures"]]) == (0, ["TOTAL-PASSED"])


@pytest.mark.parametrize("at", ["2015-01-01", "2020-12-01T00:00:00Z", "2022-06-01T07:00:00+07:00"])
def test_a_time_in_the_past_is_no_reason_to_fail(tmp_path: Path, at: str) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(tiny_pdf("a"))
    assert run(path, "--at", at)[0] == 0


def test_a_known_virus_without_scanner_is_said_not_to_be_scanned(tmp_path: Path) -> None:
    path = tmp_path / "thử.txt"
    path.write_bytes(eicar())
    _, lines, _ = run(path)
    assert "virus: no clamd is configured" in lines[0]["not_checked"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("corpus", "trust", "at"),
    [("pyhanko/pdf", "pyhanko/trust", "2020-12-01T00:00:00Z"), ("pdfa-1b", "pyhanko/trust", "2022-12-01T00:00:00Z")],
)
def test_whole_corpora(corpus: str, trust: str, at: str, not_run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = CORPORA / corpus
    if not folder.is_dir():
        not_run("corpus", f"no folder {corpus} beside the checkout")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    _, lines, errors = run(folder, "--trust", CORPORA / trust, "--at", at, timeout=1800)
    assert "Traceback" not in errors
    assert sorted(line["path"] for line in lines) == [str(path) for path in files]
    for line in lines:
        _has_the_agreed_form(line)
    stopped = [line["path"] for line in lines if {"FORMAT_CHECK_TIMEOUT", "FORMAT_CHECK_CRASHED"} & set(_codes(line))]
    verdicts = Counter(signature["indication"] for line in lines for signature in line["signatures"])
    accepted = sum(line["accepted"] for line in lines)
    with capsys.disabled():
        print(f"\n{corpus}: {len(lines)} files, {accepted} accepted, {dict(verdicts)}, stopped: {len(stopped)}")  # noqa: T201 - the numbers are what this test is for
    assert not stopped
    attacks = [line for line in lines if "sneaky" in line["path"] or "coverage-anomalies" in line["path"]]
    assert not [line["path"] for line in attacks if any(s["indication"] == "TOTAL-PASSED" for s in line["signatures"])]
