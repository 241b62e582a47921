"""A server killed, restarted, slow, full, throttling, denying, cut off: each keeps its meaning, and nothing is lost."""

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from archive_service import clock
from archive_service.errors import ArchiveError, ConfigurationInvalid, DigestMismatch, StoreFull, StoreUnavailable
from archive_service.storage.locations import CredentialsRef
from archive_service.storage.port import (
    ReadBack,
    ReadBackOutcome,
    StoreAccessDenied,
    StoredObject,
    StoreRefused,
    StoreThrottled,
    StoreTimedOut,
)
from archive_service.storage.s3 import S3Store
from tests.conftest import NotRun
from tests.storage import seaweed
from tests.storage.conftest import LOCKED_BUCKET, MakeSpec, admin_client
from tests.storage.content import DISPOSITION, LARGE_BYTES, check, content, fresh_key, put
from tests.storage.fault_proxy import Fault, FaultProxy, Request, http_error

pytestmark = pytest.mark.s3
INTACT, COULD_NOT_CHECK = ReadBackOutcome.INTACT, ReadBackOutcome.COULD_NOT_CHECK


@pytest.fixture
def proxy(seaweed_server: seaweed.SeaweedServer) -> Iterator[FaultProxy]:
    with FaultProxy(seaweed_server.port) as running:
        yield running


@pytest.fixture
def store(proxy: FaultProxy, make_spec: MakeSpec) -> S3Store:
    return S3Store(make_spec(endpoint_url=proxy.endpoint_url, read_timeout_s=2.0))


def _first(count: int, method: str, fault: Fault) -> Callable[[Request], Fault]:
    """Chooses the fault for the first `count` requests of a method."""
    numbers = itertools.count()
    return lambda request: fault if request.method == method and next(numbers) < count else Fault()


def _always(method: str, fault: Fault) -> Callable[[Request], Fault]:
    return lambda request: fault if request.method == method else Fault()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (http_error(503, "SlowDown"), StoreThrottled),
        (http_error(503, "ServiceUnavailable"), StoreUnavailable),
        (http_error(500, "InternalError"), StoreUnavailable),
        (http_error(403, "AccessDenied"), StoreAccessDenied),
        (http_error(403, "SignatureDoesNotMatch"), StoreAccessDenied),
        (http_error(507, "InsufficientStorage"), StoreFull),
        (http_error(507, "SomethingElse"), StoreFull),
        (http_error(400, "RequestTimeout"), StoreTimedOut),
        (http_error(400, "BadDigest"), StoreUnavailable),
        (http_error(409, "ConditionalRequestConflict"), StoreUnavailable),
        (http_error(404, "NoSuchBucket"), ConfigurationInvalid),
        (http_error(405, "MethodNotAllowed"), StoreRefused),
    ],
)
def test_each_refusal_keeps_its_meaning(
    proxy: FaultProxy, store: S3Store, answer: bytes, error: type[ArchiveError]
) -> None:
    key = fresh_key()
    proxy.choose = _always("PUT", Fault(answer=answer))
    with pytest.raises(error) as caught:
        put(store, key, content())
    assert type(caught.value) is error
    proxy.choose = lambda _request: Fault()
    assert store.versions(key) == ()
    put(store, key, content())


def test_throttling_that_passes_is_not_noticed(proxy: FaultProxy, store: S3Store) -> None:
    proxy.choose = _first(2, "PUT", Fault(answer=http_error(503, "SlowDown")))
    put(store, key := fresh_key(), content())
    assert check(store, key, content()).outcome is INTACT


@pytest.mark.parametrize("size_bytes", [70_000, LARGE_BYTES])
def test_a_connection_cut_while_sending(proxy: FaultProxy, store: S3Store, size_bytes: int) -> None:
    key, what = fresh_key(), content(size_bytes)
    proxy.choose = _always("PUT", Fault(refuse_after_bytes=50_000))
    with pytest.raises(StoreUnavailable):
        put(store, key, what)
    proxy.choose = lambda _request: Fault()
    assert store.versions(key) == ()
    put(store, key, what)
    assert check(store, key, what).outcome is INTACT


@pytest.mark.parametrize(("size_bytes", "method"), [(70_000, "PUT"), (LARGE_BYTES, "PUT"), (LARGE_BYTES, "POST")])
@pytest.mark.parametrize("count", [1, 99])
def test_an_answer_lost_after_the_server_did_it(
    proxy: FaultProxy, store: S3Store, size_bytes: int, method: str, count: int
) -> None:
    key, what = fresh_key(), content(size_bytes)
    proxy.choose = _first(count, method, Fault(lose_answer=True))
    try:
        put(store, key, what)
    except StoreUnavailable:  # it cannot know; the caller does it again
        proxy.choose = lambda _request: Fault()
        put(store, key, what)
    proxy.choose = lambda _request: Fault()
    assert check(store, key, what).outcome is INTACT
    assert len(store.versions(key)) == 1


