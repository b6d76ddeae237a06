"""Who is at the other end of a local connection.

The kernel tells by sock_diag(7): a look-up of one socket, open to everybody, 10 µs. Whatever
is not certain is None, and that means: refuse.
"""

from __future__ import annotations

import errno
import socket
import struct

from vscadmin.proxy.link import is_connected

_NETLINK_SOCK_DIAG = 4  # linux/netlink.h
_SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
_REQUEST = 1  # NLM_F_REQUEST, linux/netlink.h
_LONGEST = 4096  # bytes: an answer without attributes has 88, an error repeats the request

# struct nlmsghdr, linux/netlink.h; behind it inet_diag_req_v2 up to its sockid, linux/inet_diag.h
_HEADER = struct.Struct("=IHHII")
_QUESTION = struct.Struct("=IHHIIBBBxI")
# struct inet_diag_sockid: ports and addresses, and then interface and cookie: any
_ENDS = struct.Struct("!HH16s16s")
_ANY = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # INET_DIAG_NOCOOKIE
_ASKED = _QUESTION.size + _ENDS.size + len(_ANY)
# struct inet_diag_msg: family, state, timer, retrans; its sockid; expires, queues, uid, inode
_STATE_AT = _HEADER.size + 1
_ENDS_AT = _HEADER.size + 4
_OWNER = struct.Struct("=II")
_OWNER_AT = _ENDS_AT + _ENDS.size + len(_ANY) + 12
_SIZE = _OWNER_AT + _OWNER.size

# ESTABLISHED, FIN_WAIT1, FIN_WAIT2, include/net/tcp_states.h. A client that said all at once and
# half-closed holds its socket as much as any other; that of one that closed it has inode 0. See
# docs/adr/0012.
_HELD = frozenset((1, 4, 5))
_ALL = 0xFFFFFFFF
_PROTOCOL = socket.IPPROTO_TCP
_FOR_NOW = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)  # says nothing of the kernel

_UCRED = struct.Struct("=iII")  # struct ucred, unix(7)
_MAPPED = bytes(10) + b"\xff\xff"  # ::ffff:0:0/96, IPv4 in IPv6 (RFC 4291, 2.5.5.2)


class Owners:
    """Looks up whose process holds the other end of a connection; keeps one netlink socket."""

    def __init__(self) -> None:
        self._netlink: socket.socket | None = None
        self._sequence = 0

    def uid_of_peer(self, connection: socket.socket) -> int | None:
        """Return the uid that made the peer's socket; None where no process certainly holds it.

        A TCP peer must be on this machine, in our network namespace. Where both ends of one
        connection lived before and after the look-up, no other can have been looked up.
        """
        try:
            peer = connection.getpeername()
            if not isinstance(peer, tuple):
                return _uid_of_unix_peer(connection)
            uid = _uid_of(*self._look_up(peer, connection.getsockname()))
            return uid if connection.getpeername() == peer else None
        except (OSError, ValueError, struct.error):
            return None

    def can_ask(self, connection: socket.socket) -> bool:
        """Tell whether the kernel answers at all, where it did not say whose *connection* is.

        It knows our own end as long as that stands. Without tcp_diag it says ENOENT, as it does
        of a peer that has gone; where a filter forbids it there is another error.
        """
        try:
            peer = connection.getpeername()
            if not isinstance(peer, tuple):
                return True
            answer, _ = self._look_up(connection.getsockname(), peer)
            if _is_found(answer):
                return True
        except (OSError, struct.error) as error:
            if getattr(error, "errno", None) in _FOR_NOW:
                return True
        return not is_connected(connection)

    def close(self) -> None:
        """Let go of the netlink socket."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def _look_up(self, one: tuple[str, int], other: tuple[str, int]) -> tuple[bytes, bytes]:
        """Ask for the socket that calls *one* its own end; return the answer, and both ends.

        Raises OSError.
        """
        family, ends = _ends(one, other)
        self._sequence += 1
        question = _QUESTION.pack(
            _ASKED, _SOCK_DIAG_BY_FAMILY, _REQUEST, self._sequence, 0,
            family, _PROTOCOL, 0, _ALL,
        )  # fmt: skip
        return self._ask(question + ends + _ANY), ends

    def _ask(self, message: bytes) -> bytes:
        """Return the kernel's answer: it is there when send(2) returns."""
        if self._netlink is None:
            kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
            self._netlink = socket.socket(socket.AF_NETLINK, kind, _NETLINK_SOCK_DIAG)
        try:
            self._netlink.send(message)
            answer = self._netlink.recv(_LONGEST, socket.MSG_DONTWAIT)
            _, _, _, sequence, _ = _HEADER.unpack_from(answer)
            if sequence != self._sequence:
                raise OSError("an answer to another question")
        except (OSError, struct.error):
            self.close()  # with whatever else is waiting in it
            raise
        return answer


def _ends(peer: tuple[str, int], own: tuple[str, int]) -> tuple[int, bytes]:
    """Return the family in which the kernel looks the two ends up, and the two as it has them."""
    family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
    theirs, ours = socket.inet_pton(family, peer[0]), socket.inet_pton(family, own[0])
    if family == socket.AF_INET6 and theirs.startswith(_MAPPED):
        family = socket.AF_INET
        theirs, ours = theirs[len(_MAPPED) :], ours[len(_MAPPED) :]
    return family, _ENDS.pack(peer[1], own[1], theirs, ours)


def _uid_of(answer: bytes, ends: bytes) -> int | None:
    """Read whose socket was found: the very one that was asked for, and held by a process."""
    if not _is_found(answer):
        return None
    uid, inode = _OWNER.unpack_from(answer, _OWNER_AT)
    is_it = answer[_ENDS_AT : _ENDS_AT + len(ends)] == ends
    return uid if is_it and inode and answer[_STATE_AT] in _HELD else None


def _is_found(answer: bytes) -> bool:
    """Tell whether it is about a socket; NLMSG_ERROR: there is none, or there is nobody to ask."""
    return _HEADER.unpack_from(answer)[1] == _SOCK_DIAG_BY_FAMILY and len(answer) >= _SIZE


def _uid_of_unix_peer(connection: socket.socket) -> int:
    """Return who connected; raises OSError."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return int(_UCRED.unpack(credentials)[1])
