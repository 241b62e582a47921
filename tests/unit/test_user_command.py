"""Accounts on the command line: who there is, with which roles, and who may still sign in."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from archive_service.cli import build_app

PASSWORD = "Khóa-kho-lưu-trữ-2026"


def _run(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(build_app(("people",)), [*words, "--data", str(folder)])


def test_accounts_are_listed_with_their_roles_and_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    for name, roles in (("lan", ["archivist", "officer"]), ("an", ["admin"])):
        given = [word for role in roles for word in ("--role", role)]
        agency = ["--agency", "H56.16"] if name == "lan" else []
        done = _run(tmp_path, "user", "create", name, *given, *agency, "--name", f"Bà {name}", "--password", PASSWORD)
        assert done.exit_code == 0, done.output
    assert _run(tmp_path, "user", "disable", "lan").exit_code == 0
    listed = _run(tmp_path, "user", "list")
    assert listed.exit_code == 0
    an, lan = (next(line for line in listed.output.splitlines() if f" {name} " in line) for name in ("an", "lan"))
    assert listed.output.index(an) < listed.output.index(lan)
    assert "admin@*" in an
    assert "mở / enabled" in an
    assert "archivist@H56.16, officer@H56.16" in lan
    assert "khoá / disabled" in lan
    assert PASSWORD not in listed.output
