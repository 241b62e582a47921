"""What a file is, by content: libmagic for the media type, PRONOM (Siegfried) for the format (D9, R021).

PRONOM says what a file claims to be, not that it is sound (STANDARDS 1.6); the checks of the other modules say that.
libmagic comes from the `pylibmagic` wheel with its own database; a system library of another version is never mixed
with that database. Where it cannot be loaded, identification goes on with PRONOM alone and says so in `warnings`.

Siegfried runs Go code inside this process: after the first call a process must not be forked without exec
(sandbox.py spawns).
"""

import ctypes
import importlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final

from archive_service.errors import StoreUnavailable
from archive_service.formats.mime import agree, more_specific, pronom_mimes
from archive_service.formats.view import FileView
from archive_service.scratch import process_scratch

OCTET_STREAM: Final = "application/octet-stream"
NO_LIBMAGIC: Final = "libmagic not checked: "
"""Start of the warning that says why only PRONOM was asked."""

_EMPTY: Final = "application/x-empty"
_PLAIN_MAGIC_BYTES: Final = 2 * 1024
"""What libmagic is given of a PDF or JPEG, whose first bytes say it all; it would go on to count pages."""
_HEAD_BYTES: Final = 128
_TAIL_BYTES: Final = 256
"""Headers of PDF and JPEG and their end marks normally lie within these; where not, the whole file is asked."""
_EXIF_WINDOW_BYTES: Final = 4 * 1024
_MARK_BYTES: Final = 320
_SEARCH_BYTES: Final = 16 * 1024 * 1024
"""How far from either end of a PDF markers of PDF/A, PDF/X, PDF/E and PDF/VT are looked for."""
_LONG_BYTES: Final = 64 * 1024 * 1024
"""Recordings longer than this are identified by their ends."""
_MEDIA_TAIL_BYTES: Final = 64 * 1024
_WINDOW_FROM_BYTES: Final = 1024
"""Smaller files are given to PRONOM whole."""
_XMP_MARK: Final = (b"pdf", re.compile(rb"pdf(?:aid|xid|vtid|uaid|a/ns)"))
_OTHER_MARK: Final = (b"_PDF", re.compile(rb"_PDF[XAVE]"))
"""What the signatures of PDF sub-formats contain: a short text to find fast, and how it must go on."""
_RDF: Final = b"http://www.w3.org/1999/02/22-rdf-syntax-ns#"
"""Stands in every XMP packet; a long text is found in a fifth of the time of a short one."""
_VERSION_BYTES: Final = 8
"""`%PDF-1.7`."""
_WINDOWS_KEPT: Final = 512
"""Answers of PRONOM kept, of at most about 7 KB each."""
_MAX_MARKS: Final = 16
"""Places of one kind looked at."""
_MAX_FOUND: Final = 20_000
"""Occurrences of the short text gone through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identification:
    """What one file is."""

    mime: str
    """The more specific of what libmagic and PRONOM say; `application/octet-stream` when neither knows."""
    puid: str | None
    """PRONOM unique identifier, for example `fmt/354`; None when PRONOM has no match by content, or several that
    contradict."""
    format_name: str
    format_version: str | None
    basis: str
    """What the identification rests on, in Siegfried's words."""
    warnings: tuple[str, ...]
    """Doubts: several PRONOM matches, match by extension only, libmagic not loaded, the two sources disagree."""
    pronom_release: str
    """Signature file release, for example `DROID_SignatureFile_V125`."""
    libmagic_version: int | None
    """None: libmagic could not be loaded."""
    extension: str = ""
    """Lower-case extension of the name, without the dot."""
    libmagic_mime: str | None = None
    candidates: tuple[str, ...] = ()
    """Every PUID PRONOM offered, in its order."""
    by_content: bool = True
    """False: PRONOM went by the extension alone."""
    sources_agree: bool = True
    """False: libmagic and PRONOM name formats that exclude each other."""


def identify(path: Path, *, name: str) -> Identification:
    """Identifies a file by content.

    Args:
        path: where the bytes are; its own name is not looked at.
        name: the name the file goes by; its extension helps PRONOM to choose between text formats.

    Raises:
        StoreUnavailable: the file cannot be opened or read.
    """
    try:
        with FileView(path) as content:
            return identify_view(content, path, name=name)
    except OSError as exc:
        raise StoreUnavailable(f"{name}: {exc}", name=name) from exc


