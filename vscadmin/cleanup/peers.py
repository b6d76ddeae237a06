"""What the nodes of a fleet tell each other through a shared directory: one snapshot a node.

Each node writes its own and reads the others'. Nothing in one ends a tree by itself: what
another node delivered becomes a notice in the store of the tree's own node, or is nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from vscadmin.model import ProcessKey
from vscadmin.policy.settings import Action

_BETWEEN = "/"  # no name of a node holds one


class Standing(NamedTuple):
    """A server that runs on a node, for rules that count over the fleet."""

    uid: int
    user: str
    pid: int
    start_ticks: int
    started_at: float


class Ask(NamedTuple):
    """A server whose owner is due to be told, for whichever node writes the message.

    *since* is when its node asked first; *clear_since* begins the run of scans that the
    notice is about. *notice* is the rule's, in seconds, and *earliest* the end before which
    there is none whatever the notice; both count for an announced end only. The texts are
    those of the message.
    """

    uid: int
    user: str
    pid: int
    start_ticks: int
    started_at: float
    product: str
    rule: str
    action: Action
    notice: int
    earliest: float
    since: float
    clear_since: float
    title: str
    started: str
    age: str
    client: str
    memory: str
    reasons: tuple[str, ...]

    @property
    def key(self) -> ProcessKey:
        """The server's identity within its node's boot."""
        return ProcessKey(self.pid, self.start_ticks)


class Told(NamedTuple):
    """A server of another node that a delivered message named.

    *asked_at* is the moment, by the clock of the server's node, of the scan that asked.
    """

    node: str
    boot_id: str
    pid: int
    start_ticks: int
    user: str
    product: str
    rule: str
    action: Action
    address: str
    asked_at: float
    delivered_at: float
    not_before: float | None

    @property
    def key(self) -> ProcessKey:
        """The server's identity within its node's boot."""
        return ProcessKey(self.pid, self.start_ticks)


@dataclass(frozen=True, slots=True)
class Peer:
    """The snapshot of one node. *sends* is whether it writes to owners at all.

    *written* is when each user got, or may have got, a message from it.
    """

    node: str
    boot_id: str
    taken_at: float
    written_at: float
    sends: bool
    trees: tuple[Standing, ...] = ()
    asks: tuple[Ask, ...] = ()
    told: tuple[Told, ...] = ()
    written: Mapping[str, float] = field(default_factory=dict)


class Foreign(NamedTuple):
    """A server of another node that its owner is to be told of."""

    node: str
    boot_id: str
    asked_at: float
    ask: Ask


def foreign_boot(node: str, boot_id: str) -> str:
    """Return the boot under which the store keeps another node's server: never one of ours."""
    return f"{node}{_BETWEEN}{boot_id}"


def node_and_boot(boot_id: str) -> tuple[str, str]:
    """Take apart what `foreign_boot` put together; the node is "" for a boot of our own."""
    node, _, boot = boot_id.rpartition(_BETWEEN)
    return node, boot
