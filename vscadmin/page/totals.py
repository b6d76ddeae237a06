"""Sums over servers: by user, by node, and by state. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from vscadmin.page.facts import Server

STATES = ("connected", "grace", "abandoned", "unknown", "out-of-scope")
"""The five states, in the order that a bar stacks them: what is in use first."""


@dataclass(slots=True)
class Total:
    """Sums over the servers of one user or one node; memory by state, bytes."""

    name: str
    nodes: set[str] = field(default_factory=set)
    users: set[str] = field(default_factory=set)
    trees: int = 0
    connected: int = 0
    abandoned: int = 0
    processes: int = 0
    rss: int = 0
    cpu_percent: float | None = None
    memory: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES, 0))

    def add(self, server: Server) -> None:
        """Count one more server."""
        self.nodes.add(server.node)
        self.users.add(server.user)
        self.trees += 1
        self.connected += server.state == "connected"
        self.abandoned += server.state == "abandoned"
        self.processes += server.processes
        self.rss += server.rss
        self.memory[server.state] += server.rss
        if server.cpu_percent is not None:
            self.cpu_percent = (self.cpu_percent or 0.0) + server.cpu_percent


def by_user(servers: Iterable[Server]) -> tuple[Total, ...]:
    """Return one total a user, over all nodes, the one with the most memory first."""
    return _sorted(_totals(servers, lambda server: server.user))


def by_node(servers: Iterable[Server], names: Iterable[str]) -> tuple[Total, ...]:
    """Return one total a node, those of *names* without a server too, the most memory first."""
    found = _totals(servers, lambda server: server.node)
    return _sorted({name: Total(name) for name in names} | found)


def _totals(servers: Iterable[Server], name_of: Callable[[Server], str]) -> dict[str, Total]:
    found: dict[str, Total] = defaultdict(lambda: Total(""))
    for server in servers:
        found[name_of(server)].add(server)
    for name, total in found.items():
        total.name = name
    return dict(found)


def _sorted(totals: dict[str, Total]) -> tuple[Total, ...]:
    return tuple(sorted(totals.values(), key=lambda total: (-total.rss, total.name)))
