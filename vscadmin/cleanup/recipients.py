"""Who is told of what: one message per owner, and which trees have room in it. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

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

    *more* counts the trees without room: they are not told of, and wait for the next message.
    """

    user: str
    uid: int
    told: tuple[tuple[Decision, float | None], ...]
    more: int


def chosen(
    plan: Plan, last: Times, policy: Policy, now: float, failed: Times = NEVER
) -> tuple[Recipient, ...]:
    """Return who is due for a message.

    *last* is when each user got, or may have got, one; *failed* is when the newest was
    begun, if that failed: it is not tried again at every run.
    """
    by_owner: dict[tuple[str, int], list[Decision]] = defaultdict(list)
    for decision in plan:
        name = decision.owner.name
        if decision.standing.due is Action.NOTIFY and name is not None and is_regular(name):
            by_owner[name, decision.owner.uid].append(decision)
    return tuple(
        _recipient(user, uid, decisions, policy, now)
        for (user, uid), decisions in sorted(by_owner.items())
        if _may_write(last.get(user), policy, now) and _may_retry(failed.get(user), policy, now)
    )


def _may_write(last: float | None, policy: Policy, now: float) -> bool:
    """Whether enough time is over; a clock that went back has not made it so."""
    return last is None or now - last >= policy.notify.every


def _may_retry(failed: float | None, policy: Policy, now: float) -> bool:
    """Whether to try again: after an hour, or at once where the clock went back since."""
    return failed is None or not 0 <= now - failed < min(HOUR, policy.notify.every)


def _recipient(
    user: str, uid: int, decisions: list[Decision], policy: Policy, now: float
) -> Recipient:
    oldest = sorted(decisions, key=lambda each: (each.tree.started_at, each.tree.root.pid))
    told = tuple((each, _end(each, policy, now)) for each in oldest[:MOST_TREES])
    return Recipient(user, uid, told, max(0, len(oldest) - MOST_TREES))


def _end(decision: Decision, policy: Policy, now: float) -> float | None:
    """Return the earliest end to announce, None where the owner is only told."""
    if decision.action is not Action.TERMINATE:
        return None
    notices = {rule.name: rule.notice or 0 for rule in policy.rules}
    over = now + notices.get(decision.rule or "", 0)
    return first_allowed(
        max(over, decision.verdict.abandoned_at or now), policy.terminate.quiet_hours
    )