def test_a_server_that_does_not_answer_in_time(proxy: FaultProxy, make_spec: MakeSpec) -> None:
    store = S3Store(make_spec(endpoint_url=proxy.endpoint_url, read_timeout_s=0.3, max_attempts=2))
    put(store, key := fresh_key(), content())
    proxy.choose = lambda _request: Fault(delay_s=1.5)
    with pytest.raises(StoreTimedOut):
        store.stat(key)
    found = check(store, key, content())
    assert found.outcome is COULD_NOT_CHECK
    assert found.reason.startswith("STORE_TIMED_OUT")


def test_a_slow_server_is_waited_for(proxy: FaultProxy, store: S3Store) -> None:
    put(store, key := fresh_key(), what := content(200_000))
    proxy.choose = lambda _request: Fault(delay_s=0.5, trickle_bytes=4_000)
    assert check(store, key, what).outcome is INTACT


@pytest.mark.parametrize("cut_at", [100, 1_000, 100_000, 1_000_000])
def test_a_read_goes_on_where_the_connection_broke(proxy: FaultProxy, store: S3Store, cut_at: int) -> None:
    put(store, key := fresh_key(), what := content(2_500_000))
    proxy.choose = _first(2, "GET", Fault(cut_answer_after_bytes=cut_at))
    with store.open(key, offset=1_000, length=2_400_000) as source:
        assert source.read() == what.bytes_[1_000:2_401_000]
    proxy.choose = _first(2, "GET", Fault(cut_answer_after_bytes=cut_at))
    assert check(store, key, what).outcome is INTACT


def test_a_read_goes_on_in_the_version_it_began_with(
    proxy: FaultProxy, store: S3Store, seaweed_server: seaweed.SeaweedServer
) -> None:
    put(store, key := fresh_key(), what := content(2_500_000))
    numbers = itertools.count()

    def choose(request: Request) -> Fault:
        number = next(numbers) if request.method == "GET" else -1
        if number == 1:  # somebody adds a version behind our back before the rest is fetched
            admin_client(seaweed_server).put_object(
                Bucket=LOCKED_BUCKET, Key=key, Body=content(2_500_000, seed=2).bytes_
            )
        return Fault(cut_answer_after_bytes=1_000_000) if number == 0 else Fault()

    proxy.choose = choose
    assert check(store, key, what).outcome is INTACT
    assert len(store.versions(key)) == 2


def test_a_read_that_always_breaks_could_not_be_checked(proxy: FaultProxy, store: S3Store) -> None:
    put(store, key := fresh_key(), what := content(2_500_000))
    proxy.choose = _always("GET", Fault(cut_answer_after_bytes=400_000))
    found = check(store, key, what)
    assert found.outcome is COULD_NOT_CHECK
    assert 0 < found.size_bytes < what.size_bytes


@pytest.mark.parametrize("place", [0, 1_250_000, 2_499_999])
def test_one_bit_changed_on_the_way_is_damage(proxy: FaultProxy, store: S3Store, place: int) -> None:
    put(store, key := fresh_key(), what := content(2_500_000))
    proxy.choose = _always("GET", Fault(flip_answer_byte=place))
    assert check(store, key, what).outcome is ReadBackOutcome.DAMAGED


def test_a_missing_bucket_is_not_a_missing_copy(make_spec: MakeSpec) -> None:
    store = S3Store(make_spec(bucket="khong-co"))
    for call in (
        lambda: store.stat(fresh_key()),
        lambda: store.open(fresh_key()),
        lambda: put(store, fresh_key(), content()),
    ):
        with pytest.raises(ConfigurationInvalid):
            call()
    assert check(store, fresh_key(), content()).outcome is COULD_NOT_CHECK


@pytest.mark.parametrize(
    ("key", "secret"), [(seaweed.ACCESS_KEY, "wrong"), ("nobody", "wrong"), (seaweed.READER_KEY, seaweed.READER_SECRET)]
)
def test_refused_credentials_are_not_a_missing_copy(make_spec: MakeSpec, tmp_path: Path, key: str, secret: str) -> None:
    (tmp_path / "k").write_text(key, encoding="utf-8")
    (tmp_path / "s").write_text(secret, encoding="utf-8")
    names = CredentialsRef(access_key_file=tmp_path / "k", secret_key_file=tmp_path / "s")
    store = S3Store(make_spec(credentials=names))
    with pytest.raises(StoreAccessDenied):
        put(store, fresh_key(), content())
    if key != seaweed.READER_KEY:
        assert check(store, fresh_key(), content()).outcome is COULD_NOT_CHECK


def test_a_lock_that_the_bucket_does_not_offer_is_a_configuration_error(make_spec: MakeSpec) -> None:
    with pytest.raises(ConfigurationInvalid, match="no Object Lock"):
        _ = S3Store(make_spec(bucket="kho-thuong")).capabilities


