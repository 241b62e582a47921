"""Colour and transparency under PDF/A-2 and PDF/A-3 (ISO 19005-2, 6.2.4, 6.2.5, 6.2.10), and ICC profiles of every part.

Profiles are judged by their header; nothing is computed with them.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, Final

import pikepdf

from archive_service.formats.pdf import name_text
from archive_service.formats.pdfa_xmp import Problem

_ICC_HEADER: Final = 128
_ICC_CLASSES: Final = frozenset({b"prtr", b"mntr", b"scnr", b"spac"})
_ICC_COMPONENTS: Final = {b"GRAY": 1, b"RGB ": 3, b"Lab ": 3, b"CMYK": 4}
_ICC_NEXT_VERSION: Final = 5
_BLEND_MODES: Final = frozenset(
    {"/Normal", "/Compatible", "/Multiply", "/Screen", "/Overlay", "/Darken", "/Lighten", "/ColorDodge", "/ColorBurn", "/HardLight",
     "/SoftLight", "/Difference", "/Exclusion", "/Hue", "/Saturation", "/Color", "/Luminosity"}
)  # fmt: skip
_PROCESS: Final = frozenset({"/Cyan", "/Magenta", "/Yellow", "/Black", "/None", "/All"})
_HALFTONES: Final = frozenset({1, 5})
_MANY_HALFTONES: Final = 5
_OPAQUE: Final = 1e-5
"""Opacities nearer to 1 than this are 1: producers round."""


def profile_problems(space: Any) -> Iterator[Problem]:
    """Yields what is wrong with the profile of an ICCBased colour space; the clause is that of part 1 (6.2.3.2)."""
    profile = space[1] if len(space) > 1 else None
    if not isinstance(profile, pikepdf.Stream):
        yield "6.2.3.2", "an ICCBased colour space without a profile"
        return
    header = bytes(profile.read_bytes()[:_ICC_HEADER])
    components = _ICC_COMPONENTS.get(header[16:20])
    if len(header) < _ICC_HEADER or header[36:40] != b"acsp" or components is None:
        yield "6.2.3.2", "an ICCBased colour space whose profile is no ICC profile"
    elif header[12:16] not in _ICC_CLASSES or header[8] >= _ICC_NEXT_VERSION:
        yield "6.2.3.2", "an ICCBased colour space with a profile of the wrong class or version"
    elif int(profile.get("/N", 0)) != components:
        yield "6.2.3.2", "an ICCBased colour space that counts other components than its profile"


def state_problems(state: Any) -> Iterator[Problem]:
    """Yields what is wrong with a graphics state dictionary: blend modes, halftones (6.2.5, 6.2.10)."""
    modes = state.get("/BM")
    for mode in list(modes) if isinstance(modes, pikepdf.Array) else [modes]:
        if mode is not None and str(mode) not in _BLEND_MODES:
            yield "6.2.10", "a blend mode that PDF does not define"
    if "/HTP" in state:
        yield "6.2.5", "a halftone phase"
    halftone = state.get("/HT")
    if isinstance(halftone, (pikepdf.Dictionary, pikepdf.Stream)):
        yield from _halftone(halftone)


def _halftone(halftone: Any) -> Iterator[Problem]:
    kind = halftone.get("/HalftoneType")
    if kind not in _HALFTONES:
        yield "6.2.5", "a halftone that is not of type 1 or 5"
    if "/HalftoneName" in halftone:
        yield "6.2.5", "a halftone with a name"
    if kind == _MANY_HALFTONES:
        for key, inner in halftone.items():
            if isinstance(inner, (pikepdf.Dictionary, pikepdf.Stream)) and "/HalftoneName" in inner:
                yield "6.2.5", f"a halftone with a name, for {key[1:]}"


def is_transparent(state: Any) -> bool:
    """Whether a graphics state makes what is painted with it transparent."""
    modes = state.get("/BM", "/Normal")
    first = modes[0] if isinstance(modes, pikepdf.Array) and len(modes) else modes
    opacities = [float(state.get(key, 1)) for key in ("/CA", "/ca")]
    return (
        state.get("/SMask", "/None") != "/None"
        or str(first) not in {"/Normal", "/Compatible"}
        or any(abs(opacity - 1) > _OPAQUE for opacity in opacities)
    )


# ---------------------------------------------------------------- spot colours (6.2.4.4)


def colorant_problems(space: Any) -> Iterator[Problem]:
    """Yields spot colours of a DeviceN space that its attributes do not describe."""
    attributes = space[4] if len(space) > 4 else pikepdf.Dictionary()  # noqa: PLR2004 - names, alternate, tint, attributes
    process = attributes.get("/Process")
    named = process.get("/Components") if isinstance(process, pikepdf.Dictionary) else None
    listed = attributes.get("/Colorants")
    known = set(listed.keys()) if isinstance(listed, pikepdf.Dictionary) else set()
    known |= {name_text(name) for name in named} if isinstance(named, pikepdf.Array) else set()
    if {name_text(name) for name in space[1]} - known - _PROCESS:
        yield "6.2.4.4", "a spot colour of DeviceN that is not described (Colorants)"


class Separations:
    """The separations met in one document: those of one name must be the same."""

    def __init__(self) -> None:
        self._met: dict[str, tuple[bytes, ...]] = {}

    def problems(self, space: Any) -> Iterator[Problem]:
        """Yields a separation that differs from an earlier one of its name."""
        same = tuple(_identity(part) for part in list(space)[2:4])
        if self._met.setdefault(name_text(space[1]), same) != same:
            yield "6.2.4.4", "two separations of one name that differ"


def _identity(value: Any) -> bytes:
    """Returns what is equal for equal objects, however they are stored or compressed; references inside count by number."""
    if isinstance(value, pikepdf.Stream):
        kept = {key: item for key, item in value.items() if key not in {"/Length", "/Filter", "/DecodeParms"}}
        plain = b"".join(key.encode() + _identity(item) for key, item in sorted(kept.items()))
        return plain + hashlib.sha256(value.read_bytes()).digest()
    if isinstance(value, pikepdf.Array):
        return b"[" + b" ".join(_identity(item) for item in value) + b"]"
    return value.unparse(resolved=True) if isinstance(value, pikepdf.Object) else repr(value).encode()