def identify_view(content: FileView, path: Path, *, name: str) -> Identification:
    """Identifies the file at `path` that is open already; see `identify`.

    Raises:
        OSError: it cannot be read.
    """
    extension = extension_of(name)
    libmagic_mime, warning = _ask_libmagic(content.head)
    libmagic_mime = _refine(libmagic_mime, content.head, extension)
    window = _window(content) if content.size > _WINDOW_FROM_BYTES else None
    if window is not None:
        told = _identified_by_window(window, libmagic_mime, warning, extension)
        if told is not None:
            return told
    ends = _media_ends(content, libmagic_mime)
    if ends is not None:
        answer = _siegfried(_Bytes(ends), extension)
        if _one_match_by_bytes(answer):
            return _combine(answer, libmagic_mime, [warning] if warning else [], extension, content.size)
    answer = _siegfried(path, extension)
    return _combine(answer, libmagic_mime, [warning] if warning else [], extension, content.size)


def load() -> None:
    """Loads both sources of identification, whose first use costs time and address space (Go reserves much)."""
    sample = process_scratch() / f"{threading.get_ident()}-load.txt"
    sample.write_bytes(b"a\n")
    identify(sample, name=sample.name)
    sample.unlink()


_XML_START: Final = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!DOCTYPE\s+(?!html)|!--|[A-Za-z_])")
_UTF16_XML: Final = (b"\xff\xfe<\0", b"\xfe\xff\0<", b"<\0?\0", b"\0<\0?")
_CMS_PEM: Final = (b"-----BEGIN PKCS7-----", b"-----BEGIN CMS-----")
_CMS_DER: Final = re.compile(
    rb"\x30(?:[\x00-\x7f]|\x80|\x81.|\x82..|\x83...|\x84....)\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02", re.DOTALL
)
_XML_EXTENSIONS: Final = frozenset(
    {"xml", "xsd", "xsl", "xslt", "rdf", "gml", "kml", "xades", "fodt", "fods", "fodp", "fodg"}
)


def _refine(libmagic_mime: str | None, head: bytes, extension: str) -> str | None:
    """Returns the narrower type where libmagic stays at plain text or raw bytes: XML without declaration, CMS."""
    if libmagic_mime not in {None, OCTET_STREAM, "text/plain", "text/html"}:
        return libmagic_mime
    if head.startswith(_UTF16_XML) or (extension in _XML_EXTENSIONS and _XML_START.match(head)):
        return "application/xml"
    if libmagic_mime == "text/plain" and head.lstrip().startswith((b"<?xml", b"<!DOCTYPE", b"<!ENTITY")):
        return "application/xml"
    if head.startswith(_CMS_PEM) or _CMS_DER.match(head):
        return "application/pkcs7-mime"
    return libmagic_mime


def extension_of(name: str) -> str:
    """Returns the lower-case extension of a file name, without the dot; empty when there is none."""
    stem, _, extension = name.replace("\\", "/").rpartition("/")[2].rpartition(".")
    return extension.lower() if stem else ""


def _combine(
    answer: Mapping[str, Any], libmagic_mime: str | None, warnings: list[str], extension: str, size: int
) -> Identification:
    matches = [match for match in answer["files"][0]["matches"] if match["id"] not in {"", "UNKNOWN"}]
    contentful = [match for match in matches if "match on extension only" not in match["warning"]]
    ambiguous = len(contentful) > 1
    best = contentful[0] if len(contentful) == 1 else None
    if ambiguous:
        warnings.append("PRONOM offers several formats: " + ", ".join(match["id"] for match in contentful))
    elif matches and not contentful:
        warnings.append("PRONOM goes by the extension only: " + ", ".join(match["id"] for match in matches))
    if best and best["warning"]:
        warnings.append(str(best["warning"]))
    named = pronom_mimes(best["format"], best["mime"]) if best else ()
    agreeing = agree(libmagic_mime, named)
    if not agreeing:
        warnings.append(f"libmagic says {libmagic_mime}, PRONOM says {', '.join(named)}")
    mime = _EMPTY if size == 0 else more_specific(libmagic_mime, named) or OCTET_STREAM
    return Identification(
        mime=mime,
        puid=best["id"] if best else None,
        format_name=best["format"] if best else _plain_name(mime),
        format_version=(best["version"] or None) if best else None,
        basis=best["basis"] if best else ("libmagic" if libmagic_mime else "none"),
        warnings=tuple(warnings),
        pronom_release=str(answer["identifiers"][0]["details"]),
        libmagic_version=_libmagic().version,
        extension=extension,
        libmagic_mime=libmagic_mime,
        candidates=tuple(match["id"] for match in matches),
        by_content=bool(contentful),
        sources_agree=agreeing,
    )


