"""Who uses a tree: the connections on its servers' listening sockets, judged end by end.

A client is an established connection on a listening socket that the catalogue names,
whose other end no member of the tree holds. Where the other end cannot be found, it is
a client: being wrong that way keeps somebody's work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from vscadmin.escape import printable
from vscadmin.model import Client, Connections, Detail, Endpoint, NetTable, TcpSocket, UnixSocket
from vscadmin.procs.catalogue import Listens, Match

_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with what a server has bound, never bound by us


@dataclass(frozen=True, slots=True)
class Party:
    """Who is who in a tree: its member pids, and its servers with what they look like.

    *launchers* are the members whose connections count where the catalogue says
    `client = launcher`. *companions* are inodes of helpers of the same owner outside the
    tree. Without a server (*leftover*) the listening socket is gone with it, so any
    connection of a member counts.
    """

    members: frozenset[int]
    servers: Mapping[int, Match]
    launchers: frozenset[int]
    client: Client
    companions: frozenset[int]
    leftover: bool


# The kernel names inode 0 as the peer of a unix socket whose other end was closed. A server
# holds such a socket, still ESTABLISHED, until the grace of the killed client is over.
_CLOSED = 0


class _View:
    """The sockets of one network namespace, seen from one tree."""

    def __init__(self, party: Party, table: NetTable, held: Mapping[int, frozenset[int]]) -> None:
        self.party = party
        self.tcp = table.tcp or ()
        self.unix = table.unix or ()
        self.held = held
        self.members = frozenset[int]().union(*held.values())
        self.launchers = frozenset[int]().union(
            *(sockets for pid, sockets in held.items() if pid in party.launchers)
        )

    def is_internal(self, other_end: int | None) -> bool:
        """Whether the process at the other end belongs to the tree itself."""
        if not other_end:
            return False
        if self.party.client is Client.LAUNCHER and other_end in self.launchers:
            return False
        return other_end in self.members or other_end in self.party.companions


def connections(
    party: Party,
    details: Mapping[int, Detail],
    nets: Mapping[str, NetTable],
    argvs: Mapping[int, tuple[bytes, ...]],
) -> Connections:
    """Return the listeners and clients of a tree, in words, and what could not be read."""
    by_net: dict[str, dict[int, frozenset[int]]] = {}
    unreadable: list[str] = []
    for pid in sorted(party.members):
        detail = details.get(pid, Detail())
        if detail.sockets is None or detail.net_ns is None:
            unreadable.append(f"the sockets of pid {pid} could not be read")
        else:
            by_net.setdefault(detail.net_ns, {})[pid] = detail.sockets
    listeners: list[str] = []
    clients: list[str] = []
    internal = 0
    for name, held in by_net.items():
        table = nets.get(name, NetTable(None, None))
        if not any(held.values()):
            continue
        if table.tcp is None or table.unix is None:
            unreadable.append("the socket table of its network namespace could not be read")
        view = _View(party, table, held)
        for found in (_tcp(view, argvs), _unix(view, argvs)):
            listeners += found.listeners
            clients += found.clients
            internal += found.internal
    return Connections(tuple(listeners), tuple(clients), internal, tuple(unreadable))


def _tcp(view: _View, argvs: Mapping[int, tuple[bytes, ...]]) -> Connections:
    served = {inode for pid, listens in _listening(view) if listens.tcp for inode in view.held[pid]}
    closed = {
        port
        for pid, listens in _listening(view)
        for port in _stated_ports(argvs.get(pid, ()), listens.internal)
    }
    listeners = [
        each.local
        for each in view.tcp
        if each.listening and each.inode in served and each.local.port not in closed
    ]
    by_ends = {(each.local, each.remote): each.inode for each in view.tcp}
    clients, internal = [], 0
    for each in view.tcp:
        if not each.established or not (
            _is_on(each.local, listeners) or (view.party.leftover and each.inode in view.members)
        ):
            continue
        if view.is_internal(by_ends.get((each.remote, each.local))):
            internal += 1
        else:
            clients.append(_tcp_words(each))
    return Connections(tuple(map(str, listeners)), tuple(clients), internal)


def _tcp_words(socket: TcpSocket) -> str:
    return f"{socket.remote} is connected to {socket.local}"


def _is_on(local: Endpoint, listeners: Iterable[Endpoint]) -> bool:
    return any(
        local.port == listener.port and listener.address in (local.address, *_ANY)
        for listener in listeners
    )


def _unix(view: _View, argvs: Mapping[int, tuple[bytes, ...]]) -> Connections:
    listeners = {
        each.path
        for pid, listens in _listening(view)
        if listens.unix
        for each in view.unix
        if each.listening and each.path and each.inode in view.held[pid]
        if listens.unix == "*" or each.path in _values(argvs.get(pid, ()), listens.unix)
    }
    clients, internal = [], 0
    for each in view.unix:
        if not each.established or not each.path or each.peer == _CLOSED:
            continue
        if each.path in listeners or (view.party.leftover and each.inode in view.members):
            if view.is_internal(each.peer):
                internal += 1
            else:
                clients.append(_unix_words(each))
    return Connections(tuple(map(printable, sorted(listeners))), tuple(clients), internal)


def _unix_words(socket: UnixSocket) -> str:
    other = "somebody who cannot be found" if socket.peer is None else f"socket {socket.peer}"
    return f"{other} is connected to {printable(socket.path)}"


def _listening(view: _View) -> Iterator[tuple[int, Listens]]:
    for pid, match in view.party.servers.items():
        if pid in view.held and match.pattern.listens is not None:
            yield pid, match.pattern.listens


def _stated_ports(argv: tuple[bytes, ...], options: Iterable[str]) -> Iterator[int]:
    for option in options:
        for value in _values(argv, option):
            if value.isdigit() and len(value) <= 5:
                yield int(value)


def _values(argv: tuple[bytes, ...], option: str) -> list[bytes]:
    """Return the values that *argv* gives an option, as `--option=value` or `--option value`."""
    name = option.encode()
    joined = [each[len(name) + 1 :] for each in argv if each.startswith(name + b"=")]
    return joined + [value for each, value in pairwise(argv) if each == name]


def stated(argv: tuple[bytes, ...], option: bytes) -> list[bytes]:
    """Return every value that *argv* states for *option*."""
    return _values(argv, option.decode())
