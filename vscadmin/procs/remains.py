"""What is left of a tree that is being ended: which processes, and who uses them.

Once its root is dead a tree has lost its shape: members hang below pid 1, servers have
closed the sockets they listened on. So nothing is matched anew: what an earlier look knew
by key is followed, and its listening endpoints are watched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from vscadmin.escape import printable
from vscadmin.model import Client, Detail, Endpoint, Place, Process, ProcessKey, Snapshot, Tree
from vscadmin.procs.catalogue import Catalogue, Match, Role, exe_agrees
from vscadmin.procs.clients import Sockets
from vscadmin.procs.kinship import Kinship
from vscadmin.procs.stat import whereabouts

_NOBODY = 0  # the kernel's inode of a socket that no process holds


@dataclass(frozen=True, slots=True)
class Remains:
    """What is left of a tree, who is connected to it and what could not be read, in words.

    *elsewhere* says what of it runs in a job or container by now.
    """

    processes: tuple[Process, ...]
    clients: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()


def still_there(
    processes: Mapping[int, Process], known: Iterable[ProcessKey]
) -> dict[int, Process]:
    """Return the processes that *known* names, and their descendants, parents first."""
    kin = Kinship(processes)
    found: dict[int, Process] = {}
    for key in known:
        process = processes.get(key.pid)
        if process is None or process.key != key or key.pid in found:
            continue
        found.update((pid, processes[pid]) for pid in kin.family(key.pid))
    return found


def remains(
    tree: Tree, known: Collection[ProcessKey], snapshot: Snapshot, catalogue: Catalogue
) -> Remains:
    """Look at what is left of *tree* in a snapshot that has the details of all of it.

    A client is a connection on an endpoint that *tree* was seen to listen on, whose other
    end nothing that is left holds. Where no endpoint was known, any connection counts.
    """
    left = still_there(snapshot.processes, known)
    left = {pid: each for pid, each in left.items() if pid not in snapshot.ourselves}
    living = [each for each in left.values() if each.state != "Z"]
    unreadable = [
        f"pid {key.pid} could not be read" for key in known if key.pid in snapshot.unreadable
    ]
    by_net: dict[str, set[int]] = {}
    for each in living:
        detail = snapshot.details.get(each.pid, Detail())
        if detail.sockets is None or detail.net_ns is None:
            unreadable.append(f"the sockets of pid {each.pid} could not be read")
        elif detail.sockets:
            by_net.setdefault(detail.net_ns, set()).update(detail.sockets)
    internal = _internal(tree, living, snapshot, catalogue)
    clients: list[str] = []
    for name, held in by_net.items():
        table = snapshot.nets.get(name)
        if table is None or table.tcp is None or table.unix is None:
            unreadable.append("the socket table of its network namespace could not be read")
        else:
            watched = frozenset(tree.connections.listeners)
            clients += _clients(Sockets(table), watched, held, internal)
    unreadable += _without_cgroups(living, snapshot)
    elsewhere = tuple(_elsewhere(left.values(), snapshot))
    return Remains(tuple(left.values()), tuple(clients), tuple(unreadable), elsewhere)


def _without_cgroups(living: Iterable[Process], snapshot: Snapshot) -> Iterator[str]:
    for each in living:
        if snapshot.details.get(each.pid, Detail()).cgroups is None:
            yield f"the cgroup of pid {each.pid} could not be read"


def _elsewhere(left: Iterable[Process], snapshot: Snapshot) -> Iterator[str]:
    for each in left:
        detail = snapshot.details.get(each.pid, Detail())
        where, words = whereabouts(detail, snapshot.our_cgroups)
        if where is not Place.HERE:
            yield f"pid {each.pid} runs in {words}"


def _internal(
    tree: Tree, living: Iterable[Process], snapshot: Snapshot, catalogue: Catalogue
) -> frozenset[int]:
    """Return the sockets whose connections to the tree are its own.

    Those are what is left of it, a tunnel's excepted (it carries clients), and the
    owner's helpers, as vscadmin.procs.clients has them.
    """
    inodes: set[int] = set()
    for process in living:
        match = _match(process, snapshot, catalogue)
        if match is None or not _carries_clients(match):
            inodes.update(_sockets(snapshot, process.pid))
    kin = Kinship(snapshot.processes)
    for pid in snapshot.details:
        helper = snapshot.processes.get(pid)
        if helper is None or helper.uid != tree.root.uid:
            continue
        match = _match(helper, snapshot, catalogue)
        if match is not None and match.layout.companion:
            inodes.update(*(_sockets(snapshot, each) for each in kin.family(pid)))
    return frozenset(inodes)


def _match(process: Process, snapshot: Snapshot, catalogue: Catalogue) -> Match | None:
    match = catalogue.match(process.argv)
    exe = snapshot.details.get(process.pid, Detail()).exe
    return match if match is not None and exe is not None and exe_agrees(match, exe) else None


def _carries_clients(match: Match) -> bool:
    is_tunnel = match.layout.client is Client.LAUNCHER and match.pattern.role is Role.ROOT
    return is_tunnel and match.pattern.listens is None


def _sockets(snapshot: Snapshot, pid: int) -> frozenset[int]:
    return snapshot.details.get(pid, Detail()).sockets or frozenset()


def _clients(
    table: Sockets, watched: frozenset[str], held: Collection[int], internal: Collection[int]
) -> Iterator[str]:
    """Yield the clients in one network namespace, in words.

    They are on a *watched* endpoint, or on a socket in *held* where none is known.
    """
    # Not by inode: a connection that nobody has accepted yet has none.
    for tcp in chain.from_iterable(table.tcp_on.values()):
        if not (_came_in(tcp.local, watched) if watched else tcp.inode in held):
            continue
        if table.by_ends.get((tcp.remote, tcp.local), _NOBODY) not in internal:
            yield f"{tcp.remote} is connected to {tcp.local}"
    for unix in chain.from_iterable(table.unix_on.values()):
        path = printable(unix.path)
        if not (path in watched if watched else unix.inode in held):
            continue
        if unix.peer not in internal:
            other = "somebody who cannot be found" if unix.peer is None else f"socket {unix.peer}"
            yield f"{other} is connected to {path}"


def _came_in(local: Endpoint, watched: frozenset[str]) -> bool:
    """Whether a connection came in where the tree listened: there, or on any address."""
    return not watched.isdisjoint({str(local), f"0.0.0.0:{local.port}", f"[::]:{local.port}"})
