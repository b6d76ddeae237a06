"""Is a tree in use? Five states, a pure function of what was seen, remembered and the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from vscadmin.model import Owner, Place, Tree
from vscadmin.policy.settings import Policy, Scope, Session, State
from vscadmin.units import format_duration


class CpuSample(NamedTuple):
    """CPU time that a tree had used, in seconds, at a moment."""

    at: float
    seconds: float


class Told(NamedTuple):
    """A notice that was delivered: when, and the earliest end that it promised."""

    at: float
    not_before: float


@dataclass(frozen=True, slots=True)
class History:
    """What earlier scans know of a tree; all None for one that is seen for the first time.

    *state_since* is the first scan of an unbroken run of scans in *state*; *clear_since*
    and *clear_scans* are the first and the number of those at its end that nothing held
    back. *told* is the last delivered notice that announced an end since then, *notified*
    are the rules whose notice was delivered since then, the last of them at *notified_at*.
    """

    first_seen: float | None = None
    last_client: float | None = None
    previous_scan: float | None = None
    state: State | None = None
    state_since: float | None = None
    clear_since: float | None = None
    clear_scans: int = 0
    told: Told | None = None
    notified: frozenset[str] = frozenset()
    notified_at: float | None = None
    cpu: tuple[CpuSample, ...] = field(default=())


NOTHING_KNOWN = History()


@dataclass(frozen=True, slots=True)
class Verdict:
    """A tree's state with its evidence in words.

    *since* is when the state began as far as is known, None without history. *grace* is
    in seconds; *abandoned_at* is the earliest moment at which the tree is abandoned if
    no client comes, None where that does not apply.
    """

    state: State
    evidence: tuple[str, ...]
    since: float | None = None
    grace: int = 0
    abandoned_at: float | None = None


class Judged(NamedTuple):
    """A tree, its owner and its state: what `scan` shows, and no rule has seen yet."""

    tree: Tree
    owner: Owner
    verdict: Verdict


def judge(tree: Tree, owner: Owner, history: History, policy: Policy, now: float) -> Verdict:
    """Say whether anybody uses *tree*; the first state that applies is the answer."""
    if reasons := _out_of_scope(tree, policy.scope):
        return Verdict(State.OUT_OF_SCOPE, reasons, _since(history, State.OUT_OF_SCOPE))
    if reasons := _unknown(tree, owner):
        return Verdict(State.UNKNOWN, reasons, _since(history, State.UNKNOWN))
    if tree.connections.clients:
        clients = tuple(f"client: {client}" for client in tree.connections.clients)
        return Verdict(State.CONNECTED, clients, _since(history, State.CONNECTED))
    return _disconnected(tree, history, policy.session, now)


def _since(history: History, state: State) -> float | None:
    return history.state_since if history.state is state else None


def _out_of_scope(tree: Tree, scope: Scope) -> tuple[str, ...]:
    reasons = []
    uids = set(tree.uids or ()) | {tree.root.uid}
    if low := sorted(uid for uid in uids if uid < scope.uid_min):
        reasons.append(f"uid {low[0]} is below scope.uid_min = {scope.uid_min}")
    if tree.place is not Place.HERE:
        reasons.append(f"it runs in {tree.place_words}")
    return tuple(reasons)


def _unknown(tree: Tree, owner: Owner) -> tuple[str, ...]:
    reasons = [*tree.unreadable, *tree.connections.unreadable]
    if owner.name is None:
        reasons.append(f"the user name of uid {owner.uid} could not be looked up")
    if tree.uids is not None and len(set(tree.uids)) > 1:
        reasons.append(f"the four user ids of its root differ: {tuple(tree.uids)}")
    return tuple(reasons)


def _disconnected(tree: Tree, history: History, session: Session, now: float) -> Verdict:
    """Weigh how long nobody is connected against how long the server waits."""
    grace, source = tree.grace or (session.grace_default, "session.grace_default")
    if grace > session.grace_max:
        grace, source = session.grace_max, f"session.grace_max, instead of {source}"
    since = _disconnected_since(tree, history)
    evidence = [_listening_words(tree)]
    if since is None:
        evidence.append("no client now; since when unknown: no earlier scan has seen it")
    else:
        evidence.append(f"no client for {format_duration(now - since)}")
    gone = 0.0 if since is None else now - since
    evidence.append(f"grace {format_duration(grace)} ({source})")
    state = State.GRACE if since is None or gone < grace else State.ABANDONED
    began = _since(history, state) or since
    return Verdict(state, tuple(evidence), began, grace, (now if since is None else since) + grace)


def _listening_words(tree: Tree) -> str:
    connections = tree.connections
    if not connections.listeners:
        return "no member listens for clients"
    words = f"listens on {', '.join(connections.listeners)}"
    if connections.internal:
        words += f"; {connections.internal} connections are the tree's own"
    return words


def _disconnected_since(tree: Tree, history: History) -> float | None:
    """Return when the last client was seen, else when the tree was; None without history."""
    since = history.first_seen if history.last_client is None else history.last_client
    between = client_between(tree, history)
    return since if since is None or between is None else max(since, between)


def client_between(tree: Tree, history: History) -> float | None:
    """Return when a client came that no scan has seen, None if none is known of.

    An extension host that started after the previous scan proves one: the server starts
    it only for a window.
    """
    host, previous = tree.host_started_at, history.previous_scan
    if host is None or previous is None or host <= previous:
        return None
    return host
