"""CMS files: detached (.p7s) and enveloping (.p7m) PKCS#7 and CAdES signatures, several signers, counter-signatures.

A detached signature speaks of a sibling file: the one its name points at, else the one whose digest it carries. A file that is
merely called like it and has another digest is not taken for the signed one.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from asn1crypto import cms, parser, pem, x509

from archive_service.digests import chunks
from archive_service.signatures import cades_archive, mail
from archive_service.signatures import cms as signed_data_of
from archive_service.signatures.assessment import Signed, assess, unreadable
from archive_service.signatures.chain import Circumstances
from archive_service.signatures.cms import UNREADABLE, SignerView, could_not
from archive_service.signatures.report import (
    Integrity,
    Reason,
    SignatureKind,
    SignatureLevel,
    SignatureReport,
    SubIndication,
)
from archive_service.signatures.timestamps import JudgedToken, judge_token, token_key

MAX_CMS_BYTES: Final = 256 * 1024 * 1024
"""A CMS file is parsed in memory; larger enveloping files are reported as not checked."""
MAX_ATTRIBUTES_BYTES: Final = 1024 * 1024
"""Signed attributes are under 10 kB; content that may be mistaken for them is looked at up to here."""
MAX_SIBLINGS: Final = 50
"""Other files hashed while looking for the one a detached signature speaks of."""

_BARE_LINE_FEED: Final = re.compile(rb"(?<!\r)\n")
_SUFFIXES: Final = (".p7s", ".p7m", ".p7b", ".p7c", ".sig", ".pkcs7")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What a signer signed: digests of it, and how it is found."""

    digest_of: Callable[[str], bytes] | None
    coverage: str
    octets: Callable[[], bytes] | None = None
    beginning: Callable[[], bytes] = bytes
    """The content up to `MAX_ATTRIBUTES_BYTES`."""
    followed: bool = False
    """Whether something stands behind the signature in its file: nobody signed it."""
    text_digest_of: Callable[[str], bytes] | None = None
    """Digests of the file's content as text whose lines end as mail has them (RFC 8551 clause 3.1.1)."""


def looks_like_cms(path: Path, mime: str) -> bool:
    """Returns whether a file should be read as CMS, by media type, name or first bytes."""

    def head() -> bytes:
        with path.open("rb") as stream:
            return stream.read(mail.HEAD_BYTES)

    return begins_like_cms(head, path.suffix, mime)


def begins_like_cms(read_head: Callable[[], bytes], suffix: str, mime: str) -> bool:
    """The same of a file that is not at hand as such.

    Args:
        read_head: returns its first `mail.HEAD_BYTES`; called only where media type and name leave it open.
        suffix: of its name, with the dot.
        mime: its media type.
    """
    if "pkcs7" in mime or "cms" in mime.rpartition("/")[2].split("-"):
        return True
    if suffix.lower() not in _SUFFIXES and mime not in mail.MAIL_MIMES:
        return False
    head = read_head()
    if mail.looks_like_signed_mail(head):
        return True
    if suffix.lower() not in _SUFFIXES:
        return False
    return head[:1] == b"\x30" or b"BEGIN" in head[:64] or head[:3] == b"MII"


def check_cms(path: Path, case: Circumstances, siblings: Mapping[str, Path]) -> tuple[SignatureReport, ...]:
    """Checks every signer of a CMS file; never raises for content.

    Raises:
        OSError: the file or a sibling cannot be read.
    """
    try:
        if path.stat().st_size > MAX_CMS_BYTES:
            return (_unreadable(case, Reason(code="TOO_LARGE", params={"limit": str(MAX_CMS_BYTES)})),)
        der = _decode(path.read_bytes())
        signed_data = signed_data_of.load_signed_data(der)
        infos = list(signed_data["signer_infos"])
        if not infos:
            return (_unreadable(case, Reason(code="NO_SIGNER")),)
        case.evidence.add_signed_data(signed_data)
        content = replace(_content(signed_data, path, siblings), followed=_followed(der))
        reports: list[SignatureReport] = []
        for position, one in enumerate(signed_data_of.signers(signed_data), start=1):
            reports += _signer_reports(one, position, content, case)
    except mail.MailNotSupportedError:
        return (_unreadable(case, Reason(code="MAIL_NOT_SUPPORTED")),)
    except UNREADABLE as exc:
        return (_unreadable(case, could_not(exc)),)
    if len(infos) > signed_data_of.MAX_SIGNERS:
        reports.append(_unreadable(case, Reason(code="TOO_MANY_SIGNERS")))
    return tuple(reports)


