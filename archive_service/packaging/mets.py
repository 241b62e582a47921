"""METS.xml of the package and of its representation, as E-ARK CSIP 2.0.4 to 2.2.0 and the AIP profile 2.2.0 ask.

Clause by clause (CSIP numbers): 1-6 root element, 117 and 7-16 header, 17-30 dmdSec, 31-44 amdSec, 58-79 fileSec, 80-112
structMap; AIPM1-AIPM7 of the AIP profile. METS is the default namespace, as validators exist that find elements by their
names as written. Every id of both documents is different (CSIP 2.0.4: unique within the package); ids of files begin with
"ID".
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from archive_service.packaging import layout
from archive_service.packaging.content import AipContent
from archive_service.packaging.profile import PackageProfile
from archive_service.packaging.xml_text import DECLARATION, xml, xml_time
from archive_service.packaging.zip_writer import AipEntry

METS_NS: Final = "http://www.loc.gov/METS/"
CSIP_NS: Final = "https://DILCIS.eu/XML/METS/CSIPExtensionMETS"
XLINK_NS: Final = "http://www.w3.org/1999/xlink"
_SCHEMA_LOCATION: Final = (
    f"{METS_NS} http://www.loc.gov/standards/mets/mets.xsd "
    f"{CSIP_NS} https://earkcsip.dilcis.eu/schema/DILCISExtensionMETS.xsd "
    f"{XLINK_NS} http://www.loc.gov/standards/xlink/xlink.xsd"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataReference:
    """A metadata file that METS points to with mdRef."""

    id: str
    """ID of its dmdSec or digiprovMD."""
    href: str
    entry: AipEntry
    md_type: str
    """METS MDTYPE."""
    other_type: str | None = None
    type_version: str | None = None
    media_type: str = "application/xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileReference:
    """A file that METS lists in a file group."""

    id: str
    href: str
    entry: AipEntry
    media_type: str
    owner_id: str | None = None
    """The sender's id of the file (CSIP73)."""
    dmd_id: str | None = None
    adm_id: str | None = None


