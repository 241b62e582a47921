from datetime import timedelta
from uuid import uuid4

import pytest

from archive_service import clock
from archive_service.errors import Retained, StoredObjectMissing
from archive_service.storage.locations import LockMode
from archive_service.storage.port import ReadBackOutcome, Store
from archive_service.storage.s3 import S3Store
from tests.storage.conftest import LOCKED_BUCKET, PLAIN_BUCKET, MakeSpec, admin_client
from tests.storage.content import DISPOSITION, check, content, fresh_key, put
from tests.storage.contract import StoreContract
from tests.storage.seaweed import SeaweedServer

pytestmark = pytest.mark.s3


class TestComplianceContract(StoreContract):
    @pytest.fixture
    def store(self, make_spec: MakeSpec) -> Store:
        return S3Store(make_spec(prefix=f"{uuid4()}/"))


def test_what_a_delete_marker_hides_is_still_found(make_spec: MakeSpec, seaweed_server: SeaweedServer) -> None:
    """Somebody deletes without a version id behind our back: reading finds nothing, proving absence finds all of it."""
    store = S3Store(make_spec())
    hidden = put(store, key := fresh_key(), content())
    admin_client(seaweed_server).delete_object(Bucket=LOCKED_BUCKET, Key=key)
    with pytest.raises(StoredObjectMissing):
        store.stat(key)
    found = store.versions(key)
    assert [(each.version_id == hidden.version_id, each.delete_marker) for each in found] == [
        (True, False),
        (False, True),
    ]
    assert check(store, key, content(), version_id=hidden.version_id).outcome is ReadBackOutcome.INTACT
    for each in found:
        store.delete(key, version_id=each.version_id, disposition=DISPOSITION)
    assert store.versions(key) == ()


def test_governance_locks_are_not_bypassed(make_spec: MakeSpec) -> None:
    store = S3Store(make_spec(lock_mode=LockMode.GOVERNANCE))
    stored = put(store, key := fresh_key(), content(), retain_until=clock.now() + timedelta(hours=1))
    with pytest.raises(Retained):
        store.delete(key, version_id=stored.version_id, disposition=DISPOSITION)
    store.retain_until(key, until := clock.now().replace(microsecond=0) + timedelta(hours=2))
    assert store.lock(key).retain_until == until


def test_extending_never_weakens_a_compliance_lock(make_spec: MakeSpec, seaweed_server: SeaweedServer) -> None:
    until = clock.now().replace(microsecond=0) + timedelta(hours=1)
    put(S3Store(make_spec()), key := fresh_key(), content(), retain_until=until)
    S3Store(make_spec(lock_mode=LockMode.GOVERNANCE)).retain_until(key, until + timedelta(hours=1))
    kept = admin_client(seaweed_server).get_object_retention(Bucket=LOCKED_BUCKET, Key=key)["Retention"]
    assert (kept["Mode"], kept["RetainUntilDate"]) == ("COMPLIANCE", until + timedelta(hours=1))


def test_a_governance_lock_is_extended_where_its_mode_cannot_be_changed(
    make_spec: MakeSpec, seaweed_server: SeaweedServer
) -> None:
    until = clock.now().replace(microsecond=0) + timedelta(hours=1)
    put(S3Store(make_spec(lock_mode=LockMode.GOVERNANCE)), key := fresh_key(), content(), retain_until=until)
    S3Store(make_spec()).retain_until(key, until + timedelta(hours=1))
    kept = admin_client(seaweed_server).get_object_retention(Bucket=LOCKED_BUCKET, Key=key)["Retention"]
    assert kept["RetainUntilDate"] == until + timedelta(hours=1)


def test_an_expired_lock_no_longer_holds(make_spec: MakeSpec) -> None:
    store = S3Store(make_spec())
    until = clock.now() + timedelta(seconds=2)
    stored = put(store, key := fresh_key(), content(), retain_until=until)
    with pytest.raises(Retained):
        store.delete(key, version_id=stored.version_id, disposition=DISPOSITION)
    clock.sleep(max(0.0, (until - clock.now()).total_seconds()) + 1.5)
    store.delete(key, version_id=stored.version_id, disposition=DISPOSITION)
    assert store.versions(key) == ()


class TestPlainBucketContract(StoreContract):
    """A bucket without versions or locks, as a last-resort copy may be."""

    @pytest.fixture
    def store(self, make_spec: MakeSpec) -> Store:
        return S3Store(make_spec(bucket=PLAIN_BUCKET, lock_mode=None))
