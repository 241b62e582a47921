"""Policies are read once and again when a file changes; each check pins what it went by."""

import os
import shutil
from datetime import date
from pathlib import Path

import pytest

from archive_service import resources
from archive_service.errors import ConfigurationInvalid
from archive_service.ingest.policies import load_policies
from archive_service.settings import Settings

ON = date(2026, 11, 20)


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the retention rules that a test may change."""
    copied = tmp_path / "rules"
    shutil.copytree(resources.retention_rules_dir(), copied)
    monkeypatch.setenv("ARCHIVE_RETENTION_RULES_DIR", str(copied))
    return copied


def test_unchanged_files_are_not_read_again(rules: Path) -> None:
    assert rules.is_dir()
    first, second = (load_policies(Settings(), on=ON) for _ in range(2))
    assert first.retention is second.retention
    assert first.codes is second.codes
    assert first.completeness is second.completeness


def test_a_changed_file_counts_from_the_next_check_on(rules: Path) -> None:
    before = load_policies(Settings(), on=ON)
    newest = rules / "sample" / f"{before.retention.version}.toml"
    newest.write_text(newest.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    changed = load_policies(Settings(), on=ON)
    assert changed.retention.digest != before.retention.digest
    assert changed.pinned()["retention"]["digest"] == str(changed.retention.digest)
    status = newest.stat()
    os.utime(newest, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert load_policies(Settings(), on=ON).retention is not changed.retention


@pytest.mark.parametrize("name", ["missing", "../sample", ""])
def test_a_rule_set_that_is_not_there_is_told(rules: Path, name: str) -> None:
    assert rules.is_dir()
    with pytest.raises(ConfigurationInvalid):
        load_policies(Settings(retention_rule_set=name), on=ON)
