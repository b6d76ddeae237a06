"""Where the editor's server listens, as its bootstrap script announces it: bytes in, events out.

The client dials 127.0.0.1 and the printed port, or the printed path, on the machine that sshd
runs on, whatever host the line names. So every announcement is held until whoever asked has a
listener there, and its address is replaced; nothing else is ever changed. What cannot become an
announcement any more passes at once, and so do blanks: the bootstrap's keep-alives have no
newline, and a line of nothing but blanks is still at its start.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LOOPBACK = "127.0.0.1"
"""What the client dials."""


class Tcp(NamedTuple):
    """A TCP port on a host: a name, or an address without brackets."""

    host: str
    port: int


class Unix(NamedTuple):
    """A unix socket's absolute path."""

    path: bytes


Backend = Tcp | Unix


class Forward(NamedTuple):
    """Bytes to be passed on."""

    data: bytes


class Announced(NamedTuple):
    """The server says it listens there; nothing more is passed on until this is answered."""

    backend: Backend


Event = Forward | Announced

_KEY = b"listeningOn=="

# 1 to 65535 without leading zeros: whatever begins one is one itself, or empty.
_PORT = rb"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_NAME = rb"[A-Za-z0-9.-]"
_IPV6 = rb"[0-9A-Fa-f:.]"
_HOST = rb"(?:%b{1,64}|\[%b{2,45}\])" % (_NAME, _IPV6)  # 45: INET6_ADDRSTRLEN less its NUL
_IN_PATH = rb"(?:(?!==)[^\0\r\n])"
_PATH_ROOM = 106  # bytes after the slash: sun_path, unix(7), holds 108 and ends with a NUL

_ADDRESS = rb"(?P<path>/%b{1,%d})|(?:(?P<host>%b):)?(?P<port>%b)" % (
    *(_IN_PATH, _PATH_ROOM),
    *(_HOST, _PORT),
)
_ANNOUNCEMENT = re.compile(rb"^[ \t\r]*%b(?P<address>%b)==" % (_KEY, _ADDRESS), re.MULTILINE)

# What an address and its "==" can begin with; test_rewriter.py holds the two together.
_BEGUN = re.compile(
    rb"%b{0,64}|\[%b{0,45}|\[%b{2,45}\]|%b:%b?|(?:%b:)?%b=|/%b{0,%d}=?"
    % (_NAME, _IPV6, _IPV6, _HOST, _PORT, _HOST, _PORT, _IN_PATH, _PATH_ROOM)
)
_LONGEST = len(_KEY) + 1 + _PATH_ROOM + 1  # bytes ever held of an undecided line
_BLANKS = re.compile(rb"[ \t\r]*")


class Announcements:
    """Finds what the backend's stdout announces, and puts other addresses there.

    Whoever is told of an announcement answers it, before or after more bytes came. Reading on
    without an answer only makes what is held grow: the caller should not.
    """

    def __init__(self) -> None:
        self._held = b""
        self._is_at_start = True  # of a line, blanks before it aside; what is held begins there
        self._asked: tuple[int, int] | None = None  # where in what is held the address is

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes from the backend; return what to do about them."""
        if self._asked is not None:
            self._held += data
            return []
        return self._read(b"", self._held + data)

    def answer(self, replacement: Backend | None) -> list[Event]:
        """Release the announced line with *replacement* in it, None leaves it as it is; go on.

        A bare port stays a bare port, and a host becomes 127.0.0.1: the client dials nothing
        else, so the replacement's host does not matter.
        """
        if self._asked is None:
            raise RuntimeError("nothing was announced that is still to be answered")
        start, end = self._asked
        line, rest = self._held[:end], self._held[end:]
        if replacement is not None:
            line = self._held[:start] + _written(replacement, self._held[start:end])
        self._asked = None
        self._is_at_start = False
        return self._read(line, rest)

    def end(self) -> list[Event]:
        """Release what is held, for nothing follows; an open question gets no answer any more."""
        held, self._held, self._asked = self._held, b"", None
        return _forward(held)

    def _read(self, decided: bytes, data: bytes) -> list[Event]:
        # Looking for one byte first is memchr(3): bulk output without it costs next to nothing.
        found = self._find(data) if b"=" in data and _KEY in data else None
        if found is None:
            cut = self._undecided(data)
            self._held = data[cut:]
            return _forward(decided + data[:cut])
        cut = found.start("address") - len(_KEY)
        self._held = data[cut:]
        self._asked = found.start("address") - cut, found.end("address") - cut
        return [*_forward(decided + data[:cut]), Announced(_backend(found))]

    def _find(self, data: bytes) -> re.Match[bytes] | None:
        line = 0 if self._is_at_start else data.find(b"\n")
        return None if line < 0 else _ANNOUNCEMENT.search(data, line)

    def _undecided(self, data: bytes) -> int:
        """Return where in *data* that begins which may still become an announcement."""
        line = data.rfind(b"\n") + 1
        if not (line or self._is_at_start):
            return len(data)
        first = _first_printed(data, line)
        self._is_at_start = len(data) - first <= _LONGEST and _may_become(data[first:])
        return first if self._is_at_start else len(data)


def _first_printed(data: bytes, start: int) -> int:
    blanks = _BLANKS.match(data, start)
    return blanks.end() if blanks else start


def _may_become(text: bytes) -> bool:
    if len(text) <= len(_KEY):
        return _KEY.startswith(text)
    return text.startswith(_KEY) and _BEGUN.fullmatch(text, len(_KEY)) is not None


def _backend(found: re.Match[bytes]) -> Backend:
    if (path := found["path"]) is not None:
        return Unix(path)
    host = found["host"] or LOOPBACK.encode()
    return Tcp(host.strip(b"[]").decode("ascii"), int(found["port"]))


def _written(replacement: Backend, announced: bytes) -> bytes:
    if isinstance(replacement, Unix):
        return replacement.path
    bare = b"%d" % replacement.port
    return bare if announced.isdigit() else b"%b:%b" % (LOOPBACK.encode(), bare)


def _forward(data: bytes) -> list[Event]:
    return [Forward(data)] if data else []
