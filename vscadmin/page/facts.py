"""What a page shows: frozen facts of one node or of many. Pure.

A `Page` is all that `vscadmin.page.render.render` takes. Who merges many nodes gives one
`Node` for each that was asked, those that did not answer included, and the servers of all
of them in one tuple; totals per user and per node are made of these. Names, command lines
and reasons may be as they were seen: the page escapes every one of them. Times are seconds
since the epoch, sizes bytes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """A login node that was asked.

    *seen_at* is when its process table was read, None where it did not answer; *processes*
    is how many were in it. *problem* says why there is nothing of it, or less than all;
    *policy* which one judged, *mode* the policy's.
    """

    name: str
    seen_at: float | None
    processes: int = 0
    policy: str = ""
    mode: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Server:
    """A server: one row of the table, as `vscadmin report` prints it.

    *user* is a name, or "#uid" where the look-up failed; *state* one of the five states.
    *since*, *started_at* and *cpu_percent* (of one core) are None where they are not known.
    *next* says what would happen when, or why nothing would.
    """

    node: str
    user: str
    pid: int
    product: str
    state: str
    since: float | None
    started_at: float | None
    orphan: bool
    processes: int
    rss: int
    cpu_percent: float | None
    rule: str
    next: str
    command: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What one stored scan saw: servers, those of them that were abandoned, resident memory."""

    at: float
    trees: int
    abandoned: int
    rss: int


@dataclass(frozen=True, slots=True)
class End:
    """A server that was ended; *rss* is what that gave back.

    *regretted*: its owner opened the same product again within an hour.
    """

    at: float
    rss: int
    regretted: bool


@dataclass(frozen=True, slots=True)
class Trend:
    """What the store of one node remembers between two moments, the oldest first.

    *every* is the seconds of which the samples stand for one scan, the last in them.
    """

    node: str
    begin: float
    end: float
    every: float
    samples: tuple[Sample, ...] = ()
    ends: tuple[End, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """All that is shown. *made_at* is the moment that every age on it counts to.

    *trends* may be empty: no store, or none that may be read. *notes* are lines below the
    title: what to bear in mind, what is missing.
    """

    title: str
    made_at: float
    nodes: tuple[Node, ...]
    servers: tuple[Server, ...]
    trends: tuple[Trend, ...] = ()
    notes: tuple[str, ...] = ()
