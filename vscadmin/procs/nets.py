"""Socket tables, parsed: /proc/PID/net/tcp, tcp6 and unix, and the kernel's unix_diag replies.

/proc/net/unix prints a path as it is, newlines included, so a user can forge lines in
it; the netlink replies of unix_diag are binary, and name the peer as well. The text is
used only where netlink cannot reach, and a table with a doubtful line is refused whole.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_address

from vscadmin.model import Endpoint, TcpSocket, UnixSocket

# include/net/tcp_states.h
ESTABLISHED = 1
LISTEN = 10


def parse_tcp(table: bytes) -> tuple[TcpSocket, ...]:
    """Read /proc/PID/net/tcp or tcp6; raises ValueError on a line of another form."""
    return tuple(_tcp_line(line.split()) for line in table.split(b"\n")[1:] if line)


def _tcp_line(fields: list[bytes]) -> TcpSocket:
    if len(fields) < 10:
        raise ValueError("a short line in a table of TCP sockets")
    state = int(fields[3], 16)
    return TcpSocket(
        _endpoint(fields[1]),
        _endpoint(fields[2]),
        state == LISTEN,
        state == ESTABLISHED,
        int(fields[9]),
    )


def _endpoint(field: bytes) -> Endpoint:
    address, _, port = field.partition(b":")
    return Endpoint(_address(address), int(port, 16))


@lru_cache(maxsize=4096)
def _address(hexed: bytes) -> str:
    """Decode an address: the kernel prints each 32-bit word as a number of this machine."""
    words = (int(hexed[at : at + 8], 16) for at in range(0, len(hexed), 8))
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    if len(packed) == 16 and packed.startswith(_MAPPED):
        packed = packed[len(_MAPPED) :]
    return str(ip_address(packed))


_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, IPv4 in IPv6 (RFC 4291, 2.5.5.2)

_UNIX_LINE = re.compile(
    rb"[0-9a-f]+: [0-9A-F]{8} [0-9A-F]{8} (?P<flags>[0-9A-F]{8}) [0-9A-F]{4}"
    rb" (?P<state>[0-9A-F]{2}) +(?P<inode>[0-9]+)(?: (?P<path>.*))?"
)
_ACCEPTING = 0x10000  # __SO_ACCEPTCON, include/uapi/linux/net.h
_CONNECTED = 3  # SS_CONNECTED, include/uapi/linux/net.h


def parse_unix(table: bytes) -> tuple[UnixSocket, ...]:
    """Read /proc/PID/net/unix, which never names the peer.

    Raises ValueError when a line has another form or an inode stands twice: then a path
    with a newline has forged lines, and nothing in the table can be believed.
    """
    sockets: dict[int, UnixSocket] = {}
    for line in table.removesuffix(b"\n").split(b"\n")[1:]:
        match = _UNIX_LINE.fullmatch(line)
        if match is None:
            raise ValueError("a line of another form in a table of unix sockets")
        inode = int(match["inode"])
        if inode and inode in sockets:
            raise ValueError(f"socket {inode} stands twice in a table of unix sockets")
        sockets[inode] = UnixSocket(
            match["path"] or b"",
            bool(int(match["flags"], 16) & _ACCEPTING),
            int(match["state"], 16) == _CONNECTED,
            inode,
            None,
        )
    sockets.pop(0, None)
    return tuple(sockets.values())


# include/uapi/linux/netlink.h, sock_diag.h, unix_diag.h
SOCK_DIAG_BY_FAMILY = 20
AF_UNIX = 1
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_NLM_F_REQUEST_DUMP = 0x1 | 0x300
_NLM_F_DUMP_INTR = 0x10
_SHOW_NAME_AND_PEER = 0x1 | 0x4
_ATTR_NAME = 0
_ATTR_PEER = 2
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_REQUEST = struct.Struct("=BBHIIIII")  # family, protocol, pad, states, inode, show, cookie x 2
_MESSAGE = struct.Struct("=BBBBIII")  # family, type, state, pad, inode, cookie x 2
_ERRNO = struct.Struct("=i")  # what follows the header of the last message
_ATTRIBUTE = struct.Struct("=HH")  # length, type


def unix_request() -> bytes:
    """Return the netlink message that asks for every unix socket of a namespace."""
    body = _REQUEST.pack(AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW_NAME_AND_PEER, 0, 0)
    length = _HEADER.size + len(body)
    return _HEADER.pack(length, SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 1, 0) + body


def parse_unix_reply(data: bytes) -> tuple[list[UnixSocket], bool]:
    """Read one datagram of the answer: its sockets, and whether it was the last.

    Raises ValueError on an error message (a kernel without unix_diag sends one).
    """
    sockets: list[UnixSocket] = []
    while len(data) >= _HEADER.size:
        length, kind, flags, *_ = _HEADER.unpack_from(data)
        if flags & _NLM_F_DUMP_INTR:
            raise ValueError("the list of unix sockets changed while it was read")
        if kind == _NLMSG_DONE:
            if _ERRNO.unpack_from(data.ljust(_HEADER.size + _ERRNO.size, b"\0"), _HEADER.size)[0]:
                raise ValueError("the list of unix sockets was cut short")
            return sockets, True
        if kind == _NLMSG_ERROR:
            raise ValueError("the kernel refused to list unix sockets")
        if not _HEADER.size + _MESSAGE.size <= length <= len(data):
            raise ValueError("a cut message in the list of unix sockets")
        sockets.append(_unix_message(data[_HEADER.size : length]))
        data = data[_align(length) :]
    return sockets, False


def _unix_message(message: bytes) -> UnixSocket:
    _, _, state, _, inode, _, _ = _MESSAGE.unpack_from(message)
    attributes = dict(_attributes(message[_MESSAGE.size :]))
    peer = attributes.get(_ATTR_PEER)
    return UnixSocket(
        attributes.get(_ATTR_NAME, b"").rstrip(b"\0"),
        state == LISTEN,
        state == ESTABLISHED,
        inode,
        int.from_bytes(peer, sys.byteorder) if peer else 0,
    )


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield kind, data[_ATTRIBUTE.size : length]
        data = data[_align(length) :]


def _align(length: int) -> int:
    """Round up to netlink's alignment of four bytes."""
    return (length + 3) & ~3
