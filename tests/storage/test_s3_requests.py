"""What boto3 really sends: a server that accepts less than AWS must not hide a missing header (LESSONS 45)."""

import base64
import hashlib
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from archive_service import clock
from archive_service.storage.locations import LockMode
from archive_service.storage.s3 import S3Store
from tests.storage.conftest import MakeSpec
from tests.storage.content import DISPOSITION, LARGE_BYTES, content, fresh_key, put
from tests.storage.fault_proxy import FaultProxy, Request
from tests.storage.seaweed import SeaweedServer

pytestmark = pytest.mark.s3


@pytest.fixture
def proxy(seaweed_server: SeaweedServer) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed_server.port) as running:
        yield running


@pytest.fixture(params=LockMode)
def store(proxy: FaultProxy, make_spec: MakeSpec, request: pytest.FixtureRequest) -> S3Store:
    return S3Store(make_spec(endpoint_url=proxy.endpoint_url, lock_mode=request.param))


def _checksum(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def _query(request: Request) -> dict[str, list[str]]:
    return parse_qs(urlsplit(request.target).query, keep_blank_values=True)


def _assert_checksum(request: Request) -> None:
    assert request.headers["x-amz-checksum-sha256"] == _checksum(request.body)


def test_a_small_put_is_create_only_checksummed_and_locked(proxy: FaultProxy, store: S3Store) -> None:
    key, what = fresh_key(), content()
    put(store, key, what, retain_until=clock.now() + timedelta(hours=1))
    (sent,) = [request for request in proxy.requests if request.method == "PUT"]
    _assert_checksum(sent)
    assert sent.body == what.bytes_
    assert sent.headers["if-none-match"] == "*"
    assert sent.headers["x-amz-meta-sha256"] == what.digest.hex
    assert sent.headers["x-amz-object-lock-mode"] in set(LockMode)
    assert sent.headers["x-amz-object-lock-retain-until-date"].endswith("Z")
    assert "aws-chunked" not in sent.headers.get("content-encoding", "")


def test_a_large_put_has_a_checksum_on_every_part(proxy: FaultProxy, store: S3Store) -> None:
    key, what = fresh_key(), content(LARGE_BYTES)
    put(store, key, what, retain_until=clock.now() + timedelta(hours=1))
    begun, completed = [request for request in proxy.requests if request.method == "POST"]
    parts = [request for request in proxy.requests if request.method == "PUT"]
    assert begun.headers["x-amz-checksum-algorithm"] == "SHA256"
    assert begun.headers["x-amz-object-lock-mode"] in set(LockMode)
    assert begun.headers["x-amz-meta-sha256"] == what.digest.hex
    assert len(parts) == 2
    for number, part in enumerate(parts, start=1):
        assert _query(part)["partNumber"] == [str(number)]
        _assert_checksum(part)
        assert _checksum(part.body).encode() in completed.body
    assert b"".join(part.body for part in parts) == what.bytes_
    assert completed.headers["if-none-match"] == "*"


def test_lock_changes_carry_a_checksum_and_the_version(proxy: FaultProxy, store: S3Store) -> None:
    stored = put(store, key := fresh_key(), content())
    proxy.requests.clear()
    store.retain_until(key, clock.now() + timedelta(hours=1), stored.version_id)
    store.set_legal_hold(key, True, version_id=stored.version_id)
    changes = [request for request in proxy.requests if request.method == "PUT"]
    assert ["retention" in _query(changes[0]), "legal-hold" in _query(changes[1])] == [True, True]
    for change in changes:
        _assert_checksum(change)
        assert _query(change)["versionId"] == [stored.version_id]


def test_a_delete_names_its_version_and_bypasses_nothing(proxy: FaultProxy, store: S3Store) -> None:
    stored = put(store, key := fresh_key(), content())
    proxy.requests.clear()
    store.delete(key, version_id=stored.version_id, disposition=DISPOSITION)
    (sent,) = [request for request in proxy.requests if request.method == "DELETE"]
    assert _query(sent)["versionId"] == [stored.version_id]
    assert urlsplit(sent.target).path.endswith(key)
    assert "x-amz-bypass-governance-retention" not in sent.headers


def test_a_range_is_asked_of_the_server(proxy: FaultProxy, store: S3Store) -> None:
    put(store, key := fresh_key(), what := content())
    with store.open(key, offset=100, length=50) as source:
        assert source.read() == what.bytes_[100:150]
    assert proxy.requests[-1].headers["range"] == "bytes=100-149"


def test_wrong_bytes_never_leave_the_house(proxy: FaultProxy, store: S3Store) -> None:
    what = content()
    with pytest.raises(Exception, match="the source has"):
        store.put(fresh_key(), what.source(), expected=content(seed=2).digest, size_bytes=what.size_bytes)
    assert [request.method for request in proxy.requests if request.body] == []
