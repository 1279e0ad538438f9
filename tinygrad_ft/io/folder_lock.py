"""One process at a time in a folder.

The operating system's own lock on an open file, not the presence of a file: the kernel frees it
however the process ends, SIGKILL included, so there are no stale locks to guess about. The file
stays behind, except where the holder removes it itself; who has locked a file that is no longer the
one of that name tries again, for another process may have locked the new one.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tinygrad_ft.io.errors import RunFolderError

LOCK_NAME = ".lock"
# Windows keeps others from reading a locked byte, so the byte lies beyond what the file says.
_LOCKED_BYTE = 1 << 20
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    _TAKEN: tuple[type[OSError], ...] = (PermissionError,)
else:
    import fcntl

    def _try_lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    _TAKEN = (BlockingIOError,)


class FolderLock:
    """Held from creation until `release` or the end of the process.

    Raises RunFolderError, naming process, machine and time, when another one holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = None
        self._path = folder / LOCK_NAME
        try:
            self._descriptor = os.open(self._path, _FLAGS, 0o666)
            _try_lock(self._descriptor)
            while not self._is_current():
                os.close(self._descriptor)
                self._descriptor = None
                self._descriptor = os.open(self._path, _FLAGS, 0o666)
                _try_lock(self._descriptor)
            _introduce(self._descriptor)
        except OSError as problem:
            taken = isinstance(problem, _TAKEN) and self._descriptor is not None
            holder = _holder(self._descriptor) if self._descriptor is not None else ""
            self.release()
            if taken:
                raise RunFolderError(
                    f"{folder} is in use by another run{holder}; wait for it or choose another "
                    "folder"
                ) from problem
            raise RunFolderError(
                f"{folder} cannot be locked for a run: {problem.strerror or problem}"
            ) from problem
        _held.add(self)

    def release(self) -> None:
        """Free the folder; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        _held.discard(self)

    def remove(self) -> None:
        """Free the folder and leave no file behind."""
        if self._descriptor is None:
            return
        if sys.platform == "win32":  # an open file cannot be removed there, a locked one neither
            self.release()
        with suppress(OSError):
            self._path.unlink()
        self.release()

    def _is_current(self) -> bool:
        """Whether the file that was opened is still the one of that name."""
        assert self._descriptor is not None
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False


_held: set[FolderLock] = set()


def _introduce(descriptor: int) -> None:
    facts = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(facts).encode())


def _holder(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        facts: Any = json.loads(os.read(descriptor, 4096))
        return f" (process {facts['pid']} on {facts['host']} since {facts['since']})"
    except (ValueError, KeyError, TypeError):  # the holder has not written it yet
        return ""


def _close_in_child() -> None:
    # A forked worker shares the lock; it must not keep it when the run itself is gone.
    for lock in list(_held):
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
