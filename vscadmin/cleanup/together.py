"""A run's part in the fleet: hear what the other nodes have to say, and tell them ours.

A directory that cannot be used leaves this node alone, as without one: it writes to the
owners of its own servers. Whatever was delivered for us comes into our store first, and from
there alone a ladder learns of it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable

from vscadmin.cleanup import events, snapshots
from vscadmin.cleanup.notify import server_of
from vscadmin.cleanup.peers import Ask, Peer, Standing, Told
from vscadmin.cleanup.recipients import MOST_TREES, end_of
from vscadmin.cleanup.records import Delivery, Identity, Notice, Result
from vscadmin.cleanup.session import Session
from vscadmin.cleanup.snapshot_json import LONGEST, MOST_REASONS
from vscadmin.cleanup.snapshots import Shared, SharedDirectoryError
from vscadmin.cleanup.turns import AHEAD, ALONE, KEPT, Fleet, fleet_of, is_ours_to_take
from vscadmin.errors import Exit
from vscadmin.escape import printable
from vscadmin.model import Snapshot
from vscadmin.policy.decide import Decision, Plan, is_regular
from vscadmin.policy.settings import Action, Mode, Policy
from vscadmin.procs.sight import Sight
from vscadmin.units import format_duration

_KIND = "fleet"
_BOOTING = 300.0  # seconds by which clocks may have been set while the machine came up


def hear(session: Session, seen: Sight) -> None:
    """Read the others' snapshots, and take into our store what they delivered for us."""
    directory = session.policy.fleet.snapshot
    if directory is None:
        return
    now, node = seen.snapshot.taken_at, session.request.host
    try:
        shared = snapshots.read(directory, node)
    except SharedDirectoryError as error:
        session.warn(f"fleet.snapshot: {error}: this node acts alone", _KIND)
        return
    for name, problem in (*shared.problems, *_wrong_clocks(shared, now)):
        session.warn(f"fleet.snapshot: {problem}", f"{_KIND} {name}")
    own = shared.own if _still_stands(session, seen.snapshot, shared.own) else None
    session.fleet = fleet_of(node, shared.peers, own, now, session.policy.fleet.stale)
    if own is not None:
        session.told += [each for each in own.told if now - each.delivered_at < KEPT]
    _take(session, seen, [told for peer in shared.peers for told in peer.told])


def _wrong_clocks(shared: Shared, now: float) -> Iterable[tuple[str, str]]:
    for peer in shared.peers:
        if (ahead := peer.written_at - now) > AHEAD:
            words = f"the clock of {peer.node} is {format_duration(ahead)} ahead: not heard"
            yield f"clock {peer.node}", words


def _still_stands(session: Session, snapshot: Snapshot, own: Peer | None) -> bool:
    """Whether what our last run wrote is there; if not, the others may know nothing of us."""
    if own is None:
        return False
    if own.boot_id != snapshot.boot_id and own.written_at > snapshot.boot_time + _BOOTING:
        words = f"another machine writes as {own.node} as well: each needs a name of its own"
        session.warn(f"fleet.snapshot: {words}", f"{_KIND} name")
        return False
    last = session.store.last_completed_run()
    return last is None or own.written_at >= last.started_at


def _take(session: Session, seen: Sight, told: Iterable[Told]) -> None:
    """Record as delivered what other nodes told of our trees, once each.

    Not what was asked by a clock that has been set back over that moment since.
    """
    boot, now, node = seen.snapshot.boot_id, seen.snapshot.taken_at, session.request.host
    owners = {tree.key: seen.owners[tree.root.uid].name for tree in seen.forest.trees}
    ours = [
        each
        for each in told
        if (each.node, each.boot_id) == (node, boot) and owners.get(each.key) == each.user
    ]
    histories = session.store.histories(boot, {each.key for each in ours}, now=now)
    for each in ours:
        history = histories.get(each.key)
        is_ours = history is not None and is_ours_to_take(each, history, now)
        if is_ours and session.store.is_in_order(boot, each.asked_at):
            _record(session, _notice(each, boot), now)


def _notice(told: Told, boot_id: str) -> Notice:
    return Notice(
        identity=Identity(boot_id, *told.key),
        user=told.user,
        product=told.product,
        rule=told.rule,
        action=told.action,
        address=told.address,
        created_at=told.asked_at,
        delivery=Delivery.SENDING,
        not_before=told.not_before,
    )