class MetsWriter:
    """Writes both METS documents of one package; holds what they share."""

    def __init__(self, content: AipContent, profile: PackageProfile, urn: str) -> None:
        self._content = content
        self._profile = profile
        self._urn = urn
        self._time = xml_time(content.at)
        self._content_type = (
            f' csip:CONTENTINFORMATIONTYPE="{profile.content_information_type}"'
            f' csip:OTHERCONTENTINFORMATIONTYPE="{xml(profile.other_content_information_type)}"'
        )

    def root(
        self,
        objid: str,
        described: Sequence[MetadataReference],
        preserved: Sequence[MetadataReference],
        groups: Sequence[tuple[str, str, Sequence[FileReference]]],
    ) -> bytes:
        """Returns the package METS; `groups` are (ID, USE, files), the representation's group last."""
        rep_group = groups[-1]
        parts = [self._open(objid, self._content.dossier.title), self._header()]
        parts += [self._described(reference) for reference in described]
        parts += self._preserved("ID-root-amd", preserved)
        parts.append('<fileSec ID="ID-root-filesec">\n')
        for group_id, use, files in groups:
            parts.append(self._group(group_id, use))
            parts += [self._file(file) for file in files]
            parts.append("</fileGrp>\n")
        parts += ["</fileSec>\n", *_struct_map("root", objid, described, preserved)]
        for group_id, use, _ in groups[:-1]:
            parts.append(f'<div ID="ID-root-div-{use.lower()}" LABEL="{use}"><fptr FILEID="{group_id}"/></div>\n')
        parts.append(
            f'<div ID="ID-root-div-{layout.REP_ID}" LABEL="{rep_group[1]}">'
            f'<mptr LOCTYPE="URL" xlink:type="simple"'
            f' xlink:href="{layout.REP_METS}" xlink:title="{rep_group[0]}"/></div>\n'
            "</div>\n</structMap>\n</mets>\n"
        )
        return "".join(parts).encode()

    def representation(
        self,
        described: Iterable[MetadataReference],
        preserved: Sequence[MetadataReference],
        files: Iterable[FileReference],
    ) -> Iterator[bytes]:
        """Yields the representation METS; `described` and `files` are run through once, as they come."""
        yield (self._open(layout.REP_ID, layout.REP_ID) + self._header()).encode()
        ids: list[str] = []
        for reference in described:
            ids.append(reference.id)
            yield self._described(reference).encode()
        group_id = "ID-rep1-grp-data"
        yield "".join(
            (
                *self._preserved("ID-rep1-amd", preserved),
                '<fileSec ID="ID-rep1-filesec">\n',
                self._group(group_id, f"Representations/{layout.REP_ID}/data"),
            )
        ).encode()
        for file in files:
            yield self._file(file).encode()
        yield "".join(
            (
                "</fileGrp>\n</fileSec>\n",
                *_struct_map_ids("rep1", layout.REP_ID, ids, [reference.id for reference in preserved]),
                f'<div ID="ID-rep1-div-data" LABEL="Data"><fptr FILEID="{group_id}"/></div>\n',
                "</div>\n</structMap>\n</mets>\n",
            )
        ).encode()

    # ------------------------------------------------------------ pieces

    def _open(self, objid: str, label: str) -> str:
        profile_url = self._profile.profile_urls[str(self._content.csip_version)]
        return (
            f'{DECLARATION}<mets xmlns="{METS_NS}" xmlns:csip="{CSIP_NS}" xmlns:xlink="{XLINK_NS}"'
            ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
            f' xsi:schemaLocation="{_SCHEMA_LOCATION}" OBJID="{objid}" LABEL="{xml(label)}"'
            f' TYPE="{self._profile.mets_type}" PROFILE="{profile_url}"{self._content_type}>\n'
        )

    def _header(self) -> str:
        content = self._content
        previous = (
            f'<altRecordID TYPE="PREVIOUSOBJID">{xml(content.previous_objid)}</altRecordID>\n'
            if content.previous_objid is not None
            else ""
        )
        return (
            f'<metsHdr CREATEDATE="{self._time}" LASTMODDATE="{self._time}"'
            f' RECORDSTATUS="{content.dossier.record_status.value}" csip:OAISPACKAGETYPE="AIP">\n'
            '<agent ROLE="CREATOR" TYPE="OTHER" OTHERTYPE="SOFTWARE"><name>archive-service</name>'
            f'<note csip:NOTETYPE="SOFTWARE VERSION">{xml(content.software_version)}</note></agent>\n'
            '<agent ROLE="ARCHIVIST" TYPE="ORGANIZATION">'
            f"<name>{xml(content.dossier.archiving_agency)}</name>"
            f'<note csip:NOTETYPE="IDENTIFICATIONCODE">{xml(content.archive_code)}</note></agent>\n'
            f'<altRecordID TYPE="URN">{xml(self._urn)}</altRecordID>\n'
            f'<altRecordID TYPE="DOSSIERCODE">{xml(content.dossier.dossier_code)}</altRecordID>\n'
            f"{previous}</metsHdr>\n"
        )

    def _reference(self, reference: MetadataReference) -> str:
        other = f' OTHERMDTYPE="{reference.other_type}"' if reference.other_type else ""
        version = f' MDTYPEVERSION="{reference.type_version}"' if reference.type_version else ""
        return (
            f'<mdRef ID="{reference.id}-ref" LOCTYPE="URL" xlink:type="simple" xlink:href="{reference.href}"'
            f' MDTYPE="{reference.md_type}"{other}{version} MIMETYPE="{reference.media_type}"'
            f' SIZE="{reference.entry.size_bytes}" CREATED="{self._time}"'
            f' CHECKSUM="{reference.entry.digest.hex}" CHECKSUMTYPE="SHA-256"/>'
        )

    def _described(self, reference: MetadataReference) -> str:
        mark = f'ID="{reference.id}" CREATED="{self._time}" STATUS="CURRENT"'
        return f"<dmdSec {mark}>{self._reference(reference)}</dmdSec>\n"

    def _preserved(self, section_id: str, references: Sequence[MetadataReference]) -> Iterator[str]:
        yield f'<amdSec ID="{section_id}">\n'
        for reference in references:
            mark = f'ID="{reference.id}" CREATED="{self._time}" STATUS="CURRENT"'
            yield f"<digiprovMD {mark}>{self._reference(reference)}</digiprovMD>\n"
        yield "</amdSec>\n"

    def _group(self, group_id: str, use: str) -> str:
        kind = self._content_type if use.startswith("Representations") else ""
        return f'<fileGrp ID="{group_id}" USE="{use}"{kind}>\n'

    def _file(self, file: FileReference) -> str:
        owner = f' OWNERID="{xml(file.owner_id)}"' if file.owner_id else ""
        described = f' DMDID="{file.dmd_id}"' if file.dmd_id else ""
        preserved = f' ADMID="{file.adm_id}"' if file.adm_id else ""
        return (
            f'<file ID="{file.id}" MIMETYPE="{file.media_type}" SIZE="{file.entry.size_bytes}"'
            f' CREATED="{self._time}"'
            f' CHECKSUM="{file.entry.digest.hex}" CHECKSUMTYPE="SHA-256"{owner}{preserved}{described}>'
            f'<FLocat LOCTYPE="URL" xlink:type="simple" xlink:href="{file.href}"/></file>\n'
        )


def _struct_map(
    name: str, objid: str, described: Sequence[MetadataReference], preserved: Sequence[MetadataReference]
) -> Iterator[str]:
    return _struct_map_ids(name, objid, [item.id for item in described], [item.id for item in preserved])


def _struct_map_ids(name: str, objid: str, described: Sequence[str], preserved: Sequence[str]) -> Iterator[str]:
    yield (
        f'<structMap ID="ID-{name}-structmap" TYPE="PHYSICAL" LABEL="CSIP">\n'
        f'<div ID="ID-{name}-div" LABEL="{objid}">\n<div ID="ID-{name}-div-metadata" LABEL="Metadata"'
    )
    yield f' ADMID="{" ".join(preserved)}" DMDID="{" ".join(described)}"/>\n'
