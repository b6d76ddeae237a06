"""Who is told of what: one message per owner, and which trees have room in it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vscadmin.cleanup.peers import Foreign
from vscadmin.cleanup.turns import ALONE, Fleet, Person, is_our_turn
from vscadmin.policy.decide import Decision, Plan, is_regular
from vscadmin.policy.quiet import first_allowed
from vscadmin.policy.settings import Action, Policy
from vscadmin.units import HOUR

MOST_TREES = 20  # in one message; only those are told of

Times = Mapping[str, float | None]
"""Moments by user name."""
NEVER: Times = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Recipient:
    """An owner to be told. *told* are trees, each with the end to announce, None for none.

    *abroad* are those on other nodes. *more* counts the trees without room: they are not
    told of, and wait for the next message.
    """

    user: str
    uid: int
    told: tuple[tuple[Decision, float | None], ...]
    more: int
    abroad: tuple[tuple[Foreign, float | None], ...] = ()


def chosen(
    plan: Plan,
    last: Times,
    policy: Policy,
    now: float,
    failed: Times = NEVER,
    *,
    fleet: Fleet = ALONE,
) -> tuple[Recipient, ...]:
    """Return who is due for a message from this node.

    *last* is when each user got, or may have got, one; *failed* is when the newest was
    begun, if that failed: it is not tried again at every run. What the other nodes of
    *fleet* have written counts as well, and what they ask for is told of with ours.
    """
    by_owner, waits = due(plan), waiting(last, failed, policy, now, fleet=fleet)
    uids = dict(by_owner.keys())  # the same name with another uid there is another person
    asked = [(name, uid) for name, uid in fleet.asks if uids.setdefault(name, uid) == uid]
    found = []
    for person in sorted({*by_owner, *asked}):
        own = by_owner.get(person, ())
        if person[0] not in waits and _is_ours(person, own, last, policy, now, fleet=fleet):
            found.append(_recipient(person, own, policy, now, fleet))
    return tuple(found)


def waiting(
    last: Times, failed: Times, policy: Policy, now: float, *, fleet: Fleet = ALONE
) -> dict[str, float]:
    """Return when the next message may go to each user who may get none *now*.

    No clock that went back shortens that, but what failed is tried again at once then.
    """
    found = {
        user: max(
            _allowed(user, last, policy, fleet),
            _retry(failed.get(user), policy, now),
        )
        for user in {*last, *failed, *fleet.written}
    }
    return {user: at for user, at in found.items() if at > now}


def due(plan: Plan) -> dict[Person, tuple[Decision, ...]]:
    """Return the trees whose owner is due to be told, by that owner."""
    by_owner: dict[Person, list[Decision]] = defaultdict(list)
    for decision in plan:
        name = decision.owner.name
        if decision.standing.due is Action.NOTIFY and name is not None and is_regular(name):
            by_owner[name, decision.owner.uid].append(decision)
    return {person: tuple(decisions) for person, decisions in by_owner.items()}


def _is_ours(
    person: Person,
    own: tuple[Decision, ...],
    last: Times,
    policy: Policy,
    now: float,
    *,
    fleet: Fleet,
) -> bool:
    """Whether this node is to write to a user who may get a message."""
    since = min((fleet.since.get(each.tree.key, now) for each in own), default=None)
    return is_our_turn(fleet, person, since, _allowed(person[0], last, policy, fleet), now)


def _allowed(user: str, last: Times, policy: Policy, fleet: Fleet) -> float:
    """Return when notify.every is over for *user*, 0.0 for who got no message."""
    moments = (last.get(user), fleet.written.get(user))
    return max((at + policy.notify.every for at in moments if at is not None), default=0.0)


def _retry(failed: float | None, policy: Policy, now: float) -> float:
    """Return when to try again: after an hour, or at once where the clock went back since."""
    if failed is None or failed > now:
        return 0.0
    return failed + min(HOUR, policy.notify.every)


def _recipient(
    person: Person, own: tuple[Decision, ...], policy: Policy, now: float, fleet: Fleet
) -> Recipient:
    """Return whom to tell, of the oldest trees on all nodes."""
    asks = fleet.asks.get(person, ())
    ages = [(each.tree.started_at, "", each.tree.root.pid) for each in own]
    ages += [(each.ask.started_at, each.node, each.ask.pid) for each in asks]
    trees: list[Decision | Foreign] = [*own, *asks]
    oldest = [each for _, each in sorted(zip(ages, trees, strict=True), key=lambda pair: pair[0])]
    room = oldest[:MOST_TREES]
    return Recipient(
        *person,
        told=tuple(
            (each, end_of(each, policy, now)) for each in room if isinstance(each, Decision)
        ),
        more=len(oldest) - len(room),
        abroad=tuple(
            (each, _end_there(each, policy, now)) for each in room if isinstance(each, Foreign)
        ),
    )


def end_of(decision: Decision, policy: Policy, now: float) -> float | None:
    """Return the earliest end to announce, None where the owner is only told."""
    if decision.action is not Action.TERMINATE:
        return None
    notices = {rule.name: rule.notice or 0 for rule in policy.rules}
    over = now + notices.get(decision.rule or "", 0)
    return first_allowed(
        max(over, decision.verdict.abandoned_at or now), policy.terminate.quiet_hours
    )


def _end_there(foreign: Foreign, policy: Policy, now: float) -> float | None:
    """Return the end to announce for another node's tree: never before what that node named."""
    ask = foreign.ask
    if ask.action is not Action.TERMINATE:
        return None
    return first_allowed(max(now + ask.notice, ask.earliest), policy.terminate.quiet_hours)
