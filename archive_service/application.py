"""The HTTP application: API and pages over one service, put together in one place."""

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archive_service import __version__
from archive_service.api import (
    copies,
    evidence,
    holds,
    preservation,
    records,
    renditions,
    staged,
    storage,
    submissions,
    system,
    trust,
)
from archive_service.api.errors import add_error_handlers
from archive_service.api.openapi import describe
from archive_service.api.streams import BodyLimit
from archive_service.service import Service
from archive_service.web.mounting import add_pages

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "frame-src 'self'; object-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
"""No outside requests from any page (R138), no inline script."""
SECURITY_HEADERS = {
    "Content-Security-Policy": _PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


def create_app(service: Service) -> FastAPI:
    """Returns the application for this service."""
    app = FastAPI(
        title="archive_service",
        version=__version__,
        summary="Lưu trữ hồ sơ thủ tục hành chính điện tử / electronic records archive for TTHC dossiers",
        docs_url=None,
        redoc_url=None,
        # Its Location would be made from the Host header, which the caller chooses.
        redirect_slashes=False,
    )
    app.state.service = service
    add_error_handlers(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(_SecurityHeaders)
    for module in (
        submissions,
        staged,
        records,
        renditions,
        copies,
        preservation,
        evidence,
        system,
        trust,
        holds,
        storage,
    ):
        app.include_router(module.router)
    add_pages(app, SECURITY_HEADERS)
    describe(app)
    return app


class _SecurityHeaders:
    """Adds the headers every answer carries; plain ASGI, so that streamed bodies pass untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
