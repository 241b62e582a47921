"""Whose signature it is: an agency's, an officer's of one, an enterprise's or a person's, read from the certificate's subject.

No field of a certificate says so outright. Public-service certificates (NĐ 68/2024) name the body in O and OU, and in CN either the body
itself or the officer; licensed public authorities (NĐ 23/2025) put UID=CCCD:… or CMND:… into a person's certificate, UID=MST:… into an
enterprise's. Which words and identifiers tell what is data of the signature policy, with its mark; this module only applies it. What
remains unclear is a person: an agency's signature is never presumed.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from archive_service.textfold import folded, lowered


class SignerKind(StrEnum):
    """Who a certificate's subject is."""

    AGENCY = "agency"
    """A body that is no enterprise, and no person."""
    OFFICER = "officer"
    """A person whose certificate names such a body."""
    ENTERPRISE = "enterprise"
    PERSON = "person"
    """A natural person on their own or of an enterprise, and whoever the certificate does not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerRules:
    """How a subject is read; words are compared at the start of a name."""

    personal_attributes: frozenset[str]
    """Attributes (asn1crypto names) only a natural person's subject has."""
    personal_ids: tuple[str, ...]
    """Prefixes before ":" of UID, serialNumber or organizationIdentifier that identify a natural person."""
    agency_words: tuple[str, ...]
    """Folded words an agency's name begins with, whatever else the subject says."""
    agency_words_with_marks: tuple[str, ...]
    """Words as written that mean an agency only where the subject names an organisation too: some are also family names once folded."""
    enterprise_words: tuple[str, ...]
    """Folded words an enterprise's name begins with."""
    basis: str
    mark: str
    """Certainty of the source: V, V-sec, M or I."""

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """Reads the policy file's section."""
        return cls(
            personal_attributes=frozenset(raw["personal_attributes"]),
            personal_ids=tuple(f"{name.casefold()}:" for name in raw["personal_ids"]),
            agency_words=tuple(map(name_key, raw["agency_words"])),
            agency_words_with_marks=tuple(map(_spaced, raw["agency_words_with_marks"])),
            enterprise_words=tuple(map(name_key, raw["enterprise_words"])),
            basis=raw["basis"],
            mark=raw["mark"],
        )

    def kind_of(self, parts: Mapping[str, str]) -> SignerKind:
        """Returns whose certificate it is, from the attributes of its subject by their asn1crypto names."""
        organisation = parts.get("organization_name") or parts.get("organizational_unit_name") or ""
        name = parts.get("common_name") or organisation
        if self._is_personal(parts) or not self._is_body(name, organisation, parts):
            belongs = bool(organisation) and not _begins(name_key(organisation), self.enterprise_words)
            return SignerKind.OFFICER if belongs else SignerKind.PERSON
        enterprise = any(_begins(name_key(text), self.enterprise_words) for text in (name, organisation))
        return SignerKind.ENTERPRISE if enterprise else SignerKind.AGENCY

    def _is_personal(self, parts: Mapping[str, str]) -> bool:
        ids = [parts.get(kind, "").casefold() for kind in ("user_id", "serial_number", "organization_identifier")]
        return bool(self.personal_attributes & set(parts)) or any(text.startswith(self.personal_ids) for text in ids)

    def _is_body(self, name: str, organisation: str, parts: Mapping[str, str]) -> bool:
        key = name_key(name)
        if not key:
            return False
        if _begins(key, self.agency_words) or _begins(key, self.enterprise_words):
            return True
        if not organisation:
            return False
        bodies = {name_key(parts.get(kind, "")) for kind in ("organization_name", "organizational_unit_name")}
        return key in bodies or _begins(_spaced(name), self.agency_words_with_marks)


def name_key(name: str) -> str:
    """Returns a name of a body in the form names are compared in: folded, single spaces, UBND and HĐND written out."""
    words = "".join(char if char.isalnum() else " " for char in folded(name)).split()
    return " ".join(_WRITTEN_OUT.get(word, word) for word in words)


_WRITTEN_OUT = {"ubnd": "uy ban nhan dan", "hdnd": "hoi dong nhan dan", "tand": "toa an nhan dan"}
"""Abbreviations of NĐ 30/2020 practice that stand in certificates and papers alike."""


def _spaced(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", lowered(name)).split())


def _begins(text: str, words: tuple[str, ...]) -> bool:
    return any(text == word or text.startswith(f"{word} ") for word in words)
