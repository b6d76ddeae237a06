"""The file of the store and those beside it: ours alone, and set aside when damaged.

Who may write a directory may replace what is in it: once nobody else can, paths below it
are safe to use, and no link in it is anybody else's.
"""

from __future__ import annotations

import os
import stat
import time

from vscadmin.errors import ConfigError, StoreError, StoreFailedError
from vscadmin.trust import doubts

_BESIDE = ("-journal", "-wal", "-shm")  # what SQLite may keep beside a database
_SUSPECT = ".suspect"
_FLAGS = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def prepare(path: str) -> str:
    """Make the directory of *path*, 0700, and return *path* with the links above it resolved.

    Raises StoreError where anybody else could change what is there.
    """
    folder = os.path.dirname(os.path.abspath(path))
    there = folder
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    _refuse_others(there)
    try:
        _make(folder)
    except OSError as error:
        raise StoreFailedError(f"{folder}: cannot be made: {error.strerror}") from error
    return os.path.join(os.path.realpath(folder), os.path.basename(path))


def _make(folder: str) -> None:
    if not os.path.lexists(folder):
        _make(os.path.dirname(folder))
        os.mkdir(folder, 0o700)


def _refuse_others(path: str) -> None:
    """Raise StoreError where others could change *path*, or a link on the way to it."""
    found: list[str] = []
    here = path = os.path.abspath(path)
    try:
        while here != "/":
            if os.path.islink(here):
                found += doubts(os.path.dirname(here), _owners())
                if os.lstat(here).st_uid not in _owners():
                    found.append(f"{here}: is another user's link")
            here = os.path.dirname(here)
        found += doubts(path, _owners())
    except ConfigError as error:
        raise StoreError(str(error)) from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    if found:
        raise StoreError("\n".join(dict.fromkeys(found)))


def _owners() -> frozenset[int]:
    return frozenset({0, os.geteuid()})


def check(path: str) -> None:
    """Raise StoreError unless *path* is a plain file, no link, that nobody else can change."""
    try:
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        kind = "a symbolic link" if stat.S_ISLNK(mode) else "no plain file"
        raise StoreError(f"{path}: is {kind}: the store must be a file of its own")
    _refuse_others(path)


def check_writable(path: str) -> None:
    """Raise StoreFailedError where *path* cannot be written: SQLite would say so only midway."""
    if not os.access(path, os.W_OK):
        raise StoreFailedError(f"{path}: cannot be written: nothing is recorded or done")


def open_private(path: str, flags: int) -> int:
    """Open a small file of ours beside the store, 0600, never through a link.

    Raises StoreFailedError where that fails, and StoreError where others could change it.
    """
    try:
        file = os.open(path, flags | os.O_CREAT | _FLAGS, 0o600)
    except OSError as error:
        raise StoreFailedError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        check(path)
    except StoreError:
        os.close(file)
        raise
    return file


def create(path: str) -> bool:
    """Create an empty file, 0600, where there is none; say whether it was created."""
    if os.path.lexists(path):
        return False
    os.close(open_private(path, os.O_WRONLY | os.O_EXCL))
    return True


def remove(path: str) -> None:
    """Remove a store that never came to be, and what SQLite left beside it."""
    for suffix in ("", *_BESIDE):
        if os.path.lexists(path + suffix):
            os.unlink(path + suffix)


def mark_suspect(path: str) -> None:
    """Have the next run set the store aside; a disk too full for that finds the damage again."""
    try:
        os.close(open_private(path + _SUSPECT, os.O_WRONLY))
    except StoreError:
        return


def is_suspect(path: str) -> bool:
    """Whether an earlier run found damage."""
    return os.path.lexists(path + _SUSPECT)


def set_aside(path: str, now: float) -> str:
    """Rename a damaged store, and what SQLite keeps beside it; return the new name.

    A journal that stayed would be played back into the new store.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    new = f"{path}.corrupt-{stamp}"
    while os.path.lexists(new):
        new += "+"
    try:
        for suffix in _BESIDE:
            if os.path.lexists(path + suffix):
                os.rename(path + suffix, new + suffix)
        if is_suspect(path):  # before the last: else the next store would be suspect
            os.unlink(path + _SUSPECT)
        if os.path.lexists(path):
            os.rename(path, new)
    except OSError as error:
        raise StoreFailedError(f"{path}: cannot be set aside: {error.strerror}") from error
    return new


def is_empty(path: str) -> bool:
    """Whether a file has no byte: a crash or a full disk left it before it was a store."""
    return os.path.getsize(path) == 0
