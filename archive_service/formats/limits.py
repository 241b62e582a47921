"""How much work one file may cause. Each number has its reason; a caller passes its own `Limits` for more or less."""

from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds for the checks of one file. A bound that is hit gives `not checked` or a finding, never silence."""

    time_s: float = 60.0
    """Most wall time for all risky checks of one file in a worker process (LESSONS 39: one file must not stop the queue)."""
    cpu_base_s: float = 4.0
    """Processor time for a small file; with `cpu_s_per_mib` what a hostile file can cost. Honest small files take well under one second."""
    wall_base_s: float = 10.0
    """Wall time for a small file: nothing that sleeps or makes the machine swap holds a worker for longer."""
    wall_s_per_mib: float = 1.0
    """Wall time that each MiB adds: twice its processor time, which is itself ten times what honest files take."""
    cpu_s_per_mib: float = 0.5
    """Processor time that each MiB adds: decoding every stream of a PDF goes at 10 to 60 MB a second."""
    memory_bytes: int = 1024 * MIB
    """Most address space a worker process may add to what it starts with."""
    memory_base_bytes: int = 350 * MIB
    """Address space for a small file."""
    memory_per_byte: int = 16
    """Address space that each byte of the file adds: a tree of XML is ten times its text, a scan's pixels as much its JPEG."""
    pdf_bytes: int = 1024 * MIB
    """Larger PDFs are identified but not opened."""
    pdf_objects: int = 300_000
    """Objects walked for scripts, fonts and images; a 20,000-page scan has about 100,000."""
    pdf_pages: int = 20_000
    """Pages walked."""
    image_pixels: int = 400_000_000
    """Decompression-bomb bound: an A0 map at 400 dpi has 248 million pixels."""
    xml_bytes: int = 64 * MIB
    """XML read for well-formedness."""
    xml_depth: int = 200
    """Nesting of XML elements; METS and OOXML stay under 40."""
    package_entries: int = 20_000
    """Entries of an Office package or ZIP."""
    package_unpacked_bytes: int = 2048 * MIB
    """Sum of declared unpacked sizes."""
    package_ratio: int = 200
    """Unpacked to packed size above which an entry of more than `ratio_from_bytes` counts as a bomb; XML of sheets
    reaches 60."""
    ratio_from_bytes: int = 16 * MIB
    """Smaller entries cannot hurt whatever their ratio."""
    text_bytes: int = 64 * MIB
    """Plain text, CSV and JSON read to test the encoding."""
    media_boxes: int = 10_000
    """Boxes or chunks of a media file walked for stream parameters."""

    def cpu_s(self, size_bytes: int) -> float:
        """Returns the processor time for a file of this size, in seconds."""
        return min(self.cpu_base_s + self.cpu_s_per_mib * size_bytes / MIB, self.time_s)

    def wall_s(self, size_bytes: int) -> float:
        """Returns the wall time for a file of this size, in seconds; what spins ends before, by processor time."""
        return min(self.wall_base_s + self.wall_s_per_mib * size_bytes / MIB, self.time_s)

    def memory_for(self, size_bytes: int) -> int:
        """Returns the address space for a file of this size, in bytes."""
        return min(self.memory_base_bytes + self.memory_per_byte * size_bytes, self.memory_bytes)


DEFAULT: Final = Limits()
