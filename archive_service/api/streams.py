"""Bytes in and out over HTTP: request bodies chunk by chunk or limited, answers with ranges of stored objects (RFC 9110 section 14)."""

import base64
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from archive_service.access.content import StoredRange, stream
from archive_service.api.errors import problem
from archive_service.digests import CHUNK_BYTES, Digest
from archive_service.errors import TooLarge
from archive_service.storage.port import Store

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII | re.IGNORECASE)
SHOWN_INLINE: Final = frozenset({"application/pdf", "image/jpeg", "image/png", "image/gif", "text/plain"})
"""Media types a browser may show in place; all others are offered as a download."""
STAGED_SHOWN_INLINE: Final = frozenset({"application/pdf", "image/jpeg", "image/png"})
"""The same before the decision on a submission: fewer, because nobody stands for these bytes yet."""


MAX_WHOLE_BODY_BYTES: Final = 4 * 1024 * 1024
"""Largest body that is read whole, as forms and small JSON are, before anybody asks who sends it. The longest, an order to hold 10,000
dossiers by code, has a quarter of that."""
_LIMIT: Final = "archive_service.body_limit"


class BodyLimit:
    """Refuses bodies larger than `MAX_WHOLE_BODY_BYTES` unless an endpoint takes them in chunks, with a limit of its own. Plain ASGI."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Counts the body of this request."""
        if scope["type"] == "http":
            limited = _LimitedBody(receive)
            scope[_LIMIT] = limited
            receive = limited.receive
        await self._app(scope, receive, send)


