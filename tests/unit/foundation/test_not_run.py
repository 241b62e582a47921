"""What could not run is said loudly, and a CI run fails for it; tried with a real test run in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
_TEST = """
def test_scan(not_run):
    not_run("clamd", "no clamd program found")

def test_other():
    assert True
"""


@pytest.mark.parametrize(
    ("environ", "workers", "exit_code"),
    [({}, "0", 0), ({"CI": "true"}, "2", 1), ({"CI": "true", "ARCHIVE_ALLOW_NOT_RUN": "s3, clamd"}, "0", 0)],
)
def test_not_run_is_reported_and_fails_ci(
    tmp_path: Path, environ: dict[str, str], workers: str, exit_code: int
) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_something.py").write_text(_TEST)
    clean = {name: value for name, value in os.environ.items() if name not in {"CI", "ARCHIVE_ALLOW_NOT_RUN"}}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        workers,
        "-o",
        "addopts=",
        "-c",
        os.devnull,
        "--rootdir",
        ".",
    ]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env=clean | environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == exit_code, run.stdout + run.stderr
    assert "NOT RUN clamd: 1 tests: no clamd program found" in run.stdout
    assert ("this run fails: clamd" in run.stdout) == (exit_code == 1)
    assert "1 passed, 1 skipped" in run.stdout


def test_no_server_at_all_is_not_run_and_not_passed(tmp_path: Path) -> None:
    """A machine without PostgreSQL: the SQLite half runs, the other half is reported."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "test_something.py").write_text("def test_it(database):\n    assert database.engine\n")
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-o", "markers=postgres", "-c", os.devnull]
    environ = os.environ | {"PYTHONPATH": str(ROOT), "CI": "true", "ARCHIVE_ALLOW_NOT_RUN": ""}
    environ["ARCHIVE_TEST_POSTGRES_URL"] = "postgresql://nobody@127.0.0.1:9/none"  # the discard port: nothing listens
    run = subprocess.run(
        [*command, "--rootdir", "."], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1, run.stdout + run.stderr
    assert "1 passed" in run.stdout
    assert "NOT RUN postgresql: 1 tests" in run.stdout
