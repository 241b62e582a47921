"""Media types: which names mean the same, which are general names for others.

libmagic and PRONOM name formats differently and to different depth; only names that exclude each other are a
disagreement.
"""

from collections.abc import Mapping
from typing import Final

_SAME: Final[Mapping[str, str]] = {
    "text/xml": "application/xml",
    "application/x-zip-compressed": "application/zip",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-ms-bmp": "image/bmp",
    "image/x-bmp": "image/bmp",
    "text/rtf": "application/rtf",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/x-mpeg": "audio/mpeg",
    "audio/x-hx-aac-adts": "audio/aac",
    "audio/x-aac": "audio/aac",
    "audio/aacp": "audio/aac",
    "video/avi": "video/x-msvideo",
    "video/vnd.avi": "video/x-msvideo",
    "video/msvideo": "video/x-msvideo",
    "application/x-rar-compressed": "application/x-rar",
    "application/vnd.rar": "application/x-rar",
    "application/x-sqlite3": "application/vnd.sqlite3",
    "application/x-pdf": "application/pdf",
    "application/x-gzip": "application/gzip",
    "application/x-dosexec": "application/vnd.microsoft.portable-executable",
    "application/x-pie-executable": "application/x-executable",
    "application/x-sharedlib": "application/x-executable",
    "text/x-csv": "text/csv",
    "application/csv": "text/csv",
    "application/postscript": "application/postscript",
    "video/x-ms-wmv": "video/x-ms-asf",
    "audio/x-ms-wma": "video/x-ms-asf",
    "application/vnd.ms-asf": "video/x-ms-asf",
    "application/mp4": "video/mp4",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
    "image/x-ms-wmf": "image/wmf",
    "windows/metafile": "image/wmf",
    "video/x-m4v": "video/mp4",
    "text/html": "text/html",
    "application/xhtml+xml": "text/html",
}

_OLE: Final = (
    "application/msword",
    "application/vnd.ms-",
    "application/vnd.visio",
    "application/x-mspublisher",
    "application/x-msi",
)
"""What compound files are; libmagic and PRONOM look into them to different depth."""
_OOXML: Final = "application/vnd.openxmlformats-officedocument."
_ODF: Final = "application/vnd.oasis.opendocument."

_GENERAL: Final[Mapping[str, tuple[str, ...]]] = {
    "application/octet-stream": ("",),
    "application/zip": (
        "application/vnd.openxmlformats",
        "application/vnd.oasis",
        "application/vnd.ms-",
        "application/epub",
        "application/java-archive",
        "application/msword",
    ),
    "application/x-ole-storage": _OLE,
    "application/cdfv2": _OLE,
    "application/vnd.ms-office": _OLE,
    # libmagic does not tell documents from their templates and macro-enabled kinds
    f"{_OOXML}wordprocessingml.document": (f"{_OOXML}wordprocessingml.", "application/vnd.ms-word."),
    f"{_OOXML}spreadsheetml.sheet": (f"{_OOXML}spreadsheetml.", "application/vnd.ms-excel."),
    f"{_OOXML}presentationml.presentation": (f"{_OOXML}presentationml.", "application/vnd.ms-powerpoint."),
    # PRONOM does not tell OpenDocument files from their templates
    **{f"{_ODF}{kind}": (f"{_ODF}{kind}-template",) for kind in ("text", "spreadsheet", "presentation", "graphics")},
    "application/encrypted": ("application/msword", "application/vnd."),
    "application/xml": ("image/svg", "application/", "text/html"),
    "text/plain": (
        "text/",
        "application/json",
        "application/xml",
        "application/csv",
        "message/",
        "application/",
        "image/svg",
    ),
    "application/json": ("application/",),
    "text/html": ("application/xml", "text/html"),
    "video/x-ms-asf": ("video/x-ms-asf", "audio/x-ms"),
    "video/mp4": ("audio/mp4", "video/quicktime", "video/3gpp"),
    "audio/mp4": ("video/mp4", "video/quicktime"),
    "video/quicktime": ("video/mp4", "audio/mp4"),
    "video/mpeg": ("video/mp2t", "video/x-mpeg", "video/mp1s", "video/mp2p", "audio/mpeg"),
}


_MISNAMED: Final[Mapping[str, str]] = {
    "DOCX Strict OOXML": f"{_OOXML}wordprocessingml.document",
    "XLSX Strict OOXML": f"{_OOXML}spreadsheetml.sheet",
    "PPTX Strict OOXML": f"{_OOXML}presentationml.presentation",
}
"""Formats, by the start of their name, whose media type in PRONOM is that of another: fmt/1828 names Word's."""


def pronom_mimes(name: str, listed: str) -> tuple[str, ...]:
    """Returns the media types of a PRONOM match from its format name and its comma-separated list."""
    known = next((mime for start, mime in _MISNAMED.items() if name.startswith(start)), None)
    return (known,) if known else tuple(part.strip() for part in listed.split(",") if part.strip())


def canonical(mime: str) -> str:
    """Returns the one name used here for a media type, without parameters."""
    bare = mime.split(";", maxsplit=1)[0].strip().lower()
    return _SAME.get(bare, bare)


def is_container(mime: str) -> bool:
    """Returns whether a canonical media type says of a package only what it is packed as, or not that it is a template."""
    return mime == "application/zip" or mime.startswith(_ODF)


def covers(general: str, specific: str) -> bool:
    """Returns whether `general` is the same as, or a general name for, `specific` (both canonical)."""
    return general == specific or any(specific.startswith(start) for start in _GENERAL.get(general, ()))


def agree(libmagic_mime: str | None, pronom_mimes: tuple[str, ...]) -> bool:
    """Returns whether the two sources can both be right. A source that says nothing does not disagree."""
    if libmagic_mime is None or not pronom_mimes:
        return True
    ours = canonical(libmagic_mime)
    return any(covers(ours, canonical(other)) or covers(canonical(other), ours) for other in pronom_mimes)


def more_specific(libmagic_mime: str | None, pronom_mimes: tuple[str, ...]) -> str | None:
    """Returns the media type to go by: PRONOM's, unless libmagic's is a narrower name for it."""
    if not pronom_mimes:
        return canonical(libmagic_mime) if libmagic_mime else None
    first = canonical(pronom_mimes[0])
    if libmagic_mime is None:
        return first
    ours = canonical(libmagic_mime)
    if ours in map(canonical, pronom_mimes):
        return ours
    return ours if covers(first, ours) and not covers(ours, first) else first
