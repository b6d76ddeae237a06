"""Who uses a tree: the connections on its servers' listening sockets, judged end by end.

A client is an established connection on a listening socket that the catalogue names,
whose other end no member of the tree holds. Where the other end cannot be found, it is
a client: being wrong that way keeps somebody's work.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from vscadmin.escape import printable
from vscadmin.model import Client, Connections, Detail, Endpoint, NetTable, TcpSocket, UnixSocket
from vscadmin.procs.catalogue import Listens, Match

_ANY = ("0.0.0.0", "::")  # noqa: S104 - compared with what a server has bound, never bound by us

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Party:
    """Who is who in a tree: its member pids, and its servers with what they look like.

    *launchers* are the members whose connections count where the catalogue says
    `client = launcher`. *companions* are inodes of helpers of the same owner outside the
    tree. Of the pids in *loose* any connection counts: their server is gone and its
    listening socket with it, or who serves here is not known for sure.
    """

    members: frozenset[int]
    servers: Mapping[int, Match]
    launchers: frozenset[int]
    client: Client
    companions: frozenset[int]
    loose: frozenset[int]


# The kernel names inode 0 as the peer of a unix socket whose other end was closed. A server
# holds such a socket, still ESTABLISHED, until the grace of the killed client is over.
_CLOSED = 0


class Sockets:
    """The sockets of one network namespace, looked through once and not once a tree."""

    def __init__(self, table: NetTable) -> None:
        self.is_whole = table.tcp is not None and table.unix is not None
        self.tcp_listening = {each.inode: each for each in table.tcp or () if each.listening}
        self.by_ends = {(each.local, each.remote): each.inode for each in table.tcp or ()}
        self.tcp_on: dict[int, list[TcpSocket]] = defaultdict(list)
        for each in table.tcp or ():
            if each.established:
                self.tcp_on[each.local.port].append(each)
        self.tcp_of = {each.inode: each for on in self.tcp_on.values() for each in on}
        listening = (each for each in table.unix or () if each.listening and each.path)
        self.unix_listening = {each.inode: each for each in listening}
        self.unix_on: dict[bytes, list[UnixSocket]] = defaultdict(list)
        for one in table.unix or ():
            if one.established and one.path and one.peer != _CLOSED:
                self.unix_on[one.path].append(one)
        self.unix_of = {each.inode: each for on in self.unix_on.values() for each in on}


class _View:
    """The sockets of one network namespace, seen from one tree."""

    def __init__(self, party: Party, table: Sockets, held: Mapping[int, frozenset[int]]) -> None:
        self.party = party
        self.table = table
        self.held = held
        self.members = frozenset[int]().union(*held.values())
        self.launchers = frozenset[int]().union(
            *(sockets for pid, sockets in held.items() if pid in party.launchers)
        )

        self.loose = frozenset[int]().union(
            *(sockets for pid, sockets in held.items() if pid in party.loose)
        )

    def is_internal(self, other_end: int | None) -> bool:
        """Whether the process at the other end belongs to the tree itself."""
        if not other_end:
            return False
        if self.party.client is Client.LAUNCHER and other_end in self.launchers:
            return False
        return other_end in self.members or other_end in self.party.companions


_NOTHING = Sockets(NetTable(None, None))


def connections(
    party: Party,
    details: Mapping[int, Detail],
    nets: Mapping[str, Sockets],
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
        table = nets.get(name, _NOTHING)
        if not any(held.values()):
            continue
        if not table.is_whole:
            unreadable.append("the socket table of its network namespace could not be read")
        view = _View(party, table, held)
        for found in (_tcp(view, argvs), _unix(view, argvs)):
            listeners += found.listeners
            clients += found.clients
            internal += found.internal
    return Connections(tuple(listeners), tuple(clients), internal, tuple(unreadable))


def _among(table: Mapping[int, S], inodes: Iterable[int]) -> list[S]:
    """Return what *table* knows of *inodes*, in order."""
    return [table[inode] for inode in sorted(inodes) if inode in table]


def _tcp(view: _View, argvs: Mapping[int, tuple[bytes, ...]]) -> Connections:
    served = {inode for pid, listens in _listening(view) if listens.tcp for inode in view.held[pid]}
    closed = {
        port
        for pid, listens in _listening(view)
        for port in _stated_ports(argvs.get(pid, ()), listens.internal)
    }
    listeners = [
        each.local
        for each in _among(view.table.tcp_listening, served)
        if each.local.port not in closed
    ]
    on_them = (each for one in listeners for each in view.table.tcp_on.get(one.port, ()))
    found = {each: None for each in on_them if _is_on(each.local, listeners)}
    found |= dict.fromkeys(_among(view.table.tcp_of, view.loose))
    clients, internal = [], 0
    for each in found:
        if view.is_internal(view.table.by_ends.get((each.remote, each.local))):
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
        for each in _among(view.table.unix_listening, view.held[pid])
        if _is_stated(each.path, listens.unix, argvs.get(pid, ()))
    }
    found = {each: None for path in sorted(listeners) for each in view.table.unix_on.get(path, ())}
    found |= dict.fromkeys(_among(view.table.unix_of, view.loose))
    clients, internal = [], 0
    for each in found:
        if view.is_internal(each.peer):
            internal += 1
        else:
            clients.append(_unix_words(each))
    return Connections(tuple(map(printable, sorted(listeners))), tuple(clients), internal)


def _is_stated(path: bytes, option: str, argv: tuple[bytes, ...]) -> bool:
    """Whether *argv* states *path*; one that was cut states nothing, and then any will do."""
    paths = [] if option == "*" else stated(argv, option)
    return not paths or path in paths


def _unix_words(socket: UnixSocket) -> str:
    other = "somebody who cannot be found" if socket.peer is None else f"socket {socket.peer}"
    return f"{other} is connected to {printable(socket.path)}"


def _listening(view: _View) -> Iterator[tuple[int, Listens]]:
    for pid, match in view.party.servers.items():
        if pid in view.held and match.pattern.listens is not None:
            yield pid, match.pattern.listens


def _stated_ports(argv: tuple[bytes, ...], options: Iterable[str]) -> Iterator[int]:
    for option in options:
        for value in stated(argv, option):
            if value.isdigit() and len(value) <= 5:
                yield int(value)


def stated(argv: tuple[bytes, ...], option: str) -> list[bytes]:
    """Return the values that *argv* gives an option, as `--option=value` or `--option value`."""
    name = option.encode()
    joined = [each[len(name) + 1 :] for each in argv if each.startswith(name + b"=")]
    return joined + [value for each, value in pairwise(argv) if each == name]