def _record(session: Session, notice: Notice, now: float) -> None:
    """Record a notice that is not recorded yet.

    It counts as delivered when we learn of it: never before it was, whatever another node's
    clock says, and so the owner's time is never shorter than the rule's.
    """
    store = session.store
    known = store.notices(notice.user, notice.created_at)
    if any((each.identity, each.created_at) == (notice.identity, notice.created_at)
           for each in known):  # fmt: skip
        return
    store.add_notices([notice])
    for each in store.finish_notices([notice], Delivery.DELIVERED, now):
        session.log.write(events.notice(each))


def tell(session: Session, seen: Sight, plan: Plan) -> None:
    """Write our snapshot: the trees, whom to tell of, and what we delivered for others."""
    directory = session.policy.fleet.snapshot
    if directory is None:
        return
    try:
        snapshots.write(directory, snapshot_of(session, seen, plan))
    except SharedDirectoryError as error:
        session.warn(f"fleet.snapshot: {error}: the other nodes do not hear of this one", _KIND)


def snapshot_of(session: Session, seen: Sight, plan: Plan) -> Peer:
    """Return what this node has to say after what it did in this run."""
    policy, now = session.policy, time.time()
    boot, taken_at = seen.snapshot.boot_id, seen.snapshot.taken_at
    sends = policy.mode is not Mode.OBSERVE and session.exit_code is not Exit.PLAN_REFUSED
    over = {
        each.identity.key
        for each in session.terminations
        if each.result in (Result.ENDED, Result.GONE)
    }
    left = [each for each in plan if each.tree.key not in over]
    return Peer(
        node=session.request.host,
        boot_id=boot,
        taken_at=taken_at,
        written_at=now,
        sends=sends,
        trees=tuple(_standing(each) for each in left if _counts(each)),
        asks=tuple(_asks(session, left, taken_at)) if sends else (),
        told=tuple(session.told),
        written=_written(session, now - policy.notify.every),
    )


def _counts(decision: Decision) -> bool:
    return decision.owner.name is not None and not decision.tree.report_only


def _standing(decision: Decision) -> Standing:
    tree = decision.tree
    return Standing(tree.root.uid, str(decision.owner)[:LONGEST], *tree.key, tree.started_at)


def _written(session: Session, since: float) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in session.store.notices(since=since):
        if each.delivery is not Delivery.FAILED:
            found[each.user] = max(each.created_at, found.get(each.user, 0.0))
    return found


def _asks(session: Session, plan: Iterable[Decision], now: float) -> Iterable[Ask]:
    """Yield what still waits to be told, of each user as many as one message holds."""
    told = {each.identity.key for each in session.notices if each.delivery is Delivery.DELIVERED}
    by_user: dict[str, list[Decision]] = defaultdict(list)
    for decision in plan:
        name = decision.owner.name
        is_due = decision.standing.due is Action.NOTIFY and decision.tree.key not in told
        if is_due and name is not None and is_regular(name):
            by_user[name].append(decision)
    for user, decisions in by_user.items():
        decisions.sort(key=lambda each: (each.tree.started_at, each.tree.root.pid))
        for decision in decisions[:MOST_TREES]:
            yield _ask(session, user, decision, now)


def _ask(session: Session, user: str, decision: Decision, now: float) -> Ask:
    tree, policy = decision.tree, session.policy
    texts = server_of(decision, None, now, session.request.host)
    notices = {rule.name: rule.notice or 0 for rule in policy.rules}
    begun = decision.memory.clear_since
    return Ask(
        uid=tree.root.uid,
        user=user,
        pid=tree.root.pid,
        start_ticks=tree.root.start_ticks,
        started_at=tree.started_at,
        product=tree.product,
        rule=printable(decision.rule or "", LONGEST),
        action=decision.action,
        notice=notices.get(decision.rule or "", 0),
        earliest=end_of(decision, policy, now) or now,
        since=session.fleet.since.get(tree.key, now),
        clear_since=now if begun is None else begun,
        title=texts.title,
        started=texts.started,
        age=texts.age,
        client=texts.client,
        memory=texts.memory,
        reasons=texts.reasons[:MOST_REASONS],
    )


def fleet_elsewhere(policy: Policy, node: str, now: float) -> tuple[Fleet, tuple[str, ...]]:
    """Return the other live nodes, for who only looks at them, and what is in the way."""
    if policy.fleet.snapshot is None:
        return ALONE, ()
    try:
        shared = snapshots.read(policy.fleet.snapshot, node)
    except SharedDirectoryError as error:
        return ALONE, (f"fleet.snapshot: {error}: servers are counted on this node alone",)
    found = fleet_of(node, shared.peers, None, now, policy.fleet.stale)
    return found, tuple(f"fleet.snapshot: {words}" for _, words in shared.problems)