def _decode(content: bytes) -> bytes:
    if mail.looks_like_signed_mail(content):
        return mail.opened(content)
    if pem.detect(content):
        return bytes(pem.unarmor(content)[2])
    if content[:3] == b"MII":
        import base64

        return base64.b64decode(b"".join(content.split()), validate=True)
    return content


def _followed(der: bytes) -> bool:
    """Returns whether more than white space or padding follows the structure."""
    return bool(der[parser.peek(der) :].strip(b"\0\t\n\r "))


def _content(signed_data: cms.SignedData, path: Path, siblings: Mapping[str, Path]) -> _Content:
    inside = signed_data["encap_content_info"]["content"]
    if inside.native is not None:
        octets = bytes(inside)
        return _Content(
            digest_of=signed_data_of.encapsulated_digest(signed_data),
            coverage=f"content inside, {len(octets)} bytes",
            octets=lambda: octets,
            beginning=lambda: octets[:MAX_ATTRIBUTES_BYTES],
        )
    found = _sibling(signed_data, path, siblings)
    return _Content(digest_of=None, coverage="detached, signed file not at hand") if found is None else _of_file(*found)


def _of_file(name: str, target: Path) -> _Content:
    return _Content(
        digest_of=signed_data_of.digest_stream_of(partial(_stream, target)),
        coverage=f"file {name}",
        octets=partial(_whole, target),
        beginning=partial(_beginning, target),
        text_digest_of=signed_data_of.digest_stream_of(partial(_as_text, target)),
    )


