"""Temporary folders that are gone when their process is, however it ended.

A folder is held by a lock on itself for as long as its process lives; the kernel lets go of it with the process, also after `kill -9`. What
nobody holds is removed by the next process that makes a folder of its own in the same place, so a crash leaves nothing for long. A process
that is killed as a matter of course (checks within limits) is given a folder by the one that starts and outlives it.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
import threading
from multiprocessing import util
from pathlib import Path
from typing import Final, Self

PREFIX: Final = "archive-scratch-"
"""How the folders begin in the system's temporary folder."""
_TRIES_MAX: Final = 100
_swept: set[tuple[int, str, str]] = set()
"""Process, place and prefix that were swept; a forked process is another one."""
_own: dict[int, "Scratch"] = {}
_given: dict[int, Path] = {}
_lock = threading.RLock()
_log = logging.getLogger(__name__)


class Scratch:
    """One temporary folder; removed by `close`, at the end of a `with`, when it is forgotten, and when the process ends."""

    def __init__(self, *, within: Path | None = None, prefix: str = PREFIX) -> None:
        """Makes the folder, for nobody else to read, after removing what processes that died left beside it.

        Args:
            within: where; default the system's temporary folder.
            prefix: how its name begins; all that begins so in that place is swept, so it must belong to such folders alone.

        Raises:
            OSError: it cannot be made.
        """
        place = Path(tempfile.gettempdir() if within is None else within)
        _sweep_once(place, prefix)
        self.path, self._descriptor = _made(place, prefix)
        # Unlike atexit this runs at the end of multiprocessing's processes too, and not in a forked one.
        self._finalizer = util.Finalize(self, _remove, args=(self.path, self._descriptor), exitpriority=0)

    def close(self) -> None:
        """Removes the folder with all that is in it; once is enough."""
        self._finalizer()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        """Travels to no other process: give it `path`."""
        raise TypeError("a scratch folder belongs to the process that made it")


def process_scratch() -> Path:
    """Returns the folder of this process: the one it was given, else one of its own, made at the first call.

    Raises:
        OSError: it cannot be made.
    """
    here = os.getpid()
    with _lock:
        if here in _given:
            return _given[here]
        if here not in _own:
            _own.clear()  # of the process this one was forked from
            _own[here] = Scratch()
        return _own[here].path


def use_as_process_scratch(folder: Path) -> None:
    """Makes a folder that another process made, and will remove, the one of this process."""
    with _lock:
        _given[os.getpid()] = folder


def _made(place: Path, prefix: str) -> tuple[Path, int]:
    for _ in range(_TRIES_MAX):
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        descriptor = _held(path, fresh=True)
        if descriptor is not None:
            return path, descriptor
    raise OSError(f"no folder could be made in {place}: each was swept at once")


def _held(path: Path, *, fresh: bool) -> int | None:
    """Returns the descriptor that holds a folder; None when another process has it, is about to remove it, or did."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except (BlockingIOError, FileNotFoundError):
        held = False
    except OSError:  # a file system without such locks: what is new there is ours, and nothing is swept
        held = fresh
    if held:
        return descriptor
    os.close(descriptor)
    return None


def _remove(path: Path, descriptor: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(descriptor)


def _sweep_once(place: Path, prefix: str) -> None:
    """Removes the folders of this user that nobody holds; what cannot be removed now is left to the next process."""
    key = os.getpid(), os.fspath(place), prefix
    with _lock:
        if key in _swept:
            return
        _swept.add(key)
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix)]
        for name in names:
            _sweep(place / name)


def _sweep(path: Path) -> None:
    with contextlib.suppress(OSError):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            return
        descriptor = _held(path, fresh=False)
        if descriptor is not None:
            _log.info("removing %s, which a process that ended left", path)
            _remove(path, descriptor)
