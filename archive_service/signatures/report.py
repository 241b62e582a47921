"""What a signature check says: one report per signature, with the standard's own words.

Indications and sub-indications are those of ETSI EN 319 102-1 clause 5.1.3 and 5.1.4; levels are the baseline levels of
EN 319 122/132/142. A report is a value: it pins the time it was judged for, the policy and the trust store, so that the same
question asked twenty years later is the same question (R030, R032, R145).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from archive_service.signatures import texts
from archive_service.signatures.signer import SignerKind


class Indication(StrEnum):
    """Main indication (EN 319 102-1 table 5)."""

    TOTAL_PASSED = "TOTAL-PASSED"
    INDETERMINATE = "INDETERMINATE"
    TOTAL_FAILED = "TOTAL-FAILED"


_WORST_FIRST: Final = (Indication.TOTAL_FAILED, Indication.INDETERMINATE, Indication.TOTAL_PASSED)


def worst(indications: list[Indication]) -> Indication | None:
    """Returns the worst of several indications, None when there is none: a file is as good as its worst signature."""
    return min(indications, key=_WORST_FIRST.index, default=None)


class SubIndication(StrEnum):
    """Sub-indications (EN 319 102-1 table 6), spelt as there."""

    FORMAT_FAILURE = "FORMAT_FAILURE"
    HASH_FAILURE = "HASH_FAILURE"
    SIG_CRYPTO_FAILURE = "SIG_CRYPTO_FAILURE"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    NOT_YET_VALID = "NOT_YET_VALID"
    SIG_CONSTRAINTS_FAILURE = "SIG_CONSTRAINTS_FAILURE"
    CHAIN_CONSTRAINTS_FAILURE = "CHAIN_CONSTRAINTS_FAILURE"
    CERTIFICATE_CHAIN_GENERAL_FAILURE = "CERTIFICATE_CHAIN_GENERAL_FAILURE"
    CRYPTO_CONSTRAINTS_FAILURE = "CRYPTO_CONSTRAINTS_FAILURE"
    CRYPTO_CONSTRAINTS_FAILURE_NO_POE = "CRYPTO_CONSTRAINTS_FAILURE_NO_POE"
    POLICY_PROCESSING_ERROR = "POLICY_PROCESSING_ERROR"
    SIGNATURE_POLICY_NOT_AVAILABLE = "SIGNATURE_POLICY_NOT_AVAILABLE"
    TIMESTAMP_ORDER_FAILURE = "TIMESTAMP_ORDER_FAILURE"
    NO_SIGNING_CERTIFICATE_FOUND = "NO_SIGNING_CERTIFICATE_FOUND"
    NO_CERTIFICATE_CHAIN_FOUND = "NO_CERTIFICATE_CHAIN_FOUND"
    REVOKED_NO_POE = "REVOKED_NO_POE"
    REVOKED_CA_NO_POE = "REVOKED_CA_NO_POE"
    OUT_OF_BOUNDS_NO_POE = "OUT_OF_BOUNDS_NO_POE"
    OUT_OF_BOUNDS_NOT_REVOKED = "OUT_OF_BOUNDS_NOT_REVOKED"
    REVOCATION_OUT_OF_BOUNDS_NO_POE = "REVOCATION_OUT_OF_BOUNDS_NO_POE"
    NO_POE = "NO_POE"
    TRY_LATER = "TRY_LATER"
    SIGNED_DATA_NOT_FOUND = "SIGNED_DATA_NOT_FOUND"
    GENERIC = "GENERIC"


class SignatureKind(StrEnum):
    """Family of the signature format; plain ISO 32000 signatures are `PAdES` with no level and their `sub_filter`."""

    PADES = "PAdES"
    CADES = "CAdES"
    XADES = "XAdES"
    XMLDSIG = "XMLDSig"
    OOXML = "OOXML"
    ASIC = "ASiC"
    """Kept as an entry of a ZIP that is no Office package."""


class SignatureLevel(StrEnum):
    """Baseline level that the signature's structure reaches by what its file carries, whatever its indication."""

    B_B = "B-B"
    B_T = "B-T"
    B_LT = "B-LT"
    B_LTA = "B-LTA"


class SigningTimeSource(StrEnum):
    """Where a signing time comes from: only the last two are proof."""

    CLAIMED = "claimed"
    TIMESTAMP = "timestamp"
    KNOWN_POE = "known_poe"


class Integrity(StrEnum):
    """Whether the signed bytes and the signature value hold, regardless of trust."""

    INTACT = "intact"
    DIGEST_MISMATCH = "digest_mismatch"
    SIGNATURE_INVALID = "signature_invalid"
    NOT_CHECKED = "not_checked"


