"""The facts: what was seen in the process table, frozen, and named for what it means.

Nothing of ours is imported here. Times are seconds since the epoch unless a name
says ticks; sizes are bytes. None always means "could not be read", never "empty".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class ProcessKey(NamedTuple):
    """A process's identity: a pid is reused, a pid and its start time is not.

    Ticks since boot, not seconds since the epoch: stepping the clock moves
    every wall-clock start time, and an identity must not move.
    """

    pid: int
    start_ticks: int


class Process(NamedTuple):
    """What pass one reads of every process.

    *uid* is the owner of /proc/PID, the effective uid; *tty* is the kernel's device
    number, 0 for none; *argv* is cut at 4 KiB, and empty for kernel threads and zombies.
    """

    pid: int
    start_ticks: int
    ppid: int
    pgid: int
    sid: int
    tty: int
    state: str
    cpu_ticks: int
    rss: int
    uid: int
    argv: tuple[bytes, ...]

    @property
    def key(self) -> ProcessKey:
        """The identity: pid and start."""
        return ProcessKey(self.pid, self.start_ticks)


class Uids(NamedTuple):
    """All four user ids of a process, as /proc/PID/status orders them."""

    real: int
    effective: int
    saved: int
    filesystem: int


class Detail(NamedTuple):
    """What pass two reads of a process in or near a candidate tree; None = not readable.

    *exe* is the target of /proc/PID/exe, " (deleted)" kept; *cgroups* are the paths of
    /proc/PID/cgroup; *pid_levels* counts the pid namespaces from ours down to its own;
    *net_ns* is the target of ns/net; *sockets* are the inodes of its open sockets.
    """

    uids: Uids | None = None
    exe: bytes | None = None
    cgroups: tuple[str, ...] | None = None
    pid_levels: int | None = None
    net_ns: str | None = None
    sockets: frozenset[int] | None = None


class Endpoint(NamedTuple):
    """One end of a TCP connection; IPv4 in IPv6 is written as IPv4."""

    address: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


class TcpSocket(NamedTuple):
    """A line of /proc/PID/net/tcp or tcp6. *inode* is 0 when no process holds it."""

    local: Endpoint
    remote: Endpoint
    listening: bool
    established: bool
    inode: int


class UnixSocket(NamedTuple):
    """A unix socket. *path* is empty where it has none; an accepted one has its listener's.

    *peer* is the inode of the other end, 0 where there is none (any more), None where not known.
    """

    path: bytes
    listening: bool
    established: bool
    inode: int
    peer: int | None


class NetTable(NamedTuple):
    """The sockets of one network namespace; None where a table could not be read."""

    tcp: tuple[TcpSocket, ...] | None
    unix: tuple[UnixSocket, ...] | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The process table at one moment.

    *details* covers the candidates and what belongs to them; *nets* is keyed by the
    target of ns/net. *unreadable* are pids that are listed but could not be read.
    *ourselves* is this process and all its ancestors: never a candidate.
    """

    boot_id: str
    boot_time: float
    taken_at: float
    ticks_per_second: int
    processes: Mapping[int, Process]
    details: Mapping[int, Detail] = field(default_factory=dict)
    nets: Mapping[str, NetTable] = field(default_factory=dict)
    unreadable: tuple[int, ...] = ()
    ourselves: frozenset[int] = frozenset()
    our_cgroups: tuple[str, ...] = ()

    def started_at(self, process: Process) -> float:
        """When *process* started, from its start ticks and the boot time."""
        return self.boot_time + process.start_ticks / self.ticks_per_second


class Client(StrEnum):
    """Which connections of a tree are a client's."""

    OUTSIDE = "outside"
    LAUNCHER = "launcher"


class Place(StrEnum):
    """Where a process runs, by its cgroup and pid namespace."""

    HERE = "here"
    JOB = "slurm-job"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class Connections:
    """Who is connected to a tree, in words. *unreadable* says what could not be looked up."""

    listeners: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    internal: int = 0
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose tree it is. *name* and *groups* are None when the look-up failed."""

    uid: int
    name: str | None
    groups: tuple[str, ...] | None = ()

    def __str__(self) -> str:
        return self.name if self.name is not None else f"#{self.uid}"


@dataclass(frozen=True, slots=True)
class Tree:
    """A remote-editor server: its root process and every member, the root first.

    *foreign* are members that are not wholly the owner's (a `sudo -i` in the editor's
    terminal): seen, reported, never signalled. *elsewhere* are members that run in a job
    or container that the root is not in, and in words which. *agents* names AI helpers inside.
    *grace* is the reconnection grace in seconds and who stated it, None if nobody did.
    """

    root: Process
    members: tuple[Process, ...]
    product: str
    title: str
    layout: str
    verified: bool
    report_only: bool
    started_at: float
    orphan: bool
    parent: str
    connections: Connections
    uids: Uids | None
    place: Place
    place_words: str
    unreadable: tuple[str, ...] = ()
    foreign: tuple[Process, ...] = ()
    elsewhere: tuple[tuple[Process, str], ...] = ()
    agents: tuple[str, ...] = ()
    servers: int = 1
    grace: tuple[int, str] | None = None
    host_started_at: float | None = None

    @property
    def key(self) -> ProcessKey:
        """The tree's identity is its root's."""
        return self.root.key

    @property
    def rss(self) -> int:
        """Resident memory of all members, bytes; shared pages count once a process."""
        return sum(process.rss for process in self.members)

    @property
    def cpu_ticks(self) -> int:
        """CPU time that all living members have used, in ticks."""
        return sum(process.cpu_ticks for process in self.members)
