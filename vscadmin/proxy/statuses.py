"""Reading the status files of running sessions. Users make them: nothing in them is believed.

A file counts if its directory and itself are the user's own and are what they should be, its
text is short and strictly right, and the process that it is named after still runs, as that
user. The worst that a user can do is to lie about a session of their own.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from vscadmin.proxy.status import IN_RUNTIME, IN_TMP, open_private, start_ticks

PLACES = (IN_RUNTIME, IN_TMP)
LONGEST = 4096  # bytes of a status file; a real one has about 250
MOST = 256  # files of one user that are looked at

_NAME = re.compile(r"([1-9][0-9]{0,9})-([0-9]{1,20})")
_SESSION = re.compile(r"[0-9a-f]{8}")
_NODE = re.compile(r"[A-Za-z0-9._-]{0,255}")
_LARGEST = 1 << 63
_NUMBERS = {  # key in the file: attribute
    **{name: name for name in ("pid", "start_ticks", "job", "started", "connections", "last_byte")},
    "bytes": "carried",
}


@dataclass(frozen=True, slots=True)
class Status:
    """What a session on this node says of itself; times in seconds since the epoch.

    *carried* is in bytes, both ways. *job* and *last_byte* are 0 and *node* is "" as
    long as there is none.
    """

    uid: int
    session: str
    pid: int
    start_ticks: int
    started: int
    job: int = 0
    node: str = ""
    carried: int = 0
    connections: int = 0
    last_byte: int = 0

    @classmethod
    def parse(cls, data: bytes, uid: int) -> Self:
        """Read a status file; raises ValueError for whatever a session would not write."""
        try:
            fields = json.loads(data)
            numbers = {
                attribute: _number(fields[key])
                for key, attribute in _NUMBERS.items()
                if key in fields
            }
            session, node = _word(fields, "session", _SESSION), _word(fields, "node", _NODE)
            return cls(uid=uid, session=session, node=node, **numbers)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"is no status file: {error}") from error


def statuses(uid: int | None, places: Sequence[str] = PLACES) -> list[Status]:
    """Return the sessions that run on this node: of *uid*, or of everybody whose files we can see.

    *places* are directories with {uid} in their names.
    """
    found = {
        (each.uid, each.pid): each
        for place in places
        for path, owner in _directories(place, uid)
        for each in _in_directory(path, owner)
    }
    return sorted(found.values(), key=lambda each: (each.uid, each.started))


def _directories(place: str, uid: int | None) -> Iterator[tuple[str, int]]:
    """Yield the directories with whose they must be: whose number is in their name."""
    if uid is not None:
        yield place.format(uid=uid), uid
        return
    before, _, _ = place.partition("{uid}")
    parent, start = os.path.split(before)
    try:
        names = os.listdir(parent)
    except OSError:
        return
    for name in names:
        number = name.removeprefix(start)
        if name.startswith(start) and number.isascii() and number.isdigit() and len(number) < 11:
            yield place.format(uid=int(number)), int(number)


def _in_directory(path: str, uid: int) -> Iterator[Status]:
    try:
        place = open_private(path, uid)
    except OSError:
        return
    try:
        with os.scandir(place) as entries:
            names = [entry.name for entry, _ in zip(entries, range(MOST), strict=False)]
        for name in names:
            if found := _read(place, name, uid):
                yield found
    finally:
        os.close(place)


def _read(place: int, name: str, uid: int) -> Status | None:
    """Return what a file says if its writer is alive and is who it says."""
    if not (key := _NAME.fullmatch(name)):
        return None
    pid, ticks = int(key[1]), int(key[2])
    try:
        status = Status.parse(_content(place, name, uid), uid)
        is_owners = os.stat(f"/proc/{pid}").st_uid == uid
    except (OSError, ValueError):
        return None
    is_same = (status.pid, status.start_ticks) == (pid, ticks) == (pid, start_ticks(pid))
    return status if is_owners and is_same else None


def _content(place: int, name: str, uid: int) -> bytes:
    """Read a regular file of *uid*; never wait for a pipe, nor follow a link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = os.open(name, flags, dir_fd=place)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != uid or status.st_size > LONGEST:
            raise ValueError("is no status file")
        return os.read(file, LONGEST)
    finally:
        os.close(file)


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise ValueError(f"{value!r:.40} is no number of ours")
    return value


def _word(fields: dict[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"{name} is none")
    return value
