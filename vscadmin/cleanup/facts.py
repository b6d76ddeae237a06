"""A tree as the store keeps it: what the policy judges by, without what differs at every look.

Memory, CPU time and the wall clock are left out (a sighting has those), so that a tree
that does not change is stored once. No secret of a command line is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from vscadmin.escape import without_secrets
from vscadmin.model import Connections, Owner, Place, Process, Tree, Uids

ARGV_LIMIT = 256  # bytes of one process's arguments
_NAME_LIMIT = 96  # bytes that the program and the first operand may take of it for certain
_AS_IT_IS = (
    "product",
    "title",
    "layout",
    "verified",
    "report_only",
    "orphan",
    "parent",
    "place_words",
    "servers",
)


class Seen(NamedTuple):
    """What differs at every look; *started_at* moves when the clock is set."""

    rss: int
    cpu_seconds: float
    started_at: float


def to_facts(tree: Tree, owner: Owner) -> dict[str, Any]:
    """Return what is stable of a tree and its owner, as JSON can hold it."""
    facts: dict[str, Any] = {name: getattr(tree, name) for name in _AS_IT_IS}
    joined = tree.connections
    host = tree.host_started_at
    return facts | {
        "members": [_of_process(each) for each in tree.members],
        "foreign": [each.pid for each in tree.foreign],
        "elsewhere": [[each.pid, words] for each, words in tree.elsewhere],
        "listeners": list(joined.listeners),
        "clients": list(joined.clients),
        "internal": joined.internal,
        "unreadable_sockets": list(joined.unreadable),
        "uids": None if tree.uids is None else list(tree.uids),
        "place": str(tree.place),
        "unreadable": list(tree.unreadable),
        "agents": list(tree.agents),
        "grace": None if tree.grace is None else list(tree.grace),
        "host_after": None if host is None else round(host - tree.started_at, 3),
        "owner": [owner.uid, owner.name, None if owner.groups is None else list(owner.groups)],
    }


def from_facts(facts: Mapping[str, Any], seen: Seen, ticks: int) -> tuple[Tree, Owner]:
    """Return the tree of *facts* as it was *seen*, *ticks* being the kernel's, per second.

    The sums of memory and CPU time stand at the root: no rule asks whose they are.
    """
    members = [_to_process(each) for each in facts["members"]]
    cpu_ticks = round(seen.cpu_seconds * ticks)
    members[0] = members[0]._replace(rss=seen.rss, cpu_ticks=cpu_ticks)
    foreign = frozenset(facts["foreign"])
    elsewhere = dict(facts.get("elsewhere", ()))  # facts of an earlier version have none
    host = facts["host_after"]
    tree = Tree(
        root=members[0],
        members=tuple(members),
        started_at=seen.started_at,
        connections=_connections(facts),
        uids=None if facts["uids"] is None else Uids(*facts["uids"]),
        place=Place(facts["place"]),
        unreadable=tuple(facts["unreadable"]),
        foreign=tuple(each for each in members if each.pid in foreign),
        elsewhere=tuple((each, elsewhere[each.pid]) for each in members if each.pid in elsewhere),
        agents=tuple(facts["agents"]),
        grace=None if facts["grace"] is None else (facts["grace"][0], facts["grace"][1]),
        host_started_at=None if host is None else seen.started_at + host,
        **{name: facts[name] for name in _AS_IT_IS},
    )
    uid, name, groups = facts["owner"]
    return tree, Owner(uid, name, None if groups is None else tuple(groups))


def _connections(facts: Mapping[str, Any]) -> Connections:
    return Connections(
        listeners=tuple(facts["listeners"]),
        clients=tuple(facts["clients"]),
        internal=facts["internal"],
        unreadable=tuple(facts["unreadable_sockets"]),
    )


def _of_process(process: Process) -> list[Any]:
    """Return a process as a list; of its state only whether it is a zombie: the rest is a mood."""
    return [
        process.pid,
        process.start_ticks,
        process.ppid,
        process.pgid,
        process.sid,
        process.tty,
        "Z" if process.state == "Z" else "S",
        process.uid,
        [each.decode("utf-8", "surrogateescape") for each in shortened(process.argv)],
    ]


def _to_process(listed: Iterable[Any]) -> Process:
    pid, start_ticks, ppid, pgid, sid, tty, state, uid, argv = listed
    spelled = tuple(each.encode("utf-8", "surrogateescape") for each in argv)
    return Process(pid, start_ticks, ppid, pgid, sid, tty, state, 0, 0, uid, spelled)


def shortened(argv: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return *argv* without secrets, in at most ARGV_LIMIT bytes.

    The ends of the program's and the first operand's names stay whatever else has to go:
    protection is judged by them. Of the rest, those that fit are kept, in order.
    """
    clean = argv
    if any(each.startswith(b"--") for each in argv):
        clean = tuple(without_secrets(argv))
    if _size(clean) <= ARGV_LIMIT:
        return clean
    operand = next((n for n, each in enumerate(clean) if n and not each.startswith(b"-")), 0)
    kept = {n: clean[n][-_NAME_LIMIT:] for n in (0, operand)}
    left = ARGV_LIMIT - _size(kept.values())
    for number, argument in enumerate(clean):
        if number not in kept and len(argument) < left:
            kept[number] = argument
            left -= len(argument) + 1
    return tuple(kept[number] for number in sorted(kept))


def _size(argv: Iterable[bytes]) -> int:
    """Return what *argv* takes with a byte between: a thousand empty arguments are not nothing."""
    return sum(len(each) + 1 for each in argv)
