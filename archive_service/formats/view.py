"""A file read here and there in bounded memory, however large it is: slices, and marks searched from the front or the back.

Not a memory map: mapped bytes count as address space, which is limited where files are checked.
"""

import os
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HEAD_BYTES: Final = 256 * 1024
"""What is read at once and kept: most files are no longer, and are then read once however many look at them."""
_CHUNK_BYTES: Final = 1024 * 1024


class FileView:
    """The bytes of one file; use as a context manager."""

    def __init__(self, path: Path) -> None:
        """Opens the file.

        Raises:
            OSError: it cannot be read.
        """
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.size = os.fstat(self._descriptor).st_size
            self.head = self._read(0, min(self.size, HEAD_BYTES))
        except OSError:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    @property
    def is_held(self) -> bool:
        """Whether the head is all there is."""
        return self.size <= len(self.head)

    def part(self, start: int, stop: int) -> bytes:
        """Returns the bytes from `start` to before `stop`, as far as there are."""
        if stop <= start:
            return b""
        if stop <= len(self.head) or self.is_held:
            return self.head[start:stop]
        return self._read(start, stop - start)

    def _read(self, start: int, length: int) -> bytes:
        content = os.pread(self._descriptor, length, start)
        while len(content) < length and (
            more := os.pread(self._descriptor, length - len(content), start + len(content))
        ):
            content += more
        return content

    def find(self, mark: bytes, start: int = 0) -> int:
        """Returns where a mark first stands at or after `start`; -1 when it does not."""
        while start < self.size:
            place = self.part(start, start + _CHUNK_BYTES + len(mark) - 1).find(mark)
            if place >= 0:
                return start + place
            start += _CHUNK_BYTES
        return -1

    def rfind(self, mark: bytes, start: int = 0) -> int:
        """Returns where a mark last stands at or after `start`; -1 when it does not."""
        if self.is_held:
            return self.head.rfind(mark, start)
        stop = self.size
        while stop > start:
            first = max(start, stop - _CHUNK_BYTES)
            place = self.part(first, stop + len(mark) - 1).rfind(mark)
            if place >= 0:
                return first + place
            stop = first
        return -1

    def stripped_length(self, start: int, blank: bytes) -> int:
        """Returns how many bytes there are from `start` on without the blank ones at both ends."""
        first = self._first_not(blank, start)
        if first is None:
            return 0
        stop = self.size
        while True:
            begin = max(first, stop - _CHUNK_BYTES)
            kept = self.part(begin, stop).rstrip(blank)
            if kept:
                return begin + len(kept) - first
            stop = begin

    def _first_not(self, blank: bytes, start: int) -> int | None:
        while start < self.size:
            chunk = self.part(start, start + _CHUNK_BYTES)
            kept = chunk.lstrip(blank)
            if kept:
                return start + len(chunk) - len(kept)
            start += len(chunk)
        return None
