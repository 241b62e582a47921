"""Getting a time-stamp over HTTP from the first of several authorities that gives a usable one (RFC 3161 3.4).

A token counts only when it answers our request, its signature is right, and, where the authority has anchors
configured, its path is good; so a broken or hostile authority costs an attempt, never evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from asn1crypto import x509

from archive_service.digests import Digest
from archive_service.errors import ArchiveError
from archive_service.evidence.checks import Indication
from archive_service.evidence.errors import TimestampInvalid, TimestampUnavailable
from archive_service.evidence.timestamps import MAX_REPLY_BYTES, TimestampToken, new_request, parse_reply
from archive_service.evidence.token_trust import check_trust

if TYPE_CHECKING:
    import httpx

REQUEST_TYPE: Final = "application/timestamp-query"
REPLY_TYPE: Final = "application/timestamp-reply"
DEFAULT_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampAuthority:
    """One configured time-stamp authority."""

    name: str
    url: str
    policy: str | None = None
    """Policy OID to ask for and to insist on."""
    timeout_s: float = DEFAULT_TIMEOUT_S
    """For connecting and for each read."""
    anchors: tuple[x509.Certificate, ...] = ()
    """Trust anchors that the token must chain to; none leaves trust to later verification."""
    username: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """Why an authority gave no usable token."""

    authority: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObtainedTimestamp:
    """A usable token, who gave it, and who failed before."""

    token: TimestampToken
    authority: str
    failed_attempts: tuple[FailedAttempt, ...] = ()


def obtain_timestamp(
    digest: Digest,
    authorities: Sequence[TimestampAuthority],
    *,
    at: datetime,
    transport: "httpx.BaseTransport | None" = None,
) -> ObtainedTimestamp:
    """Returns a token over `digest` from the first authority that gives a good one, asked in order.

    Each request has its own nonce. `transport` is httpx's, for a proxy or client certificates.

    Raises:
        TimestampUnavailable: every authority failed; `attempts` says how.
    """
    attempts: list[FailedAttempt] = []
    for authority in authorities:
        try:
            token = request_timestamp(digest, authority, at=at, transport=transport)
        except ArchiveError as exc:
            attempts.append(FailedAttempt(authority=authority.name, code=exc.code, detail=exc.message))
        else:
            return ObtainedTimestamp(token=token, authority=authority.name, failed_attempts=tuple(attempts))
    reasons = "; ".join(f"{attempt.authority}: {attempt.detail}" for attempt in attempts) or "none configured"
    raise TimestampUnavailable(f"no time-stamp authority gave a usable token: {reasons}", attempts=tuple(attempts))


def request_timestamp(
    digest: Digest, authority: TimestampAuthority, *, at: datetime, transport: "httpx.BaseTransport | None" = None
) -> TimestampToken:
    """Returns a token over `digest` from one authority.

    Raises:
        TimestampUnavailable: not reachable, too slow, or no HTTP 200 of the right type.
        TimestampRefused: it answered that it grants none.
        TimestampInvalid: its answer is malformed, too large, does not answer the request or does not chain to its
        anchors.
    """
    request = new_request(digest, policy=authority.policy)
    reply = _post(authority, request.to_der(), transport)
    token = parse_reply(reply, request, at=at)
    if authority.anchors and token.signer is not None:
        check = check_trust(token, token.signer, anchors=authority.anchors, at=token.gen_time, subject=authority.name)
        if check.indication is not Indication.PASSED and check.reason is not None:
            raise TimestampInvalid(f"{authority.name}: {check.reason.message('en')}")
    return token


def _post(authority: TimestampAuthority, body: bytes, transport: "httpx.BaseTransport | None") -> bytes:
    import httpx  # most commands that know of time-stamps ask for none

    auth = None if authority.username is None else httpx.BasicAuth(authority.username, authority.password or "")
    try:
        with (
            httpx.Client(timeout=authority.timeout_s, follow_redirects=False, auth=auth, transport=transport) as client,
            client.stream(
                "POST",
                authority.url,
                content=body,
                headers={"Content-Type": REQUEST_TYPE, "Accept": REPLY_TYPE, "Accept-Encoding": "identity"},
            ) as response,
        ):
            return _body(authority, response)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise TimestampUnavailable(f"{authority.name}: {type(exc).__name__} {exc}") from exc


def _body(authority: TimestampAuthority, response: "httpx.Response") -> bytes:
    if response.status_code != HTTPStatus.OK:
        raise TimestampUnavailable(f"{authority.name}: HTTP {response.status_code}")
    content_type = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
    if content_type != REPLY_TYPE:
        raise TimestampUnavailable(f"{authority.name}: answer of type {content_type[:80]!r}, not {REPLY_TYPE}")
    received = bytearray()
    for chunk in response.iter_bytes():
        received += chunk
        if len(received) > MAX_REPLY_BYTES:
            raise TimestampInvalid(f"{authority.name}: the reply is larger than {MAX_REPLY_BYTES} bytes")
    return bytes(received)