def _plain_name(mime: str) -> str:
    return "empty file" if mime == _EMPTY else ("unknown" if mime == OCTET_STREAM else mime)


# ---------------------------------------------------------------- libmagic


@dataclass(frozen=True, slots=True, kw_only=True)
class _Libmagic:
    """The loaded library, or why there is none."""

    new_cookie: Callable[[], Any] | None  # python-magic is untyped
    version: int | None
    reason: str = ""


_cookies = threading.local()


@cache
def _libmagic() -> _Libmagic:
    """Loads libmagic from its wheel once, leaving the process environment and ctypes as they were.

    Importing `pylibmagic` patches `ctypes.CDLL` and sets LD_LIBRARY_PATH and MAGIC for every later child process;
    both are undone.
    """
    keys = ("MAGIC", "LD_LIBRARY_PATH", "LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PATH")
    before = {key: os.environ.get(key) for key in keys}
    init = ctypes.CDLL.__init__
    try:
        pylibmagic = importlib.import_module("pylibmagic")  # first: it is what lets python-magic find the library
        magic = importlib.import_module("magic")

        folder = Path(str(pylibmagic.data))
        database = folder / "magic.mgc"
        loaded = Path(getattr(magic.libmagic, "_name", ""))  # the only thing that tells which library it is
        if loaded.parent != folder or not database.is_file():
            return _Libmagic(
                new_cookie=None, version=None, reason="the library found is not the one the database belongs to"
            )
        version = int(magic.version())
        return _Libmagic(new_cookie=lambda: magic.Magic(mime=True, magic_file=str(database)), version=version)
    except (ImportError, OSError, AttributeError) as exc:
        return _Libmagic(new_cookie=None, version=None, reason=str(exc) or type(exc).__name__)
    finally:
        ctypes.CDLL.__init__ = init  # type: ignore[method-assign] # undo pylibmagic's patch
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _ask_libmagic(head: bytes) -> tuple[str | None, str | None]:
    """Returns the media type, or None and the reason why there is none; more than the head changes nothing for the formats met here."""
    if not head:
        return None, None
    if head.startswith((b"%PDF-", b"\xff\xd8\xff")):
        head = head[:_PLAIN_MAGIC_BYTES]
    library = _libmagic()
    if library.new_cookie is None:
        return None, NO_LIBMAGIC + library.reason
    import magic

    try:
        if not hasattr(_cookies, "cookie"):  # a cookie must not be shared between threads
            _cookies.cookie = library.new_cookie()
        return str(_cookies.cookie.from_buffer(head)), None
    except magic.MagicException as exc:
        return None, f"{NO_LIBMAGIC}{exc.message}"


# ---------------------------------------------------------------- PRONOM


@lru_cache(maxsize=_WINDOWS_KEPT)
def _identified_by_window(
    window: bytes, libmagic_mime: str | None, warning: str | None, extension: str
) -> Identification | None:
    """Identifies a PDF or JPEG by the parts that PRONOM's signatures look at; None when those do not tell.

    Siegfried costs about 4 ms for 128 KB because it searches for every variable-offset signature; a JPEG is told by its head, a PDF by its
    head, its tail and the markers of its sub-formats. When the parts do not give exactly one match by content the whole file is asked.
    The same parts get the same answer, and scanners and office programs write the same again and again.
    """
    answer = _siegfried(_Bytes(window), extension)
    if not _one_match_by_bytes(answer):
        return None
    return _combine(answer, libmagic_mime, [warning] if warning else [], extension, len(window))


def _one_match_by_bytes(answer: Mapping[str, Any]) -> bool:
    matches = answer["files"][0]["matches"]
    return len(matches) == 1 and "byte match" in matches[0]["basis"]


def _window(content: FileView) -> bytes | None:
    head = content.head
    if head.startswith(b"\xff\xd8\xff"):
        length = _EXIF_WINDOW_BYTES if b"Exif\0" in head[:_EXIF_WINDOW_BYTES] else _HEAD_BYTES
        return head[:length] + _tail(content)
    if head.startswith(b"%PDF-"):
        start, end = _plain(head[:_HEAD_BYTES], _tail(content))
        return start + _pdf_marks(content) + b"\n" + end
    return None


