from pathlib import Path

import pytest

from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.port import Store
from tests.storage.contract import StoreContract


class TestFilesystemContract(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return FilesystemStore("kho-1", tmp_path / "kho-1")
