"""PDF signatures: PAdES and plain ISO 32000, document time-stamps, coverage, and what changed after signing.

The order of work in `check_pdf` is fixed:
  1. Read the file strictly; a file that breaks PDF syntax is read leniently, and then only a signature over every byte of it can pass.
  2. Find every signature field with a value; signatures that no field reaches are reported, not ignored.
  3. Coverage and difference analysis for each (ISO 32000-2 clause 12.8, R035).
  4. Document time-stamps, newest first: each one that holds proves the age of everything in its revision.
  5. Each signer: integrity, time-stamps, certificate, algorithms (assessment.py).
  6. Changes after a signature must be validation material, or be vouched for by a later signature that passed.
"""

import struct
import zlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from asn1crypto import cms
from pyhanko.pdf_utils.crypt import AuthStatus
from pyhanko.pdf_utils.decode_limits import DecodePurpose
from pyhanko.pdf_utils.misc import PdfError
from pyhanko.pdf_utils.reader import HistoricalResolver, PdfFileReader
from pyhanko.sign.diff_analysis import DiffResult, ModificationLevel, SuspiciousModification
from pyhanko.sign.fields import enumerate_sig_fields
from pyhanko.sign.validation import DocumentSecurityStore, EmbeddedPdfSignature
from pyhanko.sign.validation.errors import NoDSSFoundError
from pyhanko.sign.validation.status import SignatureCoverageLevel

from archive_service.signatures import certificates as names
from archive_service.signatures import cms as cms_signatures
from archive_service.signatures import hex_strings, pdf_structure
from archive_service.signatures.assessment import Signed, assess, indication_of, unreadable
from archive_service.signatures.chain import Circumstances, Purpose
from archive_service.signatures.cms import UNREADABLE, could_not
from archive_service.signatures.pdf_changes import DIFFERENCES, in_words
from archive_service.signatures.report import (
    ChangesAfterSigning,
    Indication,
    Integrity,
    Reason,
    SignatureKind,
    SignatureLevel,
    SignatureReport,
    SigningTimeSource,
    SubIndication,
)
from archive_service.signatures.timestamps import JudgedToken, judge_token, token_key
from archive_service.signatures.trust import parse_certificate

MAX_SIGNATURES: Final = 100
"""Signature fields of one PDF that are judged."""
MAX_REVISIONS: Final = 400
"""Incremental updates that difference analysis walks through; more is reported as not analysed."""
SCAN_BYTES: Final = 1024 * 1024
"""Chunk of the raw scan for signature dictionaries that no form field reaches."""

DOC_TIMESTAMP: Final = "/ETSI.RFC3161"
PADES: Final = "/ETSI.CAdES.detached"
PKCS7_SHA1: Final = "/adbe.pkcs7.sha1"
KNOWN_SUB_FILTERS: Final = frozenset({DOC_TIMESTAMP, PADES, PKCS7_SHA1, "/adbe.pkcs7.detached", "/PBAD.PAdES"})

PDF_UNREADABLE: Final = (*UNREADABLE, PdfError, zlib.error, struct.error, EOFError, ArithmeticError)

hex_strings.install()


