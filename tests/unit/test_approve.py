"""The breaker: a user's share first, then a plan is approved or refused whole."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.builders import ADA, launcher, tree
from vscadmin.cleanup.approve import approve, hash_of, objections, share
from vscadmin.errors import PlanRefusedError
from vscadmin.model import Owner
from vscadmin.policy.decide import Decision
from vscadmin.policy.ladder import NOWHERE, Rung, Standing
from vscadmin.policy.settings import Action, Count, Policy, State, Terminate
from vscadmin.policy.states import Verdict

BOOT = "b00710ad"
DUE = Standing(Rung.DUE, Action.TERMINATE, 0)
LIMITS = Terminate(
    max_trees_per_user=Count(5), max_trees_per_run=Count(20), max_users_per_run=Count(10)
)
POLICY = Policy(terminate=LIMITS)


def decision(pid: int, uid: int = 1001, standing: Standing = DUE, age: int = 3600) -> Decision:
    return Decision(
        tree=tree(root=launcher(pid, uid=uid, age=age)),
        owner=Owner(uid, f"user{uid}", ()),
        verdict=Verdict(State.ABANDONED, ()),
        action=Action.TERMINATE,
        wanted=Action.TERMINATE,
        rule="abandoned",
        is_forecast=False,
        findings=(),
        held_back=(),
        steps=(),
        standing=standing,
    )


def plan(users: int, each: int) -> tuple[Decision, ...]:
    return tuple(
        decision(1000 * user + number, 2000 + user)
        for user in range(1, users + 1)
        for number in range(each)
    )


def pids(decisions: tuple[Decision, ...]) -> list[int]:
    return [each.tree.root.pid for each in decisions]


def test_a_user_gives_the_oldest_five_and_the_rest_waits() -> None:
    found = share(tuple(decision(pid, age=pid) for pid in range(100, 108)), LIMITS)
    assert pids(found.ends) == [107, 106, 105, 104, 103]
    assert pids(found.waiting) == [102, 101, 100]


def test_a_hostile_user_with_a_hundred_trees_stops_nobodys_cleanup() -> None:
    found = approve(plan(1, 100) + (decision(7, 1001),), POLICY, BOOT)
    assert (len(found.ends), len(found.waiting)) == (6, 95)
    assert 7 in pids(found.ends)


@pytest.mark.parametrize(("users", "each", "refused"), [
    (4, 5, False), (5, 5, True), (10, 2, False), (11, 1, True),
])  # fmt: skip
def test_too_many_trees_or_users_refuse_a_plan_whole(users: int, each: int, refused: bool) -> None:
    if not refused:
        assert len(approve(plan(users, each), POLICY, BOOT).ends) == users * each
        return
    with pytest.raises(PlanRefusedError, match="refused, nothing is done") as caught:
        approve(plan(users, each), POLICY, BOOT)
    assert caught.value.exit_code == 11
    assert caught.value.plan_hash in str(caught.value)


def test_what_was_refused_can_be_approved_by_its_hash() -> None:
    asked = plan(11, 1)
    plan_hash = hash_of(share(asked, LIMITS).ends, BOOT)
    assert len(approve(asked, POLICY, BOOT, plan_hash).ends) == 11


@pytest.mark.parametrize("other", [plan(12, 1), plan(11, 1)[:-1]], ids=["more", "less"])
def test_the_hash_of_another_plan_approves_nothing(other: tuple[Decision, ...]) -> None:
    plan_hash = hash_of(share(plan(11, 1), LIMITS).ends, BOOT)
    with pytest.raises(PlanRefusedError, match="read it again"):
        approve(other, POLICY, BOOT, plan_hash)


def test_there_is_no_hash_of_nothing() -> None:
    assert hash_of((), BOOT) == ""
    with pytest.raises(PlanRefusedError, match="nothing would be ended now"):
        approve((), POLICY, BOOT, "0123456789ab")


def test_a_hash_is_of_the_trees_the_rules_and_the_boot_alone() -> None:
    one, other = decision(1), decision(2)
    same = replace(one, owner=ADA, findings=())
    assert hash_of([one, other], BOOT) == hash_of([other, same], BOOT)
    assert hash_of([one], BOOT) != hash_of([one], "another boot")
    assert hash_of([one], BOOT) != hash_of([replace(one, rule="runaway")], BOOT)


def test_only_what_is_due_counts() -> None:
    idle = tuple(decision(pid, pid, NOWHERE) for pid in range(1001, 1100))
    assert not objections(share(idle, LIMITS), LIMITS)
    told = tuple(decision(p, p, Standing(Rung.CONFIRMED, Action.NOTIFY)) for p in range(1001, 1100))
    found = approve(idle + told, POLICY, BOOT)
    assert (found.ends, len(found.notices)) == ((), 99)
