"""Office files made by code: compound files with a mini stream and storages, records of Excel and PowerPoint, packages with parts."""

import struct
from itertools import pairwise

from tests.unit.formats import format_files as files

FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
SECTOR, MINI = 512, 64
CUTOFF = 4096


def compound(streams: dict[str, bytes], *, cutoff: int = CUTOFF) -> bytes:
    """A compound file (MS-CFB) of these streams; names hold `/` between storages."""
    layout = _Layout()
    mini = b"".join(_padded(content, MINI) for content in streams.values() if len(content) < CUTOFF)
    starts: dict[str, int] = {}
    small = 0
    for name, content in streams.items():
        if len(content) < CUTOFF:
            starts[name], small = (small, small + -(-len(content) // MINI)) if content else (END, small)
        else:
            starts[name] = layout.add(content)
    mini_fat = _mini_fat([-(-len(content) // MINI) for content in streams.values() if 0 < len(content) < CUTOFF])
    mini_start = layout.add(mini) if mini else END
    mini_fat_start = layout.add(mini_fat) if mini else END
    directory = layout.add(_directory(streams, starts, mini_start, len(mini)))
    return layout.file(directory, mini_fat_start, cutoff)


class _Layout:
    """Sectors one after another, with their table."""

    def __init__(self) -> None:
        self.content = b""
        self.table: list[int] = []

    def add(self, content: bytes) -> int:
        start, count = len(self.table), -(-len(content) // SECTOR)
        self.content += _padded(content, SECTOR)
        self.table += [start + index + 1 for index in range(count - 1)] + [END]
        return start

    def file(self, directory: int, mini_fat: int, cutoff: int) -> bytes:
        count = 1
        while count * 128 < len(self.table) + count:
            count += 1
        homes = [len(self.table) + index for index in range(count)]
        table = [*self.table, *[FAT] * count]
        table += [FREE] * (count * 128 - len(table))
        head = files.OLE + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(10)
        head += struct.pack("<IIIIIIIII", count, directory, 0, cutoff, mini_fat, 1, END, 0, homes[0])
        head += struct.pack("<108I", *(homes[1:] + [FREE] * 108)[:108])
        return head + self.content + struct.pack(f"<{len(table)}I", *table)


def _padded(content: bytes, unit: int) -> bytes:
    return content.ljust(-(-len(content) // unit) * unit, b"\0")


def _mini_fat(lengths: list[int]) -> bytes:
    table: list[int] = []
    for length in lengths:
        table += [len(table) + index + 1 for index in range(length - 1)] + [END]
    return struct.pack(f"<{len(table)}I", *table).ljust(-(-len(table) * 4 // SECTOR) * SECTOR, b"\xff")


def _directory(streams: dict[str, bytes], starts: dict[str, int], mini_start: int, mini_bytes: int) -> bytes:
    """Entries with their trees written as lists: every entry names the next as its right sibling."""
    storages = sorted({name[:at] for name in streams for at, char in enumerate(name) if char == "/"})
    paths = ["", *storages, *streams]
    children = {folder: [p for p in paths if p and p.rpartition("/")[0] == folder] for folder in ["", *storages]}
    numbers = {path: number for number, path in enumerate(paths)}
    following = {one: numbers[two] for group in children.values() for one, two in pairwise(group)}
    raw = b""
    for path in paths:
        name = (path.rpartition("/")[2] or "Root Entry").encode("utf-16-le") + b"\0\0"
        kind = 5 if not path else 1 if path in storages else 2
        child = numbers[children[path][0]] if kind != 2 and children[path] else FREE
        start, size = (
            (starts[path], len(streams[path])) if kind == 2 else (mini_start, mini_bytes) if not path else (0, 0)
        )
        raw += name.ljust(64, b"\0") + struct.pack("<HBB", len(name), kind, 1)
        raw += struct.pack("<III", FREE, following.get(path, FREE), child) + bytes(36) + struct.pack("<IQ", start, size)
    return raw.ljust(-(-len(raw) // SECTOR) * SECTOR, b"\0")


# ---------------------------------------------------------------- Word, Excel, PowerPoint


def word(flags: int = 0, *, size: int = CUTOFF) -> bytes:
    """A WordDocument stream with these flags (MS-DOC 2.5.2)."""
    return (struct.pack("<HHHHHH", 0xA5EC, 0xC1, 0, 0x409, 0, flags)).ljust(size, b"\0")


def biff(*records: tuple[int, bytes]) -> bytes:
    """A workbook stream: BOF, these records, EOF (MS-XLS 2.1.4)."""
    every = [(0x0809, struct.pack("<HHHHII", 0x0600, 5, 0, 0, 0, 0)), *records, (0x000A, b"")]
    return b"".join(struct.pack("<HH", kind, len(content)) + content for kind, content in every).ljust(CUTOFF, b"\0")


def sheet(kind: int) -> tuple[int, bytes]:
    """A BoundSheet8 record: 0 a sheet, 1 a macro sheet (MS-XLS 2.4.28)."""
    return 0x0085, struct.pack("<IBB", 4096, 0, kind) + b"\x05\x00Bang1"


def atom(kind: int, content: bytes, *, container: bool = False) -> bytes:
    """A record of PowerPoint (MS-PPT 2.3.1)."""
    return struct.pack("<HHI", 0xF if container else 0, kind, len(content)) + content


def slides(*, macros: bool = False, embedded: int = 0) -> bytes:
    """A PowerPoint Document stream."""
    vba = atom(0x07D0, atom(0x03FF, atom(0x0400, struct.pack("<III", 5, macros, 2)), container=True), container=True)
    objects = atom(0x0409, atom(0x040A, bytes(4)) + atom(0x0FCC, bytes(8), container=True) * embedded, container=True)
    document = atom(0x03E8, atom(0x03E9, bytes(40)) + objects + vba, container=True)
    return (atom(0x03EE, bytes(100), container=True) + document).ljust(CUTOFF, b"\0")


def current_user(token: int = 0xE391C05F) -> bytes:
    """The Current User stream (MS-PPT 2.3.2)."""
    return atom(0x0FF6, struct.pack("<III", 0x14, token, 0) + bytes(8))


PPT = {"PowerPoint Document": slides(), "Current User": current_user()}
WORD = {"WordDocument": word(), "1Table": bytes(CUTOFF), "\x05SummaryInformation": b"tom tat"}


# ---------------------------------------------------------------- packages

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
S = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
OFFICE, TABLE, TEXT, SCRIPT = (
    f"urn:oasis:names:tc:opendocument:xmlns:{kind}:1.0" for kind in ("office", "table", "text", "script")
)


def settings(inner: str, prefix: str = "w") -> dict[str, bytes]:
    """A settings part of Word with this inside."""
    return {"word/settings.xml": f'<{prefix}:settings xmlns:{prefix}="{W}">{inner}</{prefix}:settings>'.encode()}


def body(inner: str) -> dict[str, bytes]:
    """A document part of Word with these runs."""
    return {"word/document.xml": f'<w:document xmlns:w="{W}"><w:body><w:p>{inner}</w:p></w:body></w:document>'.encode()}


def relations(
    *rows: tuple[str, str, bool], part: str = "word/_rels/document.xml.rels", prefix: str = ""
) -> dict[str, bytes]:
    """A relationships part: kind, target, external."""
    tag = f"{prefix}:Relationship" if prefix else "Relationship"
    bound = f"xmlns:{prefix}" if prefix else "xmlns"
    lines = "".join(
        f"<{tag} Id='r{number}' Type='{R}/{kind}' Target='{target}'{' TargetMode=' + repr('External') if external else ''}/>"
        for number, (kind, target, external) in enumerate(rows)
    )
    return {part: f"<?xml version='1.0'?><{tag}s {bound}='{RELATIONS}'>{lines}</{tag}s>".encode()}


def odt(content: str = "", more: dict[str, bytes] | None = None, *, manifest: str = "", kind: str = "text") -> bytes:
    """An OpenDocument file whose body holds this."""
    mime = f"application/vnd.oasis.opendocument.{kind}"
    listed = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" manifest:version="1.2">'
        f'<manifest:file-entry manifest:full-path="/" manifest:version="1.2" manifest:media-type="{mime}"/>'
        f'<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>{manifest}</manifest:manifest>'
    )
    text = (
        f'<office:document-content xmlns:office="{OFFICE}" xmlns:table="{TABLE}" xmlns:text="{TEXT}" xmlns:script="{SCRIPT}" '
        f'office:version="1.2"><office:body><office:text>{content}</office:text></office:body></office:document-content>'
    )
    entries = {"mimetype": mime.encode(), "content.xml": text.encode(), "META-INF/manifest.xml": listed.encode()}
    return files.package(entries | (more or {}), stored=("mimetype",))
