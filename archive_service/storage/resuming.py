"""A stream over a network that takes up again where a connection broke."""

import io
import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Final, Protocol

from archive_service import clock
from archive_service.errors import StoreUnavailable

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 5.0


class Body(Protocol):
    """The bytes of one answer."""

    def read(self, amt: int | None = None, /) -> bytes:
        """Returns at most `amt` bytes; none at the end."""

    def close(self) -> None:
        """Gives the connection back."""


class ResumingReader(io.RawIOBase):
    """Reads what `fetch` gives; when a connection breaks it fetches the rest, a few times, with growing random pauses.

    The attempts are counted per reader, not per break, so that a connection that always breaks ends in an error.
    """

    def __init__(
        self,
        fetch: Callable[[int], Body | None],
        errors: Callable[[], AbstractContextManager[None]],
        *,
        attempts: int,
    ) -> None:
        """Fetches the beginning.

        Args:
            fetch: returns the bytes from a position (relative to the reader's start) on, None when there are none.
            errors: turns the library's exceptions into the port's while a block reads.
            attempts: how often to fetch in all.

        Raises:
            ArchiveError: whatever `fetch` raises.
        """
        super().__init__()
        self._fetch = fetch
        self._errors = errors
        self._attempts = attempts
        self._tried = 1
        self._position = 0
        self._body = fetch(0)

    def readable(self) -> bool:
        """Returns True."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Reads what comes, at most the size of `buffer`; 0 at the end.

        Raises:
            StoreUnavailable: the connection broke too often.
        """
        view = memoryview(buffer).cast("B")
        while self._body is not None:
            try:
                with self._errors():
                    chunk = self._body.read(len(view))
            except StoreUnavailable:
                if self._tried >= self._attempts:
                    raise
                self._resume()
                continue
            view[: len(chunk)] = chunk
            self._position += len(chunk)
            return len(chunk)
        return 0

    def _resume(self) -> None:
        """Fetches the rest after a pause."""
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**self._tried)
        clock.sleep(random.uniform(0, pause_s))  # noqa: S311 - spreads retries, no secret
        self._tried += 1
        if self._body is not None:
            self._body.close()
        self._body = self._fetch(self._position)

    def close(self) -> None:
        """Gives the connection back."""
        if self._body is not None:
            self._body.close()
            self._body = None
        super().close()
