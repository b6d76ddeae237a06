"""Whose turn it is to write to a user: a pure function of the user and the live nodes.

Equal views make one sender. Unequal ones can make two, and then a user gets two messages;
none at all they cannot make for long, as a node whose servers wait for longer than *stale*
writes itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from vscadmin.cleanup.peers import Ask, Foreign, Peer, Told
from vscadmin.model import ProcessKey
from vscadmin.policy.decide import Abroad, Elsewhere
from vscadmin.policy.states import History

AHEAD = 300.0  # seconds that another node's clock may be ahead: more is a wrong clock
KEPT = 2 * 86400.0  # seconds; after two days without a scan a ladder begins anew anyway

Person = tuple[str, int]
"""A user's name and uid: both, or it is another person."""


def sender(user: str, nodes: Iterable[str]) -> str:
    """Return the one of *nodes* that writes to *user*: the highest hash of both (rendezvous).

    A node that goes moves only its own users to others. Raises ValueError for no node.
    """
    return max(nodes, key=lambda node: (sha256(f"{node}\0{user}".encode()).digest(), node))


def is_live(peer: Peer, now: float, stale: float) -> bool:
    """Whether a node has written its snapshot lately, and not with a clock that is ahead."""
    return -AHEAD <= now - peer.written_at < stale


@dataclass(frozen=True, slots=True)
class Fleet:
    """The fleet as this node sees it. *peers* are the other nodes that are live.

    *heard* is whether the others can read of us: what this node wrote at its last run still
    stands there. Without that it relies on nobody. *since* is when each of our servers was
    asked for first, *trees* are those of the others.
    """

    node: str = ""
    peers: tuple[Peer, ...] = ()
    stale: float = 0.0
    heard: bool = False
    since: Mapping[ProcessKey, float] = field(default_factory=dict)
    asks: Mapping[Person, tuple[Foreign, ...]] = field(default_factory=dict)
    written: Mapping[str, float] = field(default_factory=dict)
    trees: Elsewhere = field(default_factory=dict)

    @property
    def senders(self) -> frozenset[str]:
        """The nodes that write to owners, this one included."""
        return frozenset({self.node, *(each.node for each in self.peers if each.sends)})


ALONE = Fleet()
"""A node that knows of no other."""


def fleet_of(node: str, peers: Iterable[Peer], own: Peer | None, now: float, stale: float) -> Fleet:
    """Return the fleet that *node* sees *now*; *own* is its last snapshot where that stands."""
    live = tuple(each for each in peers if each.node != node and is_live(each, now, stale))
    mine = own.told if own else ()
    written: dict[str, float] = {}
    for peer in live:
        for user, at in peer.written.items():
            written[user] = max(at, written.get(user, at))
    return Fleet(
        node=node,
        peers=live,
        stale=stale,
        heard=own is not None,
        since={each.key: each.since for each in own.asks} if own else {},
        asks=_open_asks(live, [*mine, *(told for peer in live for told in peer.told)]),
        written=written,
        trees=trees_of(live),
    )


def trees_of(peers: Iterable[Peer]) -> Elsewhere:
    """Return the trees of *peers* by their owner."""
    found: dict[tuple[int, str], list[Abroad]] = defaultdict(list)
    for peer in peers:
        for each in peer.trees:
            found[each.uid, each.user].append(Abroad(peer.node, each.started_at))
    return {owner: tuple(trees) for owner, trees in found.items()}


def _open_asks(peers: Iterable[Peer], told: Iterable[Told]) -> Mapping[Person, tuple[Foreign, ...]]:
    """Return what the others ask for, without what a message has named that they know not yet."""
    answered: dict[tuple[str, str, ProcessKey], list[Told]] = defaultdict(list)
    for each in told:
        answered[each.node, each.boot_id, each.key].append(each)
    found: dict[Person, list[Foreign]] = defaultdict(list)
    for peer in peers:
        for ask in peer.asks:
            known = answered.get((peer.node, peer.boot_id, ask.key), ())
            if not any(_answers(each, ask) for each in known):
                asked = Foreign(peer.node, peer.boot_id, peer.taken_at, ask)
                found[ask.user, ask.uid].append(asked)
    return {person: tuple(asks) for person, asks in found.items()}


def _answers(told: Told, ask: Ask) -> bool:
    same = (told.user, told.rule, told.action) == (ask.user, ask.rule, ask.action)
    return same and told.asked_at >= ask.clear_since


def is_our_turn(
    fleet: Fleet, person: Person, waiting: float | None, allowed: float, now: float
) -> bool:
    """Whether this node writes to *person* now.

    *waiting* is since when a server of ours waits to be told of, None if none does;
    *allowed* is when the next message may go out. The sender waits until every node that
    writes has had a look since the first of them waits, so that one message names them all.
    """
    if not fleet.heard:
        return True
    if waiting is not None and now - max(waiting, allowed) > fleet.stale:
        return True
    if sender(person[0], fleet.senders) != fleet.node:
        return False
    first = min(
        [each.ask.since for each in fleet.asks.get(person, ())]
        + ([] if waiting is None else [waiting]),
        default=now,
    )
    return all(each.taken_at >= first for each in fleet.peers if each.sends)


def is_ours_to_take(told: Told, history: History, now: float) -> bool:
    """Whether what another node delivered counts as a notice of a tree of ours.

    Only of the run of scans that still counts, by our own clock: a client since, or a clock
    that was set back, and the owner is told anew.
    """
    begun = history.clear_since
    return begun is not None and begun <= told.asked_at <= now
