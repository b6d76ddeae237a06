"""One run of cleanup at a time on a machine: an flock beside the store, on its local disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from vscadmin.cleanup.store_file import open_private, prepare
from vscadmin.errors import LockHeldError, StoreError

OFTEN = 3  # runs turned away since the last success: no accident any more

_LOCK = ".lock"
_TURNED_AWAY = ".turned-away"


@contextmanager
def held(path: str) -> Iterator[None]:
    """Hold the lock of the store at *path*; a run that is turned away is counted.

    The kernel lets go of it when we die, however that happens. The file stays: removing it
    would let two runs lock two files of one name. Raises LockHeldError.
    """
    place = prepare(path) + _LOCK
    file = open_private(place, os.O_RDWR)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note_turned_away(path)
            raise LockHeldError(f"{place}: held by {_holder(file)}") from None
        _sign(file)
        yield
    finally:
        os.close(file)


def _sign(file: int) -> None:
    """Write our pid into the lock, for whoever is turned away; a full disk does not matter."""
    try:
        os.ftruncate(file, 0)
        os.pwrite(file, b"%d\n" % os.getpid(), 0)
    except OSError:
        return


def _holder(file: int) -> str:
    pid = os.pread(file, 32, 0).strip()
    return f"pid {int(pid)}" if pid.isdigit() else "another run"


def note_turned_away(path: str) -> None:
    """Count a run that found the lock held: a byte each, appended, so that no two collide."""
    try:
        file = open_private(prepare(path) + _TURNED_AWAY, os.O_WRONLY | os.O_APPEND)
    except StoreError:
        return
    try:
        os.write(file, b".")
    except OSError:
        return
    finally:
        os.close(file)


def turned_away(path: str) -> int:
    """Return how many runs were turned away since the count was last begun anew."""
    try:
        return os.lstat(path + _TURNED_AWAY).st_size
    except OSError:
        return 0


def begin_count_anew(path: str) -> int:
    """Return the count and begin it anew: for a run that holds the lock, once it succeeded."""
    count = turned_away(path)
    if count:
        try:
            os.unlink(path + _TURNED_AWAY)
        except OSError:
            return count
    return count