class _LimitedBody:
    """Counts a body while it is read; lifted where somebody else counts."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._left_bytes: int | None = MAX_WHOLE_BODY_BYTES

    def lift(self) -> None:
        """Counts no more."""
        self._left_bytes = None

    async def receive(self) -> Message:
        """Returns the next part of the body.

        Raises:
            HTTPException: 413, the body is too long.
        """
        message = await self._receive()
        if self._left_bytes is not None and message["type"] == "http.request":
            self._left_bytes -= len(message.get("body", b""))
            if self._left_bytes < 0:
                # Of this class, which FastAPI lets through while it reads a body.
                detail = f"the body is longer than {MAX_WHOLE_BODY_BYTES} bytes"
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        return message


async def body_chunks(request: Request, *, limit_bytes: int) -> AsyncIterator[bytes]:
    """Yields the request body in chunks of about `CHUNK_BYTES`.

    Raises:
        TooLarge: the body is longer than `limit_bytes`; known from the header where it says so.
    """
    request.scope[_LIMIT].lift()
    declared = request.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise TooLarge(f"the body has {declared} bytes, the limit is {limit_bytes}")
    waiting = bytearray()
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > limit_bytes:
            raise TooLarge(f"the body is longer than {limit_bytes} bytes")
        waiting += chunk
        if len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


async def whole_body(request: Request, *, limit_bytes: int) -> bytes:
    """Returns the whole request body.

    Raises:
        TooLarge: longer than `limit_bytes`.
    """
    return b"".join([chunk async for chunk in body_chunks(request, limit_bytes=limit_bytes)])


def wanted_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Reads a Range header of one byte range; None means the whole.

    A header of several ranges or another unit is ignored, as RFC 9110 allows.

    Raises:
        ValueError: the range cannot be satisfied.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not any(match.groups()):
        return None
    first_text, last_text = match.groups()
    if not first_text:
        length = min(int(last_text), size_bytes)
        if length == 0:
            raise ValueError("empty suffix range")
        return size_bytes - length, size_bytes - 1
    first = int(first_text)
    last = min(int(last_text), size_bytes - 1) if last_text else size_bytes - 1
    if first >= size_bytes or last < first:
        raise ValueError("range outside the content")
    return first, last


_CONTENT_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"
_SANDBOXED_POLICY: Final = f"sandbox; {_CONTENT_POLICY}"
"""For bytes nobody has approved yet. Not for PDF: browsers refuse their own viewer, which has a sandbox of its own, inside this one."""

ReadRange = Callable[[int, int], Iterator[bytes]]
"""Yields the bytes from the first to the last position, both included."""


def content_answer(
    request: Request,
    stores: Mapping[str, Store],
    source: StoredRange,
    *,
    media_type: str,
    file_name: str,
    inline: bool = False,
) -> Response:
    """Answers with stored bytes: whole or one range, never transformed, never sniffed, never run by the browser."""

    def read(first: int, last: int) -> Iterator[bytes]:
        return stream(stores, source, first=first, last=last)

    shown = inline and media_type in SHOWN_INLINE
    headers = _headers(source.digest, file_name, inline=shown)
    return _range_answer(request, source.size_bytes, read, media_type=media_type, headers=headers)


def staged_answer(
    request: Request, digest: Digest, size_bytes: int, read: ReadRange, *, media_type: str, file_name: str, inline: bool
) -> Response:
    """Answers with bytes that are not archived yet: in a sandbox, and as a download unless a person is to look at a page or picture."""
    headers = _headers(digest, file_name, inline=inline and media_type in STAGED_SHOWN_INLINE)
    if media_type != "application/pdf":
        headers["Content-Security-Policy"] = _SANDBOXED_POLICY
    return _range_answer(request, size_bytes, read, media_type=media_type, headers=headers)


def _headers(digest: Digest, file_name: str, *, inline: bool) -> dict[str, str]:
    return {
        "Accept-Ranges": "bytes",
        "ETag": f'"{digest.hex}"',
        "Content-Disposition": disposition(file_name, inline=inline),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": _CONTENT_POLICY,
        "Cache-Control": "private, no-store",
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest.raw).decode()}:",
    }


def _range_answer(
    request: Request, size_bytes: int, read: ReadRange, *, media_type: str, headers: dict[str, str]
) -> Response:
    etag = headers["ETag"]
    wanted = request.headers.get("If-Match")
    if wanted is not None and not _names(wanted, etag, weak=False):
        return problem(HTTPStatus.PRECONDITION_FAILED, "PRECONDITION_FAILED", f"the content has the ETag {etag}")
    known = request.headers.get("If-None-Match")
    if known is not None and _names(known, etag, weak=True):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    try:
        part = wanted_range(_range_header(request, etag), size_bytes)
    except ValueError:
        return _unsatisfiable(size_bytes)
    status = HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT
    first, last = part or (0, size_bytes - 1)
    headers["Content-Length"] = str(last - first + 1)
    if part is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{size_bytes}"
    content: Iterator[bytes] = iter(()) if request.method == "HEAD" else read(first, last)
    return StreamingResponse(content, status_code=status, headers=headers, media_type=media_type)


def _names(header: str, etag: str, *, weak: bool) -> bool:
    """Returns whether a list of entity tags names this one (RFC 9110 8.8.3.2, 13.1): `*` names any, weak tags count only in weak comparison."""
    tags = [
        tag.strip() for tag in header.split(",")
    ]  # ours are hexadecimal, so a comma inside another tag cannot make one of them
    return header.strip() == "*" or etag in tags or (weak and f"W/{etag}" in tags)


def _range_header(request: Request, etag: str) -> str | None:
    if request.method != "GET":
        return None  # RFC 9110 14.2: defined for GET alone
    condition = request.headers.get("If-Range")
    return None if condition is not None and condition != etag else request.headers.get("Range")


def _unsatisfiable(size_bytes: int) -> JSONResponse:
    return problem(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "RANGE_NOT_SATISFIABLE",
        f"the content has {size_bytes} bytes",
        headers={"Content-Range": f"bytes */{size_bytes}"},
    )


def disposition(file_name: str, *, inline: bool) -> str:
    """Returns a Content-Disposition with the name in ASCII and in UTF-8 (RFC 6266)."""
    ascii_name = re.sub(r"[^A-Za-z0-9._-]", "_", file_name)
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(file_name, safe='')}"
