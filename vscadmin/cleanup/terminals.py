"""One line on the owner's open terminals: a courtesy, never a notice.

Root writes to a device that a user controls, so only to what the kernel says is a
terminal of that user, without following, waiting or adopting anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from vscadmin.escape import printable
from vscadmin.model import Process

LONGEST = 200  # bytes written to one terminal
MOST_TERMINALS = 20  # of one owner
_PTS = 136  # the kernel's major number of /dev/pts/N
_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the line on one terminal; *error* says in words why it is not there."""

    path: str
    written: bool
    error: str = ""


def tell(processes: Iterable[Process], uid: int, line: str) -> tuple[Written, ...]:
    """Write *line* once to each terminal that processes of *uid* have."""
    numbers = {each.tty for each in processes if each.uid == uid and each.tty}
    terminals = sorted(number for tty in numbers if (number := pts_number(tty)) is not None)
    return tuple(_write(number, uid, _bytes(line)) for number in terminals[:MOST_TERMINALS])


def pts_number(tty: int) -> int | None:
    """Return N where the kernel's device number is that of /dev/pts/N, None for any other."""
    major, minor = (tty >> 8) & 0xFFF, (tty & 0xFF) | ((tty >> 12) & 0xFFF00)
    return minor if major == _PTS else None


def _bytes(line: str) -> bytes:
    """Return the line as every terminal shows it: ASCII, on a line of its own."""
    text = printable(line, LONGEST).encode("ascii", "backslashreplace")
    return b"\r\n" + text[: LONGEST - 4] + b"\r\n"


def _write(number: int, uid: int, line: bytes) -> Written:
    path = f"/dev/pts/{number}"
    try:
        terminal = os.open(path, _FLAGS)
    except OSError as error:
        return Written(path, False, os.strerror(error.errno or 0))
    try:
        if doubt := _doubt(os.fstat(terminal), number, uid):
            return Written(path, False, doubt)
        written = os.write(terminal, line)
    except BlockingIOError:
        return Written(path, False, "its output is stopped")
    except OSError as error:
        return Written(path, False, os.strerror(error.errno or 0))
    finally:
        os.close(terminal)
    return Written(path, written == len(line), "" if written == len(line) else "cut short")


def _doubt(found: os.stat_result, number: int, uid: int) -> str:
    """Say why what was opened must not be written to, "" where it may."""
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(_PTS, number):
        return "is not that terminal"
    if found.st_uid != uid:
        return f"belongs to uid {found.st_uid}"
    if not found.st_mode & stat.S_IWGRP:
        return "its owner wants no messages (mesg n)"
    return ""