def _stream(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        yield from chunks(stream)


def _beginning(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(MAX_ATTRIBUTES_BYTES)


def _whole(path: Path) -> bytes:
    """Returns a file's content.

    Raises:
        ValueError: it is larger than what is held in memory.
    """
    if path.stat().st_size > MAX_CMS_BYTES:
        raise ValueError(f"the signed file is larger than {MAX_CMS_BYTES} bytes")
    return path.read_bytes()


def _as_text(path: Path) -> Iterator[bytes]:
    """Yields a file's content with every line ending in CR LF."""
    before = b""
    for chunk in _stream(path):
        written = _BARE_LINE_FEED.sub(b"\r\n", before + chunk)
        yield written[len(before) :]
        before = chunk[-1:] if chunk.endswith(b"\r") else b""


def _sibling(signed_data: cms.SignedData, path: Path, siblings: Mapping[str, Path]) -> tuple[str, Path] | None:
    """Returns the file a detached signature speaks of: named like it, else the one whose digest or signature fits."""
    others = {name: target for name, target in siblings.items() if target != path}
    for candidate in (path.stem, path.name):
        named = [(name, target) for name, target in others.items() if Path(name).name == candidate]
        if named:
            return named[0]
    return next((item for item in list(others.items())[:MAX_SIBLINGS] if _speaks_of(signed_data, *item)), None)


def _speaks_of(signed_data: cms.SignedData, name: str, target: Path) -> bool:
    """Returns whether the first signer signed this file."""
    first = next(signed_data_of.signers(signed_data))
    signer_info, file = first["signer_infos"][0], _of_file(name, target)
    if file.digest_of is None:
        return False
    if signer_info["signed_attrs"]:
        algorithm = str(signer_info["digest_algorithm"]["algorithm"].native)
        return file.digest_of(algorithm) == _message_digest(signer_info)
    view = signed_data_of.view_signer(first, file.digest_of, content=file.octets)
    return view.integrity is Integrity.INTACT


def _message_digest(signer_info: cms.SignerInfo) -> bytes | None:
    for attribute in signer_info["signed_attrs"] or ():
        if attribute["type"].native == "message_digest" and len(attribute["values"]) == 1:
            value = attribute["values"][0].native
            return value if isinstance(value, bytes) else None
    return None


def _signer_reports(
    signed_data: cms.SignedData, position: int, content: _Content, case: Circumstances
) -> Iterator[SignatureReport]:
    signer_info = signed_data["signer_infos"][0]
    signed_data_of.adobe_revocation(signer_info, case.evidence)
    cades_archive.take_unsigned_values(signer_info, case.evidence)
    view = _view(signed_data, signer_info, content)
    if not signer_info["signed_attrs"] and _looks_like_attributes(content):
        reason = Reason(code="ATTRIBUTES_AS_CONTENT")
        view = replace(view, sub_indication=SubIndication.SIG_CONSTRAINTS_FAILURE, reasons=(*view.reasons, reason))
    if content.followed and view.sub_indication is None:
        reason = Reason(code="BYTES_AFTER_SIGNATURE")
        view = replace(view, sub_indication=SubIndication.SIG_CONSTRAINTS_FAILURE, reasons=(*view.reasons, reason))
    yield assess(_signed(view, str(position), content, case), case)
    yield from _countersignatures(view, position, signed_data, case)


def _view(signed_data: cms.SignedData, signer_info: cms.SignerInfo, content: _Content) -> SignerView:
    if content.digest_of is not None:
        view = signed_data_of.view_signer(signed_data, content.digest_of, content=content.octets)
        return _read_as_text(view, content)
    view = SignerView(
        signed_data=signed_data,
        signer_info=signer_info,
        certificate=_certificate_of(signer_info, signed_data),
        integrity=Integrity.NOT_CHECKED,
        sub_indication=None,
    )
    if signer_info["signed_attrs"]:
        view = signed_data_of.view_signer(signed_data, lambda _: _message_digest(signer_info) or b"")
    if view.sub_indication is not None:
        return view
    return replace(
        view,
        integrity=Integrity.NOT_CHECKED,
        sub_indication=SubIndication.SIGNED_DATA_NOT_FOUND,
        reasons=(Reason(code="SIGNED_FILE_MISSING"),),
    )


def _read_as_text(view: SignerView, content: _Content) -> SignerView:
    """Returns the view; a file that was signed as text and kept with other line ends was not forged, and not signed as it is."""
    if view.integrity is not Integrity.DIGEST_MISMATCH or content.text_digest_of is None:
        return view
    if content.text_digest_of(view.digest) != _message_digest(view.signer_info):
        return view
    reason = Reason(code="TEXT_LINE_ENDS")
    return replace(
        view, integrity=Integrity.NOT_CHECKED, sub_indication=SubIndication.SIGNED_DATA_NOT_FOUND, reasons=(reason,)
    )


def _looks_like_attributes(content: _Content) -> bool:
    """Returns whether the content is what signed attributes are: a SET with a message digest.

    A signature over signed attributes also verifies as one over content that is those attributes: without attributes of its own
    nothing tells the two apart.
    """
    octets = content.beginning()
    if octets[:1] != b"\x31":
        return False
    try:
        return any(
            attribute["type"].native == "message_digest" for attribute in cms.CMSAttributes.load(octets, strict=True)
        )
    except UNREADABLE:
        return False


def _signed(view: SignerView, name: str, content: _Content, case: Circumstances) -> Signed:
    archive: tuple[JudgedToken, ...] = ()
    if content.digest_of is not None and view.integrity is Integrity.INTACT:
        archive = cades_archive.judge_archive_stamps(view.signed_data, content.digest_of, case)
    older = cades_archive.has_older_archive_stamp(view.signer_info)
    tokens = tuple(
        judge_token(
            token,
            signed_data_of.digest_of_bytes(view.signature),
            case,
            kind="signature",
            proven=case.exists_since(token_key(token)),
        )
        for token in signed_data_of.timestamp_tokens(view.signer_info, signed=False)
    )
    content_tokens: tuple[JudgedToken, ...] = ()
    if content.digest_of is not None:
        stamps = signed_data_of.timestamp_tokens(view.signer_info, signed=True)
        content_tokens = tuple(judge_token(token, content.digest_of, case, kind="content") for token in stamps)
    return Signed(
        kind=SignatureKind.CADES,
        sub_filter=str(view.signed_data["encap_content_info"]["content_type"].native),
        field_name=name,
        certificate=view.certificate,
        signature=view.signature,
        integrity=view.integrity,
        sub_indication=view.sub_indication,
        reasons=view.reasons,
        claimed_time=view.claimed_time,
        level=_level(view, archive=bool(archive) or older, stamped=bool(tokens), case=case),
        covers_whole_file=view.integrity is Integrity.INTACT,
        coverage=content.coverage,
        digest=view.digest,
        algorithm=view.signer_info["signature_algorithm"],
        tokens=tokens,
        content_tokens=content_tokens,
        archive_tokens=archive,
        remarks=(Reason(code="ARCHIVE_STAMP_NOT_USED"),) if older else (),
    )


def _level(view: SignerView, *, archive: bool, stamped: bool, case: Circumstances) -> SignatureLevel | None:
    """Returns the CAdES baseline level the structure reaches; None for plain PKCS#7."""
    if not signed_data_of.is_baseline(view.signer_info):
        return None
    if not stamped:
        return SignatureLevel.B_B
    if not case.evidence.revocation_carried:
        return SignatureLevel.B_T
    return SignatureLevel.B_LTA if archive else SignatureLevel.B_LT


def _countersignatures(
    view: SignerView, position: int, signed_data: cms.SignedData, case: Circumstances
) -> Iterator[SignatureReport]:
    for attribute in view.signer_info["unsigned_attrs"] or ():
        if attribute["type"].native != "counter_signature":
            continue
        for number, info in enumerate(list(attribute["values"])[: signed_data_of.MAX_SIGNERS], start=1):
            yield _countersignature(info, f"{position}.{number}", view, signed_data, case)


def _countersignature(
    info: cms.SignerInfo, name: str, view: SignerView, signed_data: cms.SignedData, case: Circumstances
) -> SignatureReport:
    certificate = _certificate_of(info, signed_data)
    if certificate is None:
        integrity, sub = Integrity.NOT_CHECKED, SubIndication.NO_SIGNING_CERTIFICATE_FOUND
        reasons: tuple[Reason, ...] = (Reason(code="NO_SIGNING_CERTIFICATE"),)
    else:
        integrity, found = signed_data_of.verify_countersignature(info, certificate, view.signature)
        reasons = (
            (Reason(code=found if found in {"HASH_FAILURE", "SIG_CRYPTO_FAILURE"} else "NO_SIGNER"),) if found else ()
        )
        sub = found  # type: ignore[assignment]
    return assess(
        Signed(
            kind=SignatureKind.CADES,
            sub_filter="counter_signature",
            field_name=name,
            certificate=certificate,
            signature=bytes(info["signature"].native),
            integrity=integrity,
            sub_indication=sub,
            reasons=reasons,
            claimed_time=None,
            level=None,
            covers_whole_file=False,
            coverage=f"counter-signature over the signature of signer {name.partition('.')[0]}",
            digest=str(info["digest_algorithm"]["algorithm"].native),
            algorithm=info["signature_algorithm"],
        ),
        case,
    )


def _certificate_of(info: cms.SignerInfo, signed_data: cms.SignedData) -> x509.Certificate | None:
    sid = info["sid"]
    for choice in signed_data["certificates"] or ():
        if choice.name != "certificate":
            continue
        certificate = choice.chosen
        if sid.name == "issuer_and_serial_number":
            same = certificate.serial_number == sid.chosen["serial_number"].native
            if same and certificate.issuer == sid.chosen["issuer"]:
                return certificate
        elif certificate.key_identifier == sid.native:
            return certificate
    return None


def _unreadable(case: Circumstances, reason: Reason) -> SignatureReport:
    return assess(unreadable(SignatureKind.CADES, reason), case)