def test_unfinished_uploads_are_swept_by_age(
    seaweed_server: seaweed.SeaweedServer, make_spec: MakeSpec, proxy: FaultProxy
) -> None:
    prefix = f"{fresh_key('x')}/"
    store = S3Store(make_spec(prefix=prefix, endpoint_url=proxy.endpoint_url))
    proxy.choose = lambda request: (
        Fault(answer=http_error(500, "InternalError")) if request.method == "DELETE" else Fault()
    )
    with pytest.raises(DigestMismatch):
        store.put(fresh_key(), content(LARGE_BYTES).source(), expected=content().digest, size_bytes=LARGE_BYTES)
    proxy.choose = lambda _request: Fault()
    client = admin_client(seaweed_server)

    def uploads() -> int:
        return len(client.list_multipart_uploads(Bucket=LOCKED_BUCKET, Prefix=prefix).get("Uploads", []))

    started = client.list_multipart_uploads(Bucket=LOCKED_BUCKET, Prefix=prefix)["Uploads"][0]["Initiated"]
    assert store.sweep_unfinished(older_than=started) == 0
    assert uploads() == 1
    assert store.sweep_unfinished(older_than=started.replace(year=started.year + 1)) == 1
    assert uploads() == 0


# ------------------------------------------------------------------ the server itself


@pytest.fixture
def own_server(tmp_path: Path, not_run: NotRun) -> Iterator[seaweed.SeaweedServer]:
    try:
        server = seaweed.SeaweedServer(tmp_path / "weed")
        server.start()
    except seaweed.NoServerError as exc:
        not_run("seaweedfs", str(exc))
    admin_client(server).create_bucket(Bucket=LOCKED_BUCKET, ObjectLockEnabledForBucket=True)
    yield server
    server.kill()


def test_a_server_killed_and_started_again(own_server: seaweed.SeaweedServer, make_spec: MakeSpec) -> None:
    store = S3Store(make_spec(endpoint_url=own_server.endpoint_url, max_attempts=2))
    before: list[StoredObject] = [put(store, fresh_key(), content()) for _ in range(3)]
    own_server.kill()
    with pytest.raises(StoreUnavailable):
        put(store, fresh_key(), content())
    assert check(store, before[0].key, content()).outcome is COULD_NOT_CHECK
    with pytest.raises(StoreUnavailable):
        store.delete(before[0].key, version_id=before[0].version_id, disposition=DISPOSITION)
    own_server.start()
    for stored in before:
        assert _when_volumes_are_found(store, stored).outcome is INTACT
        assert put(store, stored.key, content()) == stored


def _when_volumes_are_found(store: S3Store, stored: StoredObject) -> ReadBack:
    """Asks again while a server that answers already has not found its volumes: until then it could not check, and says so."""
    limit = clock.monotonic_s() + seaweed.START_LIMIT_S
    while True:
        answer = check(store, stored.key, content(), version_id=stored.version_id)
        if answer.outcome is not COULD_NOT_CHECK or clock.monotonic_s() > limit:
            return answer
        clock.sleep(0.1)


def test_a_byte_flipped_on_the_servers_disk_is_reported(own_server: seaweed.SeaweedServer, make_spec: MakeSpec) -> None:
    store = S3Store(make_spec(endpoint_url=own_server.endpoint_url, max_attempts=2, read_timeout_s=3.0))
    put(store, key := fresh_key(), what := content())
    own_server.kill()
    mark = what.bytes_[30_000:30_032]
    flipped = 0
    for volume in own_server.folder.glob("*.dat"):
        raw = bytearray(volume.read_bytes())
        if (place := raw.find(mark)) >= 0:
            raw[place] ^= 1
            volume.write_bytes(raw)
            flipped += 1
    assert flipped == 1
    own_server.start()
    found = check(store, key, what)
    assert found.outcome in {ReadBackOutcome.DAMAGED, COULD_NOT_CHECK}
    assert found.reason


def test_a_full_server(tmp_path: Path, make_spec: MakeSpec, not_run: NotRun) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", disk], check=False).returncode
    ):
        not_run("a full S3 server", "a small tmpfs can be mounted by root only")
    try:
        # More volumes than one: a minute after its start the server keeps a log of its own, which takes one whole volume.
        server = seaweed.SeaweedServer(disk, volume_max=8)
        server.start()
        admin_client(server).create_bucket(Bucket=LOCKED_BUCKET, ObjectLockEnabledForBucket=True)
        store = S3Store(make_spec(endpoint_url=server.endpoint_url, max_attempts=1))
        kept: list[StoredObject] = []

        def fill() -> None:
            for number in range(100):
                kept.append(put(store, fresh_key(), content(3_000_000, seed=number)))  # noqa: PERF401 - kept so far counts

        with pytest.raises(StoreUnavailable):
            fill()
        assert kept
        for number, stored in enumerate(kept):
            assert check(store, stored.key, content(3_000_000, seed=number)).outcome is INTACT
        server.kill()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
