"""A real server with a few dossiers taken through the pipeline, and a real Chromium looking at it."""

import itertools
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import pytest
import uvicorn
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from archive_service import clock
from archive_service.application import create_app
from archive_service.audit import software
from archive_service.identity.accounts import Person, create_account
from archive_service.identity.permissions import Grant
from archive_service.models import RoleName
from archive_service.samples.small import minimal_dossier
from archive_service.service import Service, open_service
from archive_service.settings import Settings
from tests.pipeline import Archive

PASSWORD = "Mật-khẩu-thử-1"
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@dataclass
class Site:
    """The running service as a browser reaches it."""

    url: str
    archive: Archive
    record_id: str
    folder: Path
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(2))

    def wait(self, count: int) -> list[str]:
        """Pushes dossiers that then await approval, and returns their submissions' ids."""
        ids = []
        for number in itertools.islice(self._numbers, count):
            code = f"000.00.16.H56-250314-{number:04d}"
            waiting = minimal_dossier(self.folder, code=code, title=f"Hồ sơ chờ số {number}")
            ids.append(self.archive.push(waiting.folder))
        self.archive.work()
        return ids


@dataclass
class Watched:
    """A page, with everything it complained about or asked other hosts for."""

    page: Page
    site: Site
    complaints: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def open(self, path: str) -> None:
        """Goes to a page of the site."""
        self.page.goto(self.site.url + path)

    def sign_in(self) -> None:
        """Signs in as the archivist."""
        self.open("/sign-in")
        self.page.get_by_label("Tên đăng nhập").fill("lan")
        self.page.get_by_label("Mật khẩu").fill(PASSWORD)
        self.page.get_by_role("button", name="Đăng nhập").click()
        self.page.get_by_role("heading", name="Xin chào").wait_for()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A served data folder: one archived dossier, an archivist who may copy."""
    folder = tmp_path_factory.mktemp("site")
    service = open_service(Settings(data_dir=folder / "data", rendition_delay_s=0), migrate=True)
    app = create_app(service)
    with TestClient(app) as http:
        archive = Archive(service=service, http=http)
        stored = minimal_dossier(folder, code="000.00.16.H56-250314-0001", title="Hồ sơ đã lưu <b>trọn vẹn</b>")
        record_id = archive.archive(stored.folder)
        _account(service)
        with _served(service) as url:
            yield Site(url=url, archive=archive, record_id=record_id, folder=folder)
    service.close()


def _account(service: Service) -> None:
    roles = (RoleName.ARCHIVIST, RoleName.RECORDS_HEAD, RoleName.COPY_OFFICER, RoleName.ADMIN)
    with service.database.write() as session:
        create_account(
            session,
            Person(username="lan", display_name="Nguyễn Thị Lan", position="Lưu trữ viên"),
            password=PASSWORD,
            grants=[Grant(role=role, agency=None) for role in roles],
            agent=software("tests"),
            at=clock.now(),
            must_change_password=False,
        )


class _served:  # noqa: N801 - reads as a word in a with statement
    def __init__(self, service: Service) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(create_app(service), log_level="error"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=30)
        self._socket.close()


@pytest.fixture(scope="module")
def chromium(not_run: Callable[[str, str], NoReturn]) -> Iterator[Browser]:
    """One browser for the tests of a file."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        not_run("chromium", "no Chromium program found")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=Path(found), args=list(_ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def watched(chromium: Browser, site: Site) -> Iterator[Watched]:
    """A fresh browser window; at the end nothing may have been complained about or asked elsewhere."""
    context = chromium.new_context(locale="vi-VN", viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.set_default_timeout(20_000)
    seen = Watched(page=page, site=site)

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            seen.complaints.append(message.text)

    def follow(request: Request) -> None:
        if urlsplit(request.url).scheme in {"http", "https"} and not request.url.startswith(site.url):
            seen.elsewhere.append(request.url)

    page.on("console", note)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    context.on("request", follow)
    yield seen
    context.close()
    assert seen.complaints == []
    assert seen.elsewhere == []
