"""Approve a plan or refuse it whole: what `execute` takes can come from nowhere else. Pure.

A user's share is cut first, so that one user with a hundred trees stops nobody's cleanup;
then the breaker: killing the first twenty of fifty would be the worst of both worlds.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from vscadmin.errors import PlanRefusedError
from vscadmin.policy.decide import Decision, Plan
from vscadmin.policy.settings import Action, Policy, Terminate

_HASH_DIGITS = 12  # of SHA-256: short enough to type, and nobody can choose the plan
_REFUSED = (
    "plan {0} refused, nothing is done: {1}. To carry it out once: vscadmin cleanup --approve {0}"
)
_IN_SHORT = re.compile(_REFUSED.format(r"(\w+)", "(.+)"))


@dataclass(frozen=True, slots=True)
class Share:
    """What a plan would end now: *ends* within every user's share, *waiting* beyond it."""

    ends: tuple[Decision, ...]
    waiting: tuple[Decision, ...]

    @property
    def users(self) -> int:
        """How many users have a tree among the ends."""
        return len({decision.tree.root.uid for decision in self.ends})


@dataclass(frozen=True, slots=True)
class ApprovedPlan:
    """A plan that may be acted on: whom to tell, and what to end."""

    notices: tuple[Decision, ...]
    ends: tuple[Decision, ...]
    waiting: tuple[Decision, ...]
    plan_hash: str


def share(plan: Plan, limits: Terminate) -> Share:
    """Cut what is due to end to *max_trees_per_user* each, the oldest first."""
    by_user: dict[int, list[Decision]] = defaultdict(list)
    for decision in plan:
        if decision.standing.due is Action.TERMINATE:
            by_user[decision.tree.root.uid].append(decision)
    ends, waiting = [], []
    for decisions in by_user.values():
        decisions.sort(key=lambda each: (each.tree.root.start_ticks, each.tree.root.pid))
        ends += decisions[: limits.max_trees_per_user]
        waiting += decisions[limits.max_trees_per_user :]
    return Share(tuple(ends), tuple(waiting))


def hash_of(ends: Iterable[Decision], boot_id: str) -> str:
    """Name what would be ended, and by which rules; "" when that is nothing.

    The same trees give the same hash minutes later, so that what an admin read in a
    report is what he approves.
    """
    lines = sorted(
        f"{each.tree.root.pid} {each.tree.root.start_ticks} {each.rule}" for each in ends
    )
    if not lines:
        return ""
    return sha256("\n".join([boot_id, *lines]).encode()).hexdigest()[:_HASH_DIGITS]


def objections(found: Share, limits: Terminate) -> tuple[str, ...]:
    """Say what is too much at once; empty when the breaker has nothing against it."""
    counts = (
        (len(found.ends), limits.max_trees_per_run, "terminate.max_trees_per_run"),
        (found.users, limits.max_users_per_run, "terminate.max_users_per_run"),
    )
    return tuple(
        f"{count} {'trees' if 'trees' in key else 'users'} at once, {key} = {limit}"
        for count, limit, key in counts
        if count > limit
    )


def refused_in_short(words: str) -> str:
    """Return which plan the breaker refused and why, of what it said; "" for other words."""
    said = _IN_SHORT.fullmatch(words)
    return f"plan {said[1]}: {said[2]}" if said else ""


def approve(plan: Plan, policy: Policy, boot_id: str, approved: str | None = None) -> ApprovedPlan:
    """Return what may be done of *plan* now.

    *approved* is the hash of the plan that an admin has read and wants to be carried out.
    Raises PlanRefusedError when the breaker objects, or that is another plan.
    """
    found = share(plan, policy.terminate)
    plan_hash = hash_of(found.ends, boot_id)
    against = objections(found, policy.terminate)
    if approved is not None and approved != plan_hash:
        now = f"the plan is {plan_hash} now" if plan_hash else "nothing would be ended now"
        raise PlanRefusedError(f"--approve {approved}: {now}; read it again: vscadmin report")
    if against and approved is None:
        raise PlanRefusedError(_REFUSED.format(plan_hash, "; ".join(against)), plan_hash)
    notices = tuple(each for each in plan if each.standing.due is Action.NOTIFY)
    return ApprovedPlan(notices, found.ends, found.waiting, plan_hash)
