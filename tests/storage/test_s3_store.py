from uuid import uuid4

import pytest

from archive_service.storage.port import Store
from archive_service.storage.s3 import S3Store
from tests.storage.conftest import PLAIN_BUCKET, MakeSpec
from tests.storage.contract import StoreContract

pytestmark = pytest.mark.s3


class TestComplianceContract(StoreContract):
    @pytest.fixture
    def store(self, make_spec: MakeSpec) -> Store:
        return S3Store(make_spec(prefix=f"{uuid4()}/"))


class TestPlainBucketContract(StoreContract):
    """A bucket without versions or locks, as a last-resort copy may be."""

    @pytest.fixture
    def store(self, make_spec: MakeSpec) -> Store:
        return S3Store(make_spec(bucket=PLAIN_BUCKET, lock_mode=None))
