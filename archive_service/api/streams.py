"""Bytes in and out over HTTP: reading a request body chunk by chunk, answering with ranges of stored objects (RFC 9110 section 14)."""

import base64
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from archive_service.access.content import StoredRange, stream
from archive_service.api.errors import problem
from archive_service.digests import CHUNK_BYTES
from archive_service.errors import TooLarge
from archive_service.storage.port import Store

_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
SHOWN_INLINE: Final = frozenset({"application/pdf", "image/jpeg", "image/png", "image/gif", "text/plain"})
"""Media types a browser may show in place; all others are offered as a download."""


async def body_chunks(request: Request, *, limit_bytes: int) -> AsyncIterator[bytes]:
    """Yields the request body in chunks of about `CHUNK_BYTES`.

    Raises:
        TooLarge: the body is longer than `limit_bytes`; known from the header where it says so.
    """
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
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": f'"{source.digest.hex}"',
        "Content-Disposition": disposition(file_name, inline=inline and media_type in SHOWN_INLINE),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'",
        "Cache-Control": "private, no-store",
        "Repr-Digest": f"sha-256=:{base64.b64encode(source.digest.raw).decode()}:",
    }
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    try:
        part = wanted_range(_range_header(request, headers["ETag"]), source.size_bytes)
    except ValueError:
        return _unsatisfiable(source)
    status = HTTPStatus.OK if part is None else HTTPStatus.PARTIAL_CONTENT
    first, last = part or (0, source.size_bytes - 1)
    headers["Content-Length"] = str(last - first + 1)
    if part is not None:
        headers["Content-Range"] = f"bytes {first}-{last}/{source.size_bytes}"
    content: Iterator[bytes] = iter(()) if request.method == "HEAD" else stream(stores, source, first=first, last=last)
    return StreamingResponse(content, status_code=status, headers=headers, media_type=media_type)


def _range_header(request: Request, etag: str) -> str | None:
    condition = request.headers.get("If-Range")
    return None if condition is not None and condition != etag else request.headers.get("Range")


def _unsatisfiable(source: StoredRange) -> JSONResponse:
    return problem(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        "RANGE_NOT_SATISFIABLE",
        f"the content has {source.size_bytes} bytes",
        headers={"Content-Range": f"bytes */{source.size_bytes}"},
    )


def disposition(file_name: str, *, inline: bool) -> str:
    """Returns a Content-Disposition with the name in ASCII and in UTF-8 (RFC 6266)."""
    ascii_name = re.sub(r"[^A-Za-z0-9._-]", "_", file_name)
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(file_name, safe='')}"