class ChangesAfterSigning(StrEnum):
    """What an incremental update or later edit did after this signature (R035)."""

    NONE = "none"
    VALIDATION_MATERIAL = "validation_material"
    """Only validation data and time-stamps were added (PAdES LT/LTA)."""
    FORM_OR_SIGNATURE = "form_or_signature"
    """Form fields were filled in or further signatures were added."""
    ANNOTATIONS = "annotations"
    SUSPICIOUS = "suspicious"
    """Something else changed: what is shown is not what was signed."""
    NOT_CHECKED = "not_checked"
    NOT_APPLICABLE = "not_applicable"


class RevocationState(StrEnum):
    """Revocation status of the signer's certificate at the time judged."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    NOT_DECLARED = "not_declared"
    """The certificate names no status service, so there is nothing to ask."""


class Strength(StrEnum):
    """Algorithm strength by the policy's dated list."""

    STRONG = "strong"
    EXPIRED = "expired"
    """Was acceptable until a date before the time judged."""
    WEAK = "weak"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One cause of an indication; its texts are in `profiles/signatures/texts/`."""

    code: str
    params: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def text(self, language: str = "vi") -> str:
        """Returns the reason in words, in `language` ("vi" or "en")."""
        return texts.render(self.code, self.params, language)

    def as_json(self) -> dict[str, Any]:
        """Returns code, params and both texts."""
        return {"code": self.code, "params": dict(self.params), "vi": self.text("vi"), "en": self.text("en")}

    def __reduce__(self) -> tuple[Any, ...]:  # mapping proxies do not pickle; reports cross processes
        return _reason, (self.code, dict(self.params))


def _reason(code: str, params: dict[str, str]) -> Reason:
    return Reason(code=code, params=MappingProxyType(params))


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSummary:
    """The parts of an X.509 certificate a reader needs to recognise it."""

    subject: str
    issuer: str
    serial: str
    """Hex, as certificate viewers show it."""
    not_before: datetime
    not_after: datetime
    key_usage: tuple[str, ...]
    extended_key_usage: tuple[str, ...]
    public_key: str
    """Algorithm and size, e.g. "rsa 2048"."""
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationSummary:
    """Revocation status and what it rests on."""

    state: RevocationState
    revoked_at: datetime | None = None
    reason: str | None = None
    evidence: tuple[str, ...] = ()
    """Names of the OCSP responses and CRLs in the material that speak about the signer's certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampSummary:
    """One time-stamp token and whether it may be relied on."""

    kind: str
    """signature, content, document or archive."""
    time: datetime | None
    authority: str
    indication: Indication
    sub_indication: SubIndication | None
    covers_whole_file: bool | None = None
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmUse:
    """One algorithm, what it was used for, and its strength at the best signature time."""

    use: str
    name: str
    strength: Strength
    acceptable_until: str | None = None
    """ISO date from the policy, None when no end date is set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureReport:
    """Everything said of one signature (DESIGN D8)."""

    kind: SignatureKind
    indication: Indication
    sub_indication: SubIndication | None
    reasons: tuple[Reason, ...]
    level: SignatureLevel | None
    sub_filter: str | None = None
    """PDF SubFilter, CMS content type or XML signature method."""
    field_name: str | None = None
    """PDF field name, XML signature Id or the position of the signer in a CMS file."""
    signer: str = ""
    signer_agency: str | None = None
    signer_title: str | None = None
    signer_kind: SignerKind | None = None
    """Whose certificate it is under the policy; None for a time-stamp and where there is no certificate."""
    signer_organisation_id: str | None = None
    """organizationIdentifier of the subject, e.g. VN:H56.16 or an enterprise's MST:…"""
    certificate: CertificateSummary | None = None
    path: tuple[CertificateSummary, ...] = ()
    """Signer first, trust anchor last; empty when no path was found."""
    trust_scheme: str | None = None
    """Scheme of the trust store in which the path's anchor was found."""
    revocation: RevocationSummary = RevocationSummary(state=RevocationState.UNKNOWN)
    signing_time: datetime | None = None
    signing_time_source: SigningTimeSource | None = None
    claimed_time: datetime | None = None
    best_signature_time: datetime | None = None
    """Earliest time at which the signature is proven to have existed (EN 319 102-1 clause 5.5.4)."""
    integrity: Integrity = Integrity.NOT_CHECKED
    covers_whole_file: bool = False
    coverage: str = "unknown"
    """What is covered, in the format's terms: a PDF revision, the sibling file, XML elements."""
    changes_after_signing: ChangesAfterSigning = ChangesAfterSigning.NOT_APPLICABLE
    algorithms: tuple[AlgorithmUse, ...] = ()
    timestamps: tuple[TimestampSummary, ...] = ()
    expired_since: bool = False
    """Valid at signing, expired since (R033): passed on proof of existence although a certificate has expired."""
    remarks: tuple[Reason, ...] = ()
    """What a reader should know although it does not change the indication."""
    judged_at: datetime
    policy_id: str
    policy_version: str
    policy_digest: str
    trust_digest: str

    @property
    def signer_is_agency(self) -> bool:
        """Whether the signature is that of an agency itself (R034)."""
        return self.signer_kind is SignerKind.AGENCY

    def as_json(self) -> dict[str, Any]:
        """Returns the JSON form: a superset of the keys of DESIGN section 5; times are ISO 8601 UTC."""
        plain = {part.name: _plain(getattr(self, part.name)) for part in fields(self)}
        plain["reasons"] = [reason.as_json() for reason in self.reasons]
        plain["remarks"] = [remark.as_json() for remark in self.remarks]
        for summary, stamp in zip(plain["timestamps"], self.timestamps, strict=True):
            summary["reasons"] = [reason.as_json() for reason in stamp.reasons]
        plain["signer_is_agency"] = self.signer_is_agency
        plain["summary_vi"] = self.summary("vi")
        plain["summary_en"] = self.summary("en")
        return plain

    def summary(self, language: str = "vi") -> str:
        """Returns the verdict in one sentence."""
        code = f"SUMMARY_{self.indication.name}"
        if self.indication is Indication.TOTAL_PASSED and self.expired_since:
            code = "SUMMARY_EXPIRED_SINCE"
        return texts.render(code, {"signer": self.signer or "?", "sub": self.sub_indication or ""}, language)

    def as_text(self, language: str = "vi") -> str:
        """Returns the readable form, in `language` ("vi" or "en")."""
        lines = [self.summary(language)]
        lines += [f"  {texts.render(code, {}, language)}: {value}" for code, value in self._rows(language) if value]
        lines += [f"  - {reason.text(language)}" for reason in (*self.reasons, *self.remarks)]
        return "\n".join(lines)

    def _rows(self, language: str) -> list[tuple[str, str]]:
        def word(prefix: str, token: str) -> str:
            return texts.render(f"{prefix}_{token.upper().replace('-', '_')}", {}, language)

        source = word("SOURCE", self.signing_time_source) if self.signing_time_source else ""
        when = f"{_iso(self.signing_time)} ({source})" if self.signing_time else ""
        certificate = self.certificate
        return [
            ("ROW_INDICATION", " / ".join(filter(None, (self.indication, self.sub_indication)))),
            ("ROW_KIND", " ".join(filter(None, (self.kind, self.level, self.sub_filter)))),
            ("ROW_FIELD", self.field_name or ""),
            ("ROW_SIGNER", self.signer),
            ("ROW_AGENCY", self.signer_agency or ""),
            ("ROW_TITLE", self.signer_title or ""),
            ("ROW_TIME", when),
            ("ROW_BEST_TIME", _iso(self.best_signature_time)),
            ("ROW_INTEGRITY", word("INTEGRITY", self.integrity)),
            ("ROW_COVERAGE", self.coverage),
            ("ROW_CHANGES", word("CHANGES", self.changes_after_signing)),
            ("ROW_ISSUER", certificate.issuer if certificate else ""),
            (
                "ROW_VALIDITY",
                f"{_iso(certificate.not_before)} - {_iso(certificate.not_after)}" if certificate else "",
            ),
            ("ROW_PATH", " <- ".join(step.subject for step in self.path)),
            ("ROW_REVOCATION", word("REVOCATION", self.revocation.state)),
            ("ROW_ALGORITHMS", ", ".join(f"{use.use} {use.name} ({use.strength})" for use in self.algorithms)),
            (
                "ROW_TIMESTAMPS",
                "; ".join(f"{s.kind} {_iso(s.time)} {s.authority} {s.indication}" for s in self.timestamps),
            ),
            ("ROW_JUDGED", f"{_iso(self.judged_at)}; {self.policy_id} {self.policy_version}"),
        ]


def _iso(at: datetime | None) -> str:
    return at.isoformat().replace("+00:00", "Z") if at else ""


def _plain(value: Any) -> Any:  # JSON values are Any by nature
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, StrEnum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureCheck:
    """The result of checking one file: its signatures, the material they rest on, and what could not be checked."""

    reports: tuple[SignatureReport, ...] = ()
    material: Mapping[str, bytes] = field(default_factory=dict)
    """File name -> DER: certificates, CRLs, OCSP responses, time-stamp tokens, as kept in the AIP (R032)."""
    not_checked: tuple[str, ...] = ()
    """Reason codes of what could not be looked at, as `CODE` or `CODE: detail`."""

    @property
    def indication(self) -> Indication | None:
        """The worst indication; None when the file carries no signature."""
        return worst([report.indication for report in self.reports])
