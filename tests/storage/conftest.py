"""Fixtures of the storage tests: a real S3 server with buckets, and content of known digest."""

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from mypy_boto3_s3 import S3Client

from archive_service.storage.locations import CredentialsRef, LocationKind, LocationSpec, LockMode
from tests.storage import seaweed

pytest.register_assert_rewrite("tests.storage.contract")

LOCKED_BUCKET = "kho-luu-tru"
PLAIN_BUCKET = "kho-thuong"

MakeSpec = Callable[..., LocationSpec]


@pytest.fixture(scope="session")
def seaweed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[seaweed.SeaweedServer]:
    """One S3 server for this test process, with a bucket under Object Lock and one without versions."""
    try:
        server = seaweed.SeaweedServer(tmp_path_factory.mktemp("seaweed"))
        server.start()
    except seaweed.NoServerError as exc:
        pytest.skip(f"NOT RUN seaweedfs: {exc}")
    client = admin_client(server)
    client.create_bucket(Bucket=LOCKED_BUCKET, ObjectLockEnabledForBucket=True)
    client.create_bucket(Bucket=PLAIN_BUCKET)
    yield server
    server.kill()


def admin_client(server: seaweed.SeaweedServer) -> S3Client:
    """Returns a client of the tests' own, to set up buckets and to look behind the store."""
    return boto3.session.Session().client(
        "s3",
        endpoint_url=server.endpoint_url,
        region_name="vn-1",
        aws_access_key_id=seaweed.ACCESS_KEY,
        aws_secret_access_key=seaweed.SECRET_KEY,
        config=Config(s3={"addressing_style": "path"}),
    )


@pytest.fixture
def make_spec(seaweed_server: seaweed.SeaweedServer, tmp_path: Path) -> MakeSpec:
    """Makes specs of S3 locations at the server; fields can be changed by keyword."""

    def make(**changes: object) -> LocationSpec:
        key, secret = tmp_path / "key", tmp_path / "secret"
        key.write_text(seaweed.ACCESS_KEY + "\n", encoding="utf-8")
        secret.write_text(seaweed.SECRET_KEY + "\n", encoding="utf-8")
        fields: dict[str, object] = {
            "name": "s3-thu",
            "kind": LocationKind.S3,
            "bucket": LOCKED_BUCKET,
            "endpoint_url": seaweed_server.endpoint_url,
            "region": "vn-1",
            "credentials": CredentialsRef(access_key_file=key, secret_key_file=secret),
            "lock_mode": LockMode.COMPLIANCE,
            "connect_timeout_s": 3.0,
            "read_timeout_s": 10.0,
            "max_attempts": 3,
        }
        return LocationSpec(**{**fields, **changes})  # type: ignore[arg-type]  # fields by name, checked at run time

    return make
