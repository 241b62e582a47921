"""Writing and reading files past the system's page cache (O_DIRECT), where the file system can.

What is written so never stands in the cache, so reading it back meets the disk by itself and not only on advice; a copy that is written and
read back once costs half as much processor time, and pushes nothing out of memory that others use. Direct transfers need aligned memory and
lengths: bytes pass through a room of this module. Where the file system cannot (some in memory or over a network), or the system has no such
thing, all is done the ordinary way.
"""

import errno
import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FROM_BYTES: Final = 256 * 1024
"""Smaller files are not worth the trouble."""
UP_TO_BYTES: Final = 64 * 1024 * 1024
"""Longer files are read the ordinary way: the system then reads ahead while what came is hashed."""
BLOCK_BYTES: Final = 4096
"""Offsets, lengths and addresses are multiples of this; no disk in use asks for more."""
ROOM_BYTES: Final = 1024 * 1024
_ROOMS_KEPT: Final = 4
_O_DIRECT: Final[int] = getattr(os, "O_DIRECT", 0)

_rooms: list[mmap.mmap] = []
"""Aligned memory for the next transfers; fresh memory comes page by page."""


def _take_room() -> mmap.mmap:
    try:
        return _rooms.pop()
    except IndexError:
        return mmap.mmap(-1, ROOM_BYTES)


def _give_room(room: mmap.mmap) -> None:
    if len(_rooms) < _ROOMS_KEPT:
        _rooms.append(room)


def is_worth(size_bytes: int) -> bool:
    """Returns whether so many bytes are better read past the cache."""
    return FROM_BYTES <= size_bytes <= UP_TO_BYTES


def set_direct(descriptor: int, *, on: bool) -> bool:
    """Turns direct transfers on or off; returns whether they are on."""
    if not _O_DIRECT:
        return False
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~_O_DIRECT
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | (_O_DIRECT if on else 0))
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
        return False
    return on


def write_past_cache(descriptor: int, content: memoryview) -> bool:
    """Writes the whole content of a file that is empty; returns False, the file still empty, when that cannot be done.

    Raises:
        OSError: no room, or the disk fails.
    """
    if not set_direct(descriptor, on=True):
        return False
    room = _take_room()
    try:
        done = all(
            _write_piece(descriptor, room, content[start : start + ROOM_BYTES], start)
            for start in range(0, len(content), ROOM_BYTES)
        )
    finally:
        set_direct(descriptor, on=False)
        _give_room(room)
    os.ftruncate(descriptor, len(content) if done else 0)
    return done


def _write_piece(descriptor: int, room: mmap.mmap, piece: memoryview, start: int) -> bool:
    padded = -(-len(piece) // BLOCK_BYTES) * BLOCK_BYTES
    with memoryview(room) as view, view[:padded] as written:
        written[: len(piece)] = piece
        written[len(piece) :] = bytes(padded - len(piece))
        try:
            return os.pwrite(descriptor, written, start) == padded
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
            return False


class PastCacheReader:
    """Reads an open file past the cache, a room at a time; the caller closes the file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._room = _take_room()
        self._start = 0
        self._filled = 0
        self._closed = False
        set_direct(descriptor, on=True)

    def readinto(self, buffer: "WriteableBuffer", position: int) -> int:
        """Reads what there is of a buffer's length from `position` on; 0 at the end of the file.

        Raises:
            OSError: it cannot be read.
        """
        view = memoryview(buffer).cast("B")
        if not self._start <= position < self._start + self._filled:
            self._fill(position)
        with memoryview(self._room) as room:
            first = position - self._start
            part = room[first : min(self._filled, first + len(view))]
            view[: len(part)] = part
            return len(part)

    def _fill(self, position: int) -> None:
        self._start = position // BLOCK_BYTES * BLOCK_BYTES
        try:
            self._filled = os.preadv(self._descriptor, [self._room], self._start)
        except OSError as exc:
            if exc.errno != errno.EINVAL:
                raise
            set_direct(self._descriptor, on=False)  # found out only now: the ordinary way from here on
            self._filled = os.preadv(self._descriptor, [self._room], self._start)

    def close(self) -> None:
        """Gives its memory back, once: it is another's from then on."""
        if not self._closed:
            self._closed = True
            _give_room(self._room)