def _media_ends(content: FileView, libmagic_mime: str | None) -> bytes | None:
    """Returns both ends of a long recording, which are all that signatures of audio and video look at; Siegfried would read gigabytes."""
    if content.size <= _LONG_BYTES or not (libmagic_mime or "").startswith(("audio/", "video/")):
        return None
    return content.head + content.part(content.size - _MEDIA_TAIL_BYTES, content.size)


_VARYING: Final = re.compile(rb"<[0-9A-Fa-f]+>|[0-9]+")
_DATE: Final = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.+-]*")


def _plain(head: bytes, tail: bytes) -> tuple[bytes, bytes]:
    """Returns both ends of a PDF without what differs from file to file and no signature looks at: numbers, file ids, stream bytes."""
    version, rest = head[:_VERSION_BYTES], head[_VERSION_BYTES:].partition(b"stream")[0]
    tail = tail[max(tail.rfind(b"endstream"), tail.rfind(b"trailer"), 0) :]
    return version + _VARYING.sub(b"0", rest), _VARYING.sub(b"0", tail)


def _tail(content: FileView) -> bytes:
    return content.part(max(0, content.size - _TAIL_BYTES), content.size)


def _pdf_marks(content: FileView) -> bytes:
    """Returns the surroundings of the markers of PDF sub-formats, in file order."""
    pieces = [piece for part in _searched(content) for piece in _around_marks(part)]
    return _DATE.sub(b"", b"\n".join(pieces))


def _searched(content: FileView) -> Iterator[bytes]:
    """Yields the parts of a PDF that are searched: all of it, or much of its start and of its end."""
    size = content.size
    yield content.part(0, _SEARCH_BYTES)
    if size > _SEARCH_BYTES:
        yield content.part(max(_SEARCH_BYTES, size - _SEARCH_BYTES), size)


def _around_marks(part: bytes) -> Iterator[bytes]:
    covered = 0
    marks = (_XMP_MARK, _OTHER_MARK) if _RDF in part else (_OTHER_MARK,)
    for place in sorted(place for text, mark in marks for place in islice(_places(part, text, mark), _MAX_MARKS)):
        if place >= covered:
            covered = place + _MARK_BYTES
            yield part[max(0, place - 64) : covered]


def _places(part: bytes, text: bytes, mark: re.Pattern[bytes]) -> Iterator[int]:
    if part.rfind(text) < 0:  # as nearly always, and told from the end in a third of the time
        return
    start = -1
    for _ in range(_MAX_FOUND):
        start = part.find(text, start + 1)
        if start < 0:
            return
        if mark.match(part, start):
            yield start


@dataclass(frozen=True, slots=True)
class _Bytes:
    content: bytes


def _siegfried(source: Path | _Bytes, extension: str) -> Mapping[str, Any]:
    """Asks Siegfried under a name that has the file's extension, since staged files are named by id."""
    import pygfried

    if isinstance(source, Path) and extension_of(source.name) == extension and _can_be_named(source):
        return _detailed(pygfried, source)
    safe = re.sub(r"[^a-z0-9]", "", extension)[:16]
    alias = process_scratch() / (f"{threading.get_ident()}.{safe}" if safe else str(threading.get_ident()))
    if isinstance(source, _Bytes) and safe in _USUAL_EXTENSIONS:
        # Written over again and again: making and removing a file costs more than asking.
        alias = alias.with_stem(f"window-{alias.stem}")
        alias.write_bytes(source.content)
        return _detailed(pygfried, alias)
    try:
        if isinstance(source, Path):
            alias.symlink_to(source.resolve())
        else:
            alias.write_bytes(source.content)
        return _detailed(pygfried, alias)
    finally:
        alias.unlink(missing_ok=True)


_USUAL_EXTENSIONS: Final = frozenset({"pdf", "jpg", "jpeg"})


def _can_be_named(path: Path) -> bool:
    """Returns whether a path can be given to Siegfried, which takes UTF-8 only and answers in JSON without escaping what a name holds."""
    name = str(path)
    return name.isprintable() and '"' not in name and "\\" not in name


def _detailed(pygfried: Any, path: Path) -> Mapping[str, Any]:  # an extension module
    answer: Mapping[str, Any] = pygfried.identify(str(path), detailed=True)
    return answer
