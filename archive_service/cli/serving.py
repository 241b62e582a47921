"""Running the service: everything in one process group, or API, workers and scheduler apart for many hosts."""

import logging
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated

import typer
import uvicorn

from archive_service import clock
from archive_service.application import create_app
from archive_service.cli.common import DataOption, opened_service
from archive_service.errors import ConfigurationInvalid
from archive_service.identity.setup import create_setup_link
from archive_service.ingest.trust_anchors import trust_notices
from archive_service.jobs.pool import WorkerGroup, worker_count
from archive_service.jobs.scheduler import Scheduler
from archive_service.jobs.work import load_registry
from archive_service.service import Service, sole_service
from archive_service.settings import Settings

HostOption = Annotated[str, typer.Option(help="Địa chỉ lắng nghe / address to listen on.")]
PortOption = Annotated[
    int, typer.Option(min=0, max=65535, help="Cổng; 0 = cổng trống bất kỳ / port; 0 = any free one.")
]


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.command()(serve)
    app.command()(api)
    app.command()(worker)
    app.command()(scheduler)


def serve(data: DataOption = None, host: HostOption = "127.0.0.1", port: PortOption = 8000) -> None:
    """Chạy toàn bộ trên một máy / everything in one process group: API, pages, workers, scheduler."""
    with opened_service(data) as service, sole_service(service):
        check_locations(service)
        listening = listen(host, port)  # before the workers: an occupied port is told at once
        at_address = reachable(service, listening)
        with _background(at_address):
            run_http(at_address, listening)


def api(data: DataOption = None, host: HostOption = "127.0.0.1", port: PortOption = 8000) -> None:
    """Chỉ chạy API và trang web / only API and pages."""
    with opened_service(data) as service:
        check_locations(service)
        listening = listen(host, port)
        run_http(reachable(service, listening), listening)


def worker(
    data: DataOption = None, count: Annotated[int | None, typer.Option(help="Số tiến trình / processes.")] = None
) -> None:
    """Chỉ chạy các tiến trình xử lý / only worker processes."""
    with opened_service(data) as service:
        check_locations(service)
        group = WorkerGroup(
            service.settings, load_registry, count=count or worker_count(service.settings), prepare=prepare_worker
        )
        with group:
            _wait_for_signal()


def scheduler(data: DataOption = None) -> None:
    """Chỉ chạy bộ lập lịch / only the scheduler."""
    with opened_service(data) as service:
        clockwork = Scheduler(service.database)
        clockwork.start()
        try:
            _wait_for_signal()
        finally:
            clockwork.stop()


@contextmanager
def _background(service: Service) -> Iterator[None]:
    group = WorkerGroup(service.settings, load_registry, prepare=prepare_worker)
    clockwork = Scheduler(service.database)
    with group:
        clockwork.start()
        try:
            yield
        finally:
            clockwork.stop()


def prepare_worker(settings: Settings) -> None:
    """Sets up logging in a worker process."""
    del settings
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _wait_for_signal() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


def check_locations(service: Service) -> None:
    """Reads the storage locations: a file with mistakes is told at the start, not by every job that fails on it.

    Raises:
        ConfigurationInvalid: it is missing or malformed.
    """
    _ = service.layout


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens.

    Raises:
        ConfigurationInvalid: the port is taken or not allowed.
    """
    try:
        return socket.create_server((host, port), backlog=512, reuse_port=False)
    except OSError as exc:
        raise ConfigurationInvalid(f"cannot listen on {host} port {port}: {exc.strerror or exc}") from exc


def _address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def reachable(service: Service, listening: socket.socket) -> Service:
    """Returns the service with an address for QR codes and links: the configured one, else where it listens, which is said."""
    if service.settings.public_url:
        return service
    address = _address(listening)
    typer.echo(
        f"ARCHIVE_PUBLIC_URL chưa đặt: mã QR trên bản sao trỏ tới {address} / not set: QR codes on copies lead to {address}",
        err=True,
    )
    return Service(settings=service.settings.model_copy(update={"public_url": address}), database=service.database)


def run_http(service: Service, listening: socket.socket) -> None:
    """Serves HTTP until SIGTERM or SIGINT; says the address once it accepts connections."""
    address = _address(listening)
    config = uvicorn.Config(
        create_app(service),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(service.settings.trusted_proxies),
        forwarded_allow_ips=service.settings.trusted_proxies or None,
        timeout_graceful_shutdown=20,
    )
    # The server ends, then raises the signal once more: without a handler that would kill this process before workers,
    # scheduler and database connections were stopped.
    signal.signal(signal.SIGTERM, _leave)
    _Server(config, service, address).run(sockets=[listening])


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


class _Server(uvicorn.Server):
    """Says where it is once it is ready, and how to make the first account where there is none."""

    def __init__(self, config: uvicorn.Config, service: Service, address: str) -> None:
        super().__init__(config)
        self._service = service
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        typer.echo(f"Sẵn sàng / ready: {self._address}")
        for notice in trust_notices(self._service.settings):
            typer.echo(notice, err=True)
        link = first_administrator_link(self._service, self._address)
        if link is not None:
            typer.echo(f"Tạo quản trị viên đầu tiên (dùng một lần) / first administrator, once: {link}")


def first_administrator_link(service: Service, address: str) -> str | None:
    """Returns a one-time link for the first administrator; None when an account exists."""
    with service.database.write() as session:
        secret = create_setup_link(session, at=clock.now())
    return f"{address}/setup/{secret}" if secret else None
