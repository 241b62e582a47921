"""Where the answers of the command line go: terminals that cannot show them, closed and full ones, and what exit codes then mean."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from archive_service import __version__
from archive_service.cli.output import print_table

NO_VIETNAMESE = ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "latin-1"})
AS_COMMAND = (sys.executable, "-m", "archive_service")


@pytest.fixture
def accepted_file(tmp_path: Path) -> Path:
    file = tmp_path / "ghi chú.txt"
    file.write_text("Phiếu tiếp nhận hồ sơ và hẹn trả kết quả\n", encoding="utf-8")
    return file


def _shell(line: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "-c", line, "sh", *AS_COMMAND, *arguments], check=False, capture_output=True, text=True
    )


def test_the_version_is_told_without_a_command() -> None:
    done = subprocess.run([*AS_COMMAND, "--version"], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, __version__)


@pytest.mark.parametrize("environment", NO_VIETNAMESE)
def test_an_encoding_without_vietnamese_escapes_it(accepted_file: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        [*AS_COMMAND, "check", accepted_file], check=False, capture_output=True, env={**os.environ, **environment}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u1ea4P NH" in done.stdout


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_closed_output_leaves_the_verdict_its_exit_code(accepted_file: Path, form: tuple[str, ...]) -> None:
    done = _shell('"$@" >&-', "check", str(accepted_file), *form)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_an_output_that_takes_nothing_is_an_error_not_a_verdict(accepted_file: Path, form: tuple[str, ...]) -> None:
    done = _shell('"$@" >/dev/full', "check", str(accepted_file), *form)
    assert done.returncode == 6
    assert done.stderr.startswith("INPUT_OUTPUT_ERROR: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["check", "verify"])
def test_names_in_json_are_those_of_the_files_whatever_the_locale(tmp_path: Path, command: str) -> None:
    path = tmp_path / "đơn à \U0001f4c4.txt"
    path.write_text("xin chào", encoding="utf-8")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    ended = subprocess.run(
        [*AS_COMMAND, command, path, "--json"],
        capture_output=True,
        env=environment,
        check=False,
    )
    [line] = ended.stdout.splitlines()
    assert json.loads(line)["path"] == str(path)


def test_rows_of_tables_are_whole_lines_off_a_terminal_and_show_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    name, title = "01a2230b-f4f0-749a-ab8b-a2e1a8550a70", "[/red] Hồ sơ [1] " + "rất dài " * 100
    print_table(("id", "tiêu đề / title"), [(name, title)])
    [row] = [line for line in capsys.readouterr().out.splitlines() if name in line]
    assert title.strip() in row


def test_a_folder_without_files_is_told(tmp_path: Path) -> None:
    done = subprocess.run([*AS_COMMAND, "check", tmp_path], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    assert "no file to check" in done.stderr