@dataclass(slots=True)
class _Found:
    """One signature field on its way to a report."""

    name: str
    sub_filter: str
    embedded: EmbeddedPdfSignature | None = None
    reasons: list[Reason] = field(default_factory=list)
    remarks: list[Reason] = field(default_factory=list)
    changes: ChangesAfterSigning = ChangesAfterSigning.NOT_CHECKED
    coverage: SignatureCoverageLevel | None = None
    token: JudgedToken | None = None

    @property
    def revision(self) -> int:
        return int(self.embedded.signed_revision) if self.embedded is not None else -1

    @property
    def covers_all(self) -> bool:
        """Whether every byte of the file is signed: then nothing was added for readers to see otherwise than we do."""
        return not self.reasons and self.coverage is SignatureCoverageLevel.ENTIRE_FILE

    @property
    def sound(self) -> bool:
        return (
            not self.reasons and self.coverage is not None and self.coverage >= SignatureCoverageLevel.ENTIRE_REVISION
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PdfOutcome:
    """Reports of one PDF and what could not be looked at."""

    reports: tuple[SignatureReport, ...] = ()
    not_checked: tuple[str, ...] = ()


def check_pdf(path: Path, case: Circumstances) -> PdfOutcome:
    """Checks every signature of a PDF; never raises for content.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as stream:
        try:
            return _check(PdfFileReader(stream, strict=True), stream, case)  # (1)
        except PDF_UNREADABLE as exc:
            strict = could_not(exc)
        try:
            stream.seek(0)
            return _check(PdfFileReader(stream, strict=False), stream, case, broken=strict)
        except PDF_UNREADABLE as exc:
            return _unreadable(stream, case, could_not(exc))


def _check(reader: PdfFileReader, stream: BinaryIO, case: Circumstances, *, broken: Reason | None = None) -> PdfOutcome:
    """Runs steps 2 to 6; `broken` says why the file could not be read strictly."""
    if reader.encrypted and not _decrypted(reader):
        return _unreadable(stream, case, Reason(code="PDF_ENCRYPTED"))
    found, not_checked = _find(reader)  # (2)
    if not found:
        if _mentions_signature(stream):
            return _unreadable(stream, case, Reason(code="SIGNATURE_NOT_REACHABLE"))
        return PdfOutcome(not_checked=tuple(not_checked))
    for entry in found:  # (3)
        _examine(entry, reader, stream)
        if broken:
            remark = Reason(code="PDF_SYNTAX", params={"detail": broken.params["detail"]})
            (entry.remarks if entry.covers_all else entry.reasons).append(remark)
    _gather(reader, found, case)
    _judge_document_timestamps(reader, found, case)  # (4)
    reports = [_report(entry, found, reader, case) for entry in found]  # (5)
    return PdfOutcome(reports=tuple(_vouched(found, reports)), not_checked=tuple(not_checked))  # (6)


def _decrypted(reader: PdfFileReader) -> bool:
    """Opens an encrypted PDF that needs no password to read; anything else stays closed."""
    try:
        return reader.decrypt("").status != AuthStatus.FAILED
    except PDF_UNREADABLE:
        return False


def _find(reader: PdfFileReader) -> tuple[list[_Found], list[str]]:
    found: list[_Found] = []
    not_checked: list[str] = []
    for name, value, sig_field in enumerate_sig_fields(reader, filled_status=True):
        if len(found) >= MAX_SIGNATURES:
            not_checked.append(f"TOO_MANY_SIGNATURES: {MAX_SIGNATURES}")
            break
        entry = _Found(name=str(name), sub_filter="")
        found.append(entry)
        try:
            dictionary = value.get_object()
            entry.sub_filter = str(dictionary.get("/SubFilter", ""))
            if entry.sub_filter not in KNOWN_SUB_FILTERS:
                entry.reasons.append(Reason(code="SUB_FILTER_UNKNOWN", params={"name": entry.sub_filter or "-"}))
            entry.embedded = pdf_structure.SignatureInFile(reader, sig_field, str(name))
            if len(entry.embedded.signed_data["signer_infos"]) != 1:
                entry.reasons.append(Reason(code="SIGNER_COUNT"))
        except PDF_UNREADABLE as exc:
            entry.embedded = None
            entry.reasons.append(could_not(exc))
    return sorted(found, key=lambda entry: entry.revision), not_checked


def _examine(entry: _Found, reader: PdfFileReader, stream: BinaryIO) -> None:
    embedded = entry.embedded
    if embedded is None:
        return
    try:
        entry.coverage = embedded.evaluate_signature_coverage()
        if reader.xrefs.total_revisions > MAX_REVISIONS:
            entry.reasons.append(Reason(code="TOO_MANY_REVISIONS"))
            return
        analysed: Any = embedded  # pyHanko leaves this method untyped
        analysed.compute_integrity_info(DIFFERENCES)
        entry.changes = _changes(embedded, entry.reasons)
        _examine_structure(entry, embedded, reader, stream)
    except PDF_UNREADABLE as exc:
        entry.reasons.append(could_not(exc))
    if entry.coverage is None or entry.coverage < SignatureCoverageLevel.ENTIRE_REVISION:
        entry.reasons.append(Reason(code="BYTE_RANGE", params={"ranges": str(embedded.byte_range)[:100]}))


def _examine_structure(entry: _Found, embedded: EmbeddedPdfSignature, reader: PdfFileReader, stream: BinaryIO) -> None:
    """Adds what coverage by lengths and difference analysis leave open (pdf_structure.py)."""
    if not pdf_structure.gap_is_the_value(embedded, stream):
        entry.coverage = SignatureCoverageLevel.UNCLEAR
        return
    if pdf_structure.covers_to_the_end(embedded, stream):
        return
    if pdf_structure.unaccounted_tail(embedded, reader, stream) or pdf_structure.hidden_objects(
        embedded, reader, stream
    ):
        entry.changes = ChangesAfterSigning.SUSPICIOUS
        entry.reasons.append(Reason(code="BYTES_AFTER_END"))
    quiet = entry.changes in {ChangesAfterSigning.NONE, ChangesAfterSigning.VALIDATION_MATERIAL}
    if quiet and (
        pdf_structure.form_looks_changed(embedded, reader) or pdf_structure.description_changed(embedded, reader)
    ):
        entry.changes = ChangesAfterSigning.FORM_OR_SIGNATURE


def _changes(embedded: EmbeddedPdfSignature, reasons: list[Reason]) -> ChangesAfterSigning:
    result: Any = embedded.diff_result
    if not embedded.summarise_integrity_info()["docmdp_ok"] and embedded.docmdp_level is not None:
        reasons.append(Reason(code="CHANGE_NOT_PERMITTED"))
    if not isinstance(result, DiffResult):
        reasons.append(Reason(code="CONTENT_CHANGED", params={"detail": in_words(result)}))
        suspicious = isinstance(result, SuspiciousModification)
        return ChangesAfterSigning.SUSPICIOUS if suspicious else ChangesAfterSigning.NOT_CHECKED
    level = result.modification_level
    return {
        ModificationLevel.NONE: ChangesAfterSigning.NONE,
        ModificationLevel.LTA_UPDATES: ChangesAfterSigning.VALIDATION_MATERIAL,
        ModificationLevel.FORM_FILLING: ChangesAfterSigning.FORM_OR_SIGNATURE,
        ModificationLevel.ANNOTATIONS: ChangesAfterSigning.ANNOTATIONS,
    }.get(level, ChangesAfterSigning.SUSPICIOUS)


def _gather(reader: PdfFileReader, found: list[_Found], case: Circumstances) -> None:
    """Takes all validation material in the file."""
    evidence = case.evidence
    for entry in found:
        if entry.embedded is not None:
            _guard(entry, lambda e=entry.embedded: evidence.add_signed_data(e.signed_data))
            cms_signatures.adobe_revocation(entry.embedded.signer_info, evidence)
    try:
        for kind, der in _dss_objects(reader):
            {"cert": evidence.add_certificate, "crl": evidence.add_crl, "ocsp": evidence.add_ocsp}[kind](der)
    except PDF_UNREADABLE as exc:
        evidence.refused.append(f"DSS: {exc}"[:300])


def _guard(entry: _Found, action: Any) -> None:
    try:
        action()
    except PDF_UNREADABLE as exc:
        entry.reasons.append(could_not(exc))


def _dss_objects(handler: Any) -> list[tuple[str, bytes]]:
    """Returns (kind, DER) of everything in the document security store as it stood in one revision."""
    try:
        store = DocumentSecurityStore.read_dss(handler)
    except NoDSSFoundError:
        return []
    groups: tuple[tuple[str, Any, DecodePurpose], ...] = (
        ("crl", store.crls, DecodePurpose.CRL),
        ("ocsp", store.ocsps, DecodePurpose.OCSP_RESPONSE),
        ("cert", store.certs.values(), DecodePurpose.CERTIFICATE),
    )
    return [
        (kind, bytes(reference.get_object().read_data(purpose)))
        for kind, references, purpose in groups
        for reference in references
    ]


def _judge_document_timestamps(reader: PdfFileReader, found: list[_Found], case: Circumstances) -> None:
    purpose = Purpose.LAST_TIMESTAMPING
    for entry in sorted(found, key=lambda e: e.revision, reverse=True):
        if entry.sub_filter != DOC_TIMESTAMP or entry.embedded is None:
            continue
        embedded = entry.embedded
        known = case.exists_since(bytes(embedded.signer_info["signature"].native))
        try:
            entry.token = judge_token(
                embedded.signed_data, embedded.compute_digest, case, kind="document", purpose=purpose, proven=known
            )
        except PDF_UNREADABLE as exc:
            entry.reasons.append(could_not(exc))
            continue
        purpose = Purpose.TIMESTAMPING
        if entry.token.proves and entry.sound:
            earlier = [other for other in found if other.revision < entry.revision]
            _prove_all(HistoricalResolver(reader, entry.revision), earlier, case, entry.token.proves)


def _prove_all(handler: Any, found: list[_Found], case: Circumstances, since: datetime) -> None:
    """Registers that signatures, their certificates and time-stamps, and the document security store existed at `since`."""
    evidence = case.evidence
    for entry in found:
        if entry.embedded is None:
            continue
        signer_info = entry.embedded.signer_info
        evidence.prove(bytes(signer_info["signature"].native), since)
        for choice in entry.embedded.signed_data["certificates"] or ():
            evidence.prove(choice.chosen.dump(), since)
        for token in cms_signatures.timestamp_tokens(signer_info, signed=False):
            for stamp in token["signer_infos"]:
                evidence.prove(bytes(stamp["signature"].native), since)
        _prove_adobe(signer_info, case, since)
    try:
        for _, der in _dss_objects(handler):
            evidence.prove(der, since)
    except PDF_UNREADABLE as exc:
        evidence.refused.append(f"DSS: {exc}"[:300])


def _prove_adobe(signer_info: cms.SignerInfo, case: Circumstances, since: datetime) -> None:
    held = type(case.evidence)()
    if cms_signatures.adobe_revocation(signer_info, held):
        for der in (*held.crls, *held.ocsps):
            case.evidence.prove(der, since)


def _report(entry: _Found, found: list[_Found], reader: PdfFileReader, case: Circumstances) -> SignatureReport:
    constraint = SubIndication.SIG_CONSTRAINTS_FAILURE if entry.reasons else None
    whole = entry.coverage is SignatureCoverageLevel.ENTIRE_FILE
    base = Signed(
        kind=SignatureKind.PADES,
        sub_filter=entry.sub_filter.lstrip("/") or None,
        field_name=entry.name,
        certificate=None,
        signature=b"",
        integrity=Integrity.NOT_CHECKED,
        sub_indication=constraint,
        reasons=tuple(entry.reasons),
        claimed_time=None,
        level=None,
        covers_whole_file=whole,
        coverage=_coverage_text(entry, reader),
        changes=entry.changes,
        remarks=tuple(entry.remarks),
    )
    if entry.embedded is None:
        return assess(base, case)
    try:
        if entry.sub_filter == DOC_TIMESTAMP:
            return _timestamp_report(entry, base, case)
        return assess(_signed(entry, entry.embedded, base, found, case), case)
    except PDF_UNREADABLE as exc:
        reasons = (*base.reasons, could_not(exc))
        return assess(replace(base, reasons=reasons, sub_indication=constraint or SubIndication.GENERIC), case)


def _coverage_text(entry: _Found, reader: PdfFileReader) -> str:
    if entry.embedded is None or entry.coverage is None:
        return "unknown"
    total = reader.xrefs.total_revisions
    return f"{entry.coverage.name.lower()} (revision {entry.revision + 1} of {total})"


def _signed(
    entry: _Found, embedded: EmbeddedPdfSignature, base: Signed, found: list[_Found], case: Circumstances
) -> Signed:
    signer_info = embedded.signer_info
    if entry.sub_filter == PKCS7_SHA1:
        view = cms_signatures.view_signer(
            embedded.signed_data, cms_signatures.encapsulated_digest(embedded.signed_data)
        )
        content = bytes(embedded.signed_data["encap_content_info"]["content"].native or b"")
        if view.integrity is Integrity.INTACT and content != embedded.compute_digest("sha1"):
            view = replace(
                view,
                integrity=Integrity.DIGEST_MISMATCH,
                sub_indication=SubIndication.HASH_FAILURE,
                reasons=(Reason(code="HASH_FAILURE"),),
            )
    else:
        view = cms_signatures.view_signer(embedded.signed_data, embedded.compute_digest)
        if embedded.signed_data["encap_content_info"]["content"].native is not None:
            base = _constrained(base, Reason(code="DETACHED_WITH_CONTENT"))
    tokens = tuple(
        judge_token(
            token,
            cms_signatures.digest_of_bytes(view.signature),
            case,
            kind="signature",
            proven=case.exists_since(token_key(token)),
        )
        for token in cms_signatures.timestamp_tokens(signer_info, signed=False)
    )
    content_tokens = tuple(
        judge_token(token, embedded.compute_digest, case, kind="content")
        for token in cms_signatures.timestamp_tokens(signer_info, signed=True)
    )
    sub = view.sub_indication
    if sub is None or indication_of(sub) is not Indication.TOTAL_FAILED:
        sub = base.sub_indication or sub
    return replace(
        base,
        certificate=view.certificate,
        signature=view.signature,
        integrity=view.integrity,
        sub_indication=sub,
        reasons=(*view.reasons, *base.reasons),
        claimed_time=_claimed_time(view.claimed_time, embedded),
        level=_level(entry, found, tokens, case),
        digest=view.digest,
        content_digest="sha1" if entry.sub_filter == PKCS7_SHA1 else None,
        algorithm=signer_info["signature_algorithm"],
        tokens=tokens,
        content_tokens=content_tokens,
        archive_tokens=tuple(
            other.token for other in found if other.token and other.sound and other.revision > entry.revision
        ),
    )


def _constrained(base: Signed, reason: Reason) -> Signed:
    return replace(base, reasons=(*base.reasons, reason), sub_indication=SubIndication.SIG_CONSTRAINTS_FAILURE)


def _claimed_time(attribute: datetime | None, embedded: EmbeddedPdfSignature) -> datetime | None:
    if attribute is not None:
        return attribute
    try:
        claimed = embedded.self_reported_timestamp
    except PDF_UNREADABLE:
        return None
    return claimed if claimed is not None and claimed.tzinfo is not None else None


def _level(
    entry: _Found, found: list[_Found], tokens: tuple[JudgedToken, ...], case: Circumstances
) -> SignatureLevel | None:
    """Returns the PAdES baseline level that the structure reaches (EN 319 142-1 clause 6); None for plain ISO 32000."""
    if (
        entry.sub_filter != PADES
        or entry.embedded is None
        or not cms_signatures.is_baseline(entry.embedded.signer_info)
    ):
        return None
    later = [other for other in found if other.sub_filter == DOC_TIMESTAMP and other.revision > entry.revision]
    if not tokens and not later:
        return SignatureLevel.B_B
    if not case.evidence.revocation_carried:
        return SignatureLevel.B_T
    return SignatureLevel.B_LTA if later else SignatureLevel.B_LT


def _timestamp_report(entry: _Found, base: Signed, case: Circumstances) -> SignatureReport:
    token = entry.token
    if token is None:
        return assess(replace(base, sub_indication=base.sub_indication or SubIndication.GENERIC), case)
    view = cms_signatures.view_signer(token.token, cms_signatures.encapsulated_digest(token.token))
    report = assess(replace(base, tokens=(), reasons=base.reasons), case)
    sub = token.summary.sub_indication
    if sub is None or indication_of(sub) is not Indication.TOTAL_FAILED:
        sub = base.sub_indication or sub
    failed = sub is SubIndication.HASH_FAILURE
    return _with_certificate(
        replace(
            report,
            indication=indication_of(sub),
            sub_indication=sub,
            reasons=(*base.reasons, *(token.summary.reasons if token.summary.sub_indication else ())),
            remarks=(*base.remarks, *(() if token.summary.sub_indication else token.summary.reasons)),
            integrity=Integrity.DIGEST_MISMATCH if failed else view.integrity,
            timestamps=(replace(token.summary, covers_whole_file=base.covers_whole_file),),
            signing_time=token.summary.time,
            best_signature_time=token.proves,
        ),
        view.certificate,
        token,
        case,
    )


def _with_certificate(
    report: SignatureReport, certificate: Any, token: JudgedToken, case: Circumstances
) -> SignatureReport:
    if certificate is None:
        return report
    chain = token.chain
    return replace(
        report,
        signer=names.signer_name(certificate),
        signer_agency=names.signer_agency(certificate),
        certificate=names.summarise(certificate),
        path=tuple(names.summarise(parse_certificate(der)) for der in chain.path) if chain else (),
        trust_scheme=case.trust.scheme_of(chain.path[-1]) if chain and chain.path else None,
        revocation=chain.revocation if chain else report.revocation,
        signing_time_source=SigningTimeSource.TIMESTAMP,
    )


def _vouched(found: list[_Found], reports: list[SignatureReport]) -> list[SignatureReport]:
    """Lowers signatures after which form or signature changes were made that no later passed signature covers.

    Works from the newest back: a later signature that itself was lowered vouches for nothing.
    """
    judged = list(reports)
    for index in range(len(found) - 1, -1, -1):
        entry, report = found[index], judged[index]
        open_changes = entry.changes in {ChangesAfterSigning.FORM_OR_SIGNATURE, ChangesAfterSigning.ANNOTATIONS}
        if report.indication is not Indication.TOTAL_PASSED or not open_changes:
            continue
        later = [
            other
            for other, verdict in zip(found[index + 1 :], judged[index + 1 :], strict=True)
            if verdict.indication is Indication.TOTAL_PASSED
            and other.sub_filter != DOC_TIMESTAMP  # an authority stamps whatever it is given
            and other.changes
            in {
                ChangesAfterSigning.NONE,
                ChangesAfterSigning.VALIDATION_MATERIAL,
                ChangesAfterSigning.FORM_OR_SIGNATURE,
            }
        ]
        if later:
            continue
        undecided = any(
            other.sub_filter != DOC_TIMESTAMP and verdict.sub_indication is not SubIndication.SIG_CONSTRAINTS_FAILURE
            for other, verdict in zip(found[index + 1 :], judged[index + 1 :], strict=True)
            if verdict.indication is Indication.INDETERMINATE
        )
        # an undecided later signature has a finding of its own; without any the changes are nobody's
        judged[index] = replace(
            report,
            indication=Indication.INDETERMINATE,
            sub_indication=SubIndication.GENERIC if undecided else SubIndication.SIG_CONSTRAINTS_FAILURE,
            reasons=(*report.reasons, Reason(code="CHANGES_UNDECIDED" if undecided else "CHANGES_NOT_VOUCHED")),
        )
    return judged


def _mentions_signature(stream: BinaryIO) -> bool:
    """Returns whether the raw bytes hold a signature dictionary with a value, reachable or not."""
    stream.seek(0)
    tail = b""
    while chunk := stream.read(SCAN_BYTES):
        window = tail + chunk
        if b"/ByteRange" in window and (b"/Contents" in window):
            return True
        tail = window[-256:]
    return False


def _unreadable(stream: BinaryIO, case: Circumstances, reason: Reason) -> PdfOutcome:
    """One INDETERMINATE report for a PDF with a signature that cannot be looked at; none where there is no trace of one."""
    if not _mentions_signature(stream):
        return PdfOutcome(not_checked=(f"{reason.code}: {reason.params.get('detail', '')}".rstrip(": "),))
    signed = replace(unreadable(SignatureKind.PADES, reason), changes=ChangesAfterSigning.NOT_CHECKED)
    return PdfOutcome(reports=(assess(signed, case),))
