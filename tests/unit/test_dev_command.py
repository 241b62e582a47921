"""The `archive-service` command that ./dev puts into the environment."""

import runpy
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def dev(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = spec_from_loader("dev_command", SourceFileLoader("dev_command", str(ROOT / "dev")))
    assert spec is not None and spec.loader is not None  # noqa: PT018 - for the type checker
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_worker_processes_may_import_it_without_running_it_again(dev: ModuleType, tmp_path: Path) -> None:
    command = tmp_path / "archive-service"
    dev.write_command(str(command))
    runpy.run_path(str(command), run_name="__mp_main__")  # what multiprocessing does in each worker process of `serve`


def test_it_runs(dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "PYTHON", sys.executable)
    command = tmp_path / "archive-service"
    dev.write_command(str(command))
    done = subprocess.run([str(command), "settings"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert "ARCHIVE_DATA_DIR" in done.stdout
    assert command.read_text(encoding="utf-8").startswith(f"#!{sys.executable}\n")


def test_an_older_one_is_written_anew(dev: ModuleType, tmp_path: Path) -> None:
    command = tmp_path / "archive-service"
    command.write_text("from archive_service.cli import main\nmain()\n", encoding="utf-8")
    dev.write_command(str(command))
    assert '__name__ == "__main__"' in command.read_text(encoding="utf-8")
