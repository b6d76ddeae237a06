"""Files that decide over other people's processes must be root's alone to change.

Checked is the real path and every directory above it: whoever may write a directory may
replace what is in it.
"""

from __future__ import annotations

import errno
import os
import stat

from vscadmin.errors import ConfigError


def doubts(path: str, owners: frozenset[int] = frozenset({0})) -> tuple[str, ...]:
    """Say why *path* must not be acted on: who else could change it; empty if nobody could.

    Raises ConfigError where it cannot be looked at.
    """
    found = []
    here = os.path.realpath(path)
    while True:
        try:
            status = os.lstat(here)
        except OSError as error:
            raise ConfigError((f"{path}: {error.strerror}",)) from error
        found += [f"{here}: {reason}" for reason in _lax(status, owners)]
        if here == "/":
            return tuple(found)
        here = os.path.dirname(here)


def _lax(status: os.stat_result, owners: frozenset[int]) -> list[str]:
    reasons = []
    if status.st_uid not in owners:
        reasons.append(f"belongs to uid {status.st_uid}, not to root")
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    sticky_directory = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if others and not sticky_directory:
        reasons.append("its group or others can write it")
    return reasons


def open_trusted(path: str, owners: frozenset[int]) -> int:
    """Open *path* for reading, and return the descriptor once the opened file is trusted.

    What is judged is what was opened, so no one can put another file there in between; a
    symbolic link is not followed. Raises FileNotFoundError where there is nothing, and
    ConfigError with every reason not to trust it.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        link = error.errno == errno.ELOOP
        words = "is a symbolic link, which is not followed" if link else error.strerror
        raise ConfigError((f"{path}: {words}",)) from error
    try:
        found = _doubts_of(fd, path, owners)
    except BaseException:
        os.close(fd)
        raise
    if found:
        os.close(fd)
        raise ConfigError(found)
    return fd


def _doubts_of(fd: int, path: str, owners: frozenset[int]) -> tuple[str, ...]:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return (f"{path}: is no regular file",)
    above = doubts(os.path.dirname(os.path.abspath(path)), owners)
    return (*(f"{path}: {reason}" for reason in _lax(status, owners)), *above)
