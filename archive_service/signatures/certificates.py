"""Reading X.509 certificates for people: names, agency, title, key usage. Hostile fields are shown, never trusted or raised."""

import hashlib
import unicodedata
from typing import Any, Final

from asn1crypto import x509

from archive_service.signatures.algorithms import key_family
from archive_service.signatures.report import CertificateSummary

MAX_NAME_LENGTH: Final = 400
"""A name longer than this is cut for display: certificates can carry megabytes in one field."""


def display(text: str) -> str:
    """Returns text fit to show: control, format and unpaired characters replaced, cut to `MAX_NAME_LENGTH`."""
    clean = "".join(char if unicodedata.category(char)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for char in text)
    return clean if len(clean) <= MAX_NAME_LENGTH else clean[:MAX_NAME_LENGTH] + "…"


def name_parts(name: x509.Name) -> dict[str, str]:
    """Returns the attributes of a distinguished name by their asn1crypto names; the first of each kind wins."""
    parts: dict[str, str] = {}
    try:
        for rdn in name.chosen:
            for entry in rdn:
                parts.setdefault(entry["type"].native, display(str(entry["value"].native)))
    except (ValueError, TypeError, KeyError, UnicodeError):
        return parts
    return parts


def name_text(name: x509.Name) -> str:
    """Returns a distinguished name in one line, most specific part first."""
    parts = name_parts(name)
    short = {
        "common_name": "CN",
        "organization_name": "O",
        "organizational_unit_name": "OU",
        "country_name": "C",
        "title": "T",
        "email_address": "E",
        "serial_number": "SN",
        "state_or_province_name": "ST",
        "locality_name": "L",
        "user_id": "UID",
    }
    order = {kind: index for index, kind in enumerate(short)}
    ranked = sorted(parts.items(), key=lambda item: order.get(item[0], len(order)))
    return display(", ".join(f"{short.get(kind, kind)}={value}" for kind, value in ranked)) or "(no name)"


def signer_name(certificate: x509.Certificate) -> str:
    """Returns the name by which the signer is shown: common name, else organisation, else the whole name."""
    parts = name_parts(certificate.subject)
    return parts.get("common_name") or parts.get("organization_name") or name_text(certificate.subject)


def signer_agency(certificate: x509.Certificate) -> str | None:
    """Returns organisation and unit of the signer."""
    parts = name_parts(certificate.subject)
    found = [parts[kind] for kind in ("organizational_unit_name", "organization_name") if kind in parts]
    return ", ".join(found) or None


def signer_title(certificate: x509.Certificate) -> str | None:
    """Returns the signer's title (NĐ 23/2025 Đ13-14: shown for an authorised person)."""
    return name_parts(certificate.subject).get("title")


def organisation_identifier(certificate: x509.Certificate) -> str | None:
    """Returns the subject's organizationIdentifier (X.520), where a certificate carries an agency's code or tax number."""
    return name_parts(certificate.subject).get("organization_identifier")


def summarise(certificate: x509.Certificate) -> CertificateSummary:
    """Returns the summary of a certificate."""
    key_usage = certificate.key_usage_value
    extended = certificate.extended_key_usage_value
    try:
        family, bits = key_family(certificate.public_key)
        public_key = f"{family} {bits}"
    except (ValueError, TypeError, KeyError):
        public_key = "unknown"
    return CertificateSummary(
        subject=name_text(certificate.subject),
        issuer=name_text(certificate.issuer),
        serial=f"{certificate.serial_number:x}"[:80],
        not_before=certificate.not_valid_before,
        not_after=certificate.not_valid_after,
        key_usage=_sorted(key_usage),
        extended_key_usage=_sorted(extended),
        public_key=public_key,
        sha256=hashlib.sha256(certificate.dump()).hexdigest(),
    )


def _sorted(value: Any) -> tuple[str, ...]:  # asn1crypto is untyped
    return tuple(sorted(map(str, value.native))) if value is not None else ()
