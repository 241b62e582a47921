"""Everything that is checked of one file's format, in one call (issue texts: identification, policy, depth).

What this does, in order:
  1. identify by content (libmagic, PRONOM) and compare with the name's extension;
  2. look the format up in the policy: accepted, with warning, to be normalised, refused;
  3. open the file as what it is and check its structure;
  4. measure what the policy asks of digitised papers and of audio and video;
  5. weigh every finding by the policy.

Still the caller's: virus scan (virus.py), signatures (another package), running hostile files in a worker process
(sandbox.py), and keeping the report.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from archive_service.dossier import Component, Origin, Role
from archive_service.errors import StoreUnavailable
from archive_service.formats import cfb
from archive_service.formats.compound import check_compound
from archive_service.formats.container import check_zip
from archive_service.formats.digitised import judge_image, judge_pdf
from archive_service.formats.identify import OCTET_STREAM, Identification, identify_view
from archive_service.formats.image import check_image
from archive_service.formats.limits import DEFAULT, Limits
from archive_service.formats.media import check_media
from archive_service.formats.office import check_package
from archive_service.formats.pdf import check_pdf, check_streams
from archive_service.formats.pdfa import check_claim
from archive_service.formats.plain import check_json, check_rtf, check_text
from archive_service.formats.policy import Depth, FormatPolicy, FormatRule, Treatment
from archive_service.formats.report import FormatReport, Notes
from archive_service.formats.surroundings import look_around
from archive_service.formats.view import FileView
from archive_service.formats.xml import check_xml

__all__ = ["Depth", "FormatReport", "check_file"]


def check_file(
    path: Path,
    *,
    name: str,
    component: Component | None,
    policy: FormatPolicy,
    limits: Limits = DEFAULT,
    depth: str | None = None,
) -> FormatReport:
    """Checks one file's format.

    Args:
        path: where the bytes are.
        name: the name the file goes by; its extension must fit the content.
        component: what the dossier says of the file; decides whether the rules for digitised papers apply.
        policy: the format policy; its id, version and digest belong into the decision (R145).
        limits: bounds of work.
        depth: `identify`, `standard` or `full`; None leaves it to the policy.

    Raises:
        StoreUnavailable: the file cannot be read.
    """
    wanted = Depth(depth) if depth else policy.depth
    try:
        with FileView(path) as content:
            identification = identify_view(content, path, name=name)
            rule = policy.rule_for(identification)
            notes = Notes(location=component.id if component else name, format=_format_name(identification, rule))
            opens = _judge_whole(content, identification, rule, name, policy, wanted, notes)
    except OSError as exc:
        raise StoreUnavailable(f"{name}: {exc}", name=name) from exc
    if opens:
        _check_structure(path, identification, component, policy, limits, wanted, notes)
    return FormatReport(
        identification=identification,
        findings=tuple(weighed for finding in notes.findings if (weighed := policy.weigh(finding))),
        facts=notes.facts,
        not_checked=tuple(notes.not_checked),
        checked=tuple(notes.checked),
    )


def _judge_whole(
    content: FileView,
    identification: Identification,
    rule: FormatRule | None,
    name: str,
    policy: FormatPolicy,
    wanted: Depth,
    notes: Notes,
) -> bool:
    """Judges the file without opening it as what it is; returns whether that is next."""
    if identification.mime == "application/x-empty":
        notes.find("FORMAT_EMPTY", name=name)
        return False
    _judge_identification(identification, rule, name, policy, notes)
    if wanted is Depth.IDENTIFY:
        notes.skipped("structure", "only identification was asked for")
        return False
    if not _may_open(notes):
        return False
    look_around(content, identification.mime, notes)
    return True


def is_digitised(component: Component | None) -> bool:
    """Returns whether the rules for digitised papers apply (R022)."""
    return component is not None and (component.role is Role.DIGITISED or component.origin is Origin.DIGITISED)


def _format_name(identification: Identification, rule: FormatRule | None) -> str:
    if rule is not None and identification.puid not in rule.puids:
        return rule.name
    version = f" {identification.format_version}" if identification.format_version else ""
    return f"{identification.format_name}{version}"


def _may_open(notes: Notes) -> bool:
    """A file that lies about what it is, or is refused, is not opened: the answer stands already."""
    return not any(finding.code in {"FORMAT_REFUSED", "FORMAT_EXTENSION_MISMATCH"} for finding in notes.findings)


# ---------------------------------------------------------------- identification against policy and name


def _judge_identification(
    identification: Identification, rule: FormatRule | None, name: str, policy: FormatPolicy, notes: Notes
) -> None:
    known = identification.by_content or identification.mime != OCTET_STREAM
    if _lies(identification, rule, policy, known=known):
        notes.find("FORMAT_EXTENSION_MISMATCH", extension=identification.extension)
        return
    if not known:
        notes.find("FORMAT_UNKNOWN", name=name)
        return
    if not identification.sources_agree:
        notes.find("FORMAT_DISAGREEMENT", libmagic=identification.libmagic_mime, pronom=identification.puid or "?")
    if identification.libmagic_version is None:
        notes.unchecked("libmagic", next(iter(identification.warnings), ""))
    _judge_treatment(rule, policy, notes)


def _lies(identification: Identification, rule: FormatRule | None, policy: FormatPolicy, *, known: bool) -> bool:
    """Whether the extension promises a format the content is not."""
    extension = identification.extension
    if not extension:
        return False
    claimed = policy.claimed_by_extension(extension)
    if rule is not None:
        free = claimed is None and bool(rule.mimes & _SHELLS)
        return extension not in rule.extensions and not free
    if claimed is None:
        return any("extension mismatch" in warning for warning in identification.warnings)
    return known or not claimed.mimes & _WITHOUT_SIGNATURE


_SHELLS: Final = frozenset({"text/plain", "application/xml", "application/zip", "application/json"})
"""Formats that many others are written in: an extension no row claims is no lie about them."""
_WITHOUT_SIGNATURE: Final = frozenset({"application/pkcs7-mime"})
"""Formats that may be right although nothing recognises them."""


def _judge_treatment(rule: FormatRule | None, policy: FormatPolicy, notes: Notes) -> None:
    if rule is None:
        if policy.unlisted is Treatment.REFUSED:
            notes.find("FORMAT_REFUSED", basis=policy.legal_basis, basis_vi=policy.legal_basis)
        elif policy.unlisted is not Treatment.ACCEPTED:
            notes.find("FORMAT_UNLISTED", policy=f"{policy.id} {policy.version}")
        return
    notes.facts["data_type"] = rule.data_type.value
    notes.facts["treatment"] = rule.treatment.value
    code = _TREATMENT_CODES.get(rule.treatment)
    if code:
        notes.find(code, basis=rule.basis, basis_vi=rule.basis_vi)


_TREATMENT_CODES: Final[Mapping[Treatment, str]] = {
    Treatment.ACCEPTED_WITH_WARNING: "FORMAT_ACCEPTED_WITH_WARNING",
    Treatment.TO_BE_NORMALISED: "FORMAT_TO_BE_NORMALISED",
    Treatment.REFUSED: "FORMAT_REFUSED",
}


# ---------------------------------------------------------------- structure, by kind


def _check_structure(
    path: Path,
    identification: Identification,
    component: Component | None,
    policy: FormatPolicy,
    limits: Limits,
    depth: Depth,
    notes: Notes,
) -> None:
    mime = identification.mime
    try:
        if mime == "application/pdf":
            _pdf(path, component, policy, limits, depth, notes)
        elif mime.startswith("image/") and mime not in _NOT_RASTER:
            check_image(path, mime, notes, limits, decode=depth is Depth.FULL)
            if is_digitised(component):
                judge_image(mime, policy.digitised, notes)
        elif mime.startswith(("audio/", "video/")):
            check_media(path, mime, policy.media, notes, limits)
        elif mime in _BY_MIME:
            _BY_MIME[mime](path, notes, limits)
        elif _is_compound(path):
            check_compound(path, notes, limits)
        else:
            _by_family(path, mime, notes, limits)
    except OSError as exc:
        raise StoreUnavailable(f"{notes.location}: {exc}", location=notes.location) from exc


def _pdf(
    path: Path, component: Component | None, policy: FormatPolicy, limits: Limits, depth: Depth, notes: Notes
) -> None:
    pdf = check_pdf(path, notes, limits)
    if pdf is None:
        return
    with pdf:
        digitised = is_digitised(component)
        if component is not None:
            _compare_pages(component, notes)
        if digitised and component is not None:
            judge_pdf(pdf, component, policy.digitised, notes, limits)
        if depth is Depth.FULL:
            check_streams(pdf, path, notes)
        claim = notes.facts.get("pdfa_claim")
        if not isinstance(claim, str):
            return
        if depth is Depth.FULL or (digitised and policy.digitised.pdfa_check):
            check_claim(pdf, path, claim, notes, limits)
        else:
            notes.skipped("PDF/A claim", "not tested at this depth")


def _compare_pages(component: Component, notes: Notes) -> None:
    found = notes.facts.get("pages")
    if component.pages is not None and isinstance(found, int) and found != component.pages:
        notes.find("COMPONENT_PAGES_DIFFER", declared=component.pages, found=found)


def _is_compound(path: Path) -> bool:
    with path.open("rb") as source:
        return source.read(len(cfb.SIGNATURE)) == cfb.SIGNATURE


def _by_family(path: Path, mime: str, notes: Notes, limits: Limits) -> None:
    if mime.startswith(("application/vnd.openxmlformats", "application/vnd.oasis")) or "macroenabled" in mime:
        check_package(path, notes, limits)
    elif mime.endswith("+xml"):
        check_xml(path, notes, limits)
    elif mime.startswith("text/"):
        check_text(path, notes, limits)
    else:
        notes.skipped("structure", f"no check for {mime}")


_NOT_RASTER: Final = frozenset({"image/svg+xml", "image/wmf", "image/emf", "image/vnd.dwg", "image/vnd.dxf"})

_BY_MIME: Final[Mapping[str, Callable[[Path, Notes, Limits], None]]] = {
    "application/xml": check_xml,
    "application/json": check_json,
    "application/rtf": check_rtf,
    "application/zip": check_zip,
}
