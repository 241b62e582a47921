"""Plain text, CSV, JSON and RTF: is the encoding sound, is JSON JSON, does a text carry objects of other programs."""

import codecs
import json
import re
from collections import Counter
from pathlib import Path
from typing import Final

from archive_service.formats.limits import Limits
from archive_service.formats.report import Notes

_JSON_BYTES: Final = 16 * 1024 * 1024
"""JSON is parsed into memory, so less of it than of text."""
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

_RTF_OBJECT: Final = re.compile(rb"\\(?:\\|(object|objdata)(?![A-Za-z]))")
"""An escaped backslash, or the control words of RTF 1.9.1 for an object of another program and for its data."""


def check_text(path: Path, notes: Notes, limits: Limits) -> None:
    """Adds the fact `encoding`: UTF-8, UTF-16 or `unknown 8-bit` (old Vietnamese encodings cannot be told apart)."""
    if path.stat().st_size > limits.text_bytes:
        notes.unchecked("text encoding", f"larger than {limits.text_bytes} bytes")
        return
    content = path.read_bytes()
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        content.decode(encoding)
        notes.facts["encoding"] = encoding
    except UnicodeDecodeError:
        notes.facts["encoding"] = "unknown 8-bit"
    notes.checked.append("text encoding")


def check_json(path: Path, notes: Notes, limits: Limits) -> None:
    """Checks that a JSON file can be read."""
    if path.stat().st_size > min(_JSON_BYTES, limits.text_bytes):
        notes.unchecked("JSON", f"larger than {_JSON_BYTES} bytes")
        return
    try:
        json.loads(path.read_bytes())
    except (ValueError, RecursionError) as exc:
        notes.broken(str(exc))
        return
    notes.checked.append("JSON")


def check_rtf(path: Path, notes: Notes, limits: Limits) -> None:
    """Counts embedded and linked objects; what they hold is not looked at."""
    if path.stat().st_size > limits.text_bytes:
        notes.unchecked("RTF", f"larger than {limits.text_bytes} bytes")
        return
    words = Counter(_RTF_OBJECT.findall(path.read_bytes()))
    found = max(words[b"object"], words[b"objdata"])
    if found:
        notes.find("FORMAT_EMBEDDED_FILES", count=found, where="object")
    notes.checked.append("RTF objects")
