"""What holds for every policy and every history: who is spared, who is told first, how many."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from tests.builders import NOW, TICKS, launcher, tree
from tests.properties.stories import (
    DAY,
    HOUR,
    MINUTE,
    MOMENTS,
    PLACES,
    POLICIES,
    RARELY,
    SPARING,
    Moment,
    Seen,
    Situation,
    Story,
    disturbed_at,
    is_exempt,
    is_quiet,
    owner,
    replayed,
    rules,
    shown,
    told_of,
)
from vscadmin.cleanup.approve import approve, hash_of, share
from vscadmin.cleanup.recipients import MOST_TREES, chosen
from vscadmin.cleanup.records import Identity
from vscadmin.cleanup.replay import Rehearsal
from vscadmin.errors import PlanRefusedError
from vscadmin.model import Owner
from vscadmin.policy.decide import Decision, Plan, Scene, decide, is_regular
from vscadmin.policy.ladder import NOWHERE, Rung, Standing
from vscadmin.policy.settings import (
    Action,
    Count,
    Mode,
    Percent,
    Policy,
    Rule,
    Seconds,
    State,
    When,
)
from vscadmin.policy.states import CpuSample, History, Told, Verdict

BOOT = "b00710ad"


# One decision.

RIPE = History(
    first_seen=NOW - 20 * DAY,
    last_client=NOW - 10 * DAY,
    previous_scan=NOW - 600,
    state=State.ABANDONED,
    state_since=NOW - 9 * DAY,
    clear_since=NOW - 9 * DAY,
    clear_scans=100,
    told=Told(NOW - 3 * DAY, NOW - DAY),
)
TIMES = st.sampled_from([0, 600, HOUR, DAY, 9 * DAY]).map(lambda ago: NOW - ago)
NEARLY_RIPE = st.builds(
    replace,
    st.just(RIPE),
    state=st.sampled_from([State.ABANDONED, State.ABANDONED, *State]),
    clear_since=st.none() | TIMES,
    clear_scans=st.integers(0, 3),
    told=st.none() | st.builds(Told, TIMES, TIMES),
)
HISTORIES = (
    st.just(RIPE)
    | NEARLY_RIPE
    | st.builds(
        History,
        first_seen=st.none() | TIMES,
        last_client=st.none() | TIMES,
        previous_scan=st.none() | TIMES,
        state=st.sampled_from([None, State.ABANDONED, *State]),
        state_since=st.none() | TIMES,
        clear_since=st.none() | TIMES,
        clear_scans=st.integers(0, 9),
        told=st.none() | st.builds(Told, TIMES, TIMES),
        notified=st.frozensets(st.sampled_from("abcdef")),
    )
)


def judged(what: Situation, history: History, policy: Policy, host: float | None) -> Decision:
    one = shown(what, 4100, 1001, age=9 * DAY, host_started_at=host)
    found = owner(what, one.root.uid, "ada")
    logins = {one.root.uid: "pid 7 (bash)"} if what is Situation.LOGIN else {}
    scene = Scene({one.root.uid: found}, logins, {one.key: history})
    (only,) = decide([one], scene, policy, NOW)
    return only


@settings(max_examples=300)
@given(st.sampled_from(SPARING), HISTORIES, POLICIES)
def test_no_rule_ends_what_must_be_spared(
    what: Situation, history: History, policy: Policy
) -> None:
    """Whatever is remembered of it, a delivered notice that is over included."""
    is_between = what is Situation.BETWEEN
    if is_between:
        history = replace(history, previous_scan=NOW - 600)
    if what is Situation.CLIENT:
        history = replace(history, state=State.CONNECTED)
    found = judged(what, history, policy, NOW - 1 if is_between else None)
    assert found.standing.due is not Action.TERMINATE
    assert is_between or found.action is not Action.TERMINATE
    if what in (Situation.UNREADABLE, Situation.NAMELESS, Situation.ODD, Situation.SLURM):
        assert found.standing == NOWHERE, "not even told"


@given(HISTORIES, POLICIES)
def test_what_is_due_has_every_reason(history: History, policy: Policy) -> None:
    found = judged(Situation.IDLE, history, policy, None)
    if policy.mode is Mode.OBSERVE:
        assert found.standing == NOWHERE
    if found.standing.due is not Action.TERMINATE:
        return
    assert policy.mode is Mode.ENFORCE
    assert not is_exempt("ada", policy, NOW)
    assert not is_quiet(NOW, policy.terminate.quiet_hours)
    assert history.state is found.verdict.state is State.ABANDONED
    assert history.clear_scans + 1 >= policy.session.confirm
    (rule,) = (each for each in policy.rules if each.name == found.rule)
    assert rule.action is Action.TERMINATE
    assert history.told is not None
    assert history.told.not_before <= NOW
    assert history.told.at + (rule.notice or 0) <= NOW


MONOTONE = st.builds(
    When,
    state=st.just(State.ABANDONED),
    orphan=st.sampled_from([*RARELY, True, False]),
    age_over=st.none() | st.integers(0, 9 * DAY).map(Seconds),
    lasting=st.none() | st.integers(0, 9 * DAY).map(Seconds),
    cpu_over=st.sampled_from([*RARELY, Percent(80)]),
    cpu_for=st.just(Seconds(HOUR)),
    user_sessions_over=st.sampled_from([*RARELY, Count(1), Count(2)]),
)
BACK = st.integers(0, 9 * DAY)
BUSY = (CpuSample(NOW - HOUR, 0.0),)


@given(rules(MONOTONE, most=1), POLICIES, st.lists(BACK, min_size=5, max_size=5), BACK, BACK)
def test_the_longer_unused_is_never_judged_milder(
    rule: tuple[Rule, ...], policy: Policy, ago: list[int], more: int, older: int
) -> None:
    """One rule: a second one may well be meant as the milder answer to old age."""
    policy = replace(policy, rules=rule)
    client, state, clear, told, age = (NOW - each for each in ago)
    young = History(
        first_seen=client,
        last_client=client,
        previous_scan=NOW - 600,
        state=State.ABANDONED,
        state_since=state,
        clear_since=clear,
        clear_scans=9,
        told=Told(told, told + HOUR),
        cpu=BUSY,
    )
    old = replace(
        young,
        last_client=client - more,
        state_since=state - more,
        clear_since=clear - more,
        told=Told(told - more, told + HOUR - more),
    )
    found = []
    for history, start in ((young, age), (old, age - older)):
        one = tree(root=launcher(4100, age=NOW - start, cpu_ticks=HOUR * TICKS), started_at=start)
        scene = Scene({1001: Owner(1001, "ada", ())}, {}, {one.key: history}, TICKS)
        found.append(decide([one], scene, policy, NOW)[0])
    shorter, longer = found
    assert longer.action.rank >= shorter.action.rank
    assert rank(longer.standing.rung) >= rank(shorter.standing.rung)


def rank(rung: Rung) -> int:
    return list(Rung).index(rung)


@given(rules(MONOTONE), POLICIES, st.lists(BACK, min_size=2, max_size=6))
def test_of_a_users_trees_the_older_is_never_judged_milder(
    some: tuple[Rule, ...], policy: Policy, ages: list[int]
) -> None:
    """With the harsher rules first; "the newest" are kept by their start alone."""
    harsh_first = tuple(sorted(some, key=lambda rule: -rule.action.rank))
    trees = [
        tree(root=launcher(pid, age=age), started_at=NOW - age)
        for pid, age in enumerate(sorted(ages, reverse=True), 4100)
    ]
    scene = Scene({1001: Owner(1001, "ada", ())}, {}, {each.key: RIPE for each in trees}, TICKS)
    plan = decide(trees, scene, replace(policy, rules=harsh_first), NOW)
    for one, younger in pairwise(plan):
        assert one.action.rank >= younger.action.rank


# Scans, one after the other.


@settings(max_examples=200)
@given(POLICIES, MOMENTS)
def test_nothing_ends_without_a_notice_that_still_counts(
    policy: Policy, moments: list[Moment]
) -> None:
    """To this very tree, long enough ago, and nothing came up since."""
    notices = {rule.name: rule.notice or 0 for rule in policy.rules}
    story: list[Seen] = []
    for seen in replayed(policy, moments):
        story.append(seen)
        told = told_of(story)
        for each in seen.ended:
            last = max(disturbed_at(each.identity, scan) or 0.0 for scan in story)
            valid = [(at, end) for at, end in told.get(each.identity, []) if at > last]
            assert valid, "told since anything came up"
            assert min(at for at, _ in valid) + notices[each.rule] <= seen.at
            assert max(end for _, end in valid) <= seen.at, "no promise is broken"
            assert seen.policy.mode is Mode.ENFORCE
            assert not seen.refused
            assert not is_quiet(seen.at, policy.terminate.quiet_hours)


@given(POLICIES, MOMENTS)
def test_what_a_scan_must_spare_is_not_due_in_it(policy: Policy, moments: list[Moment]) -> None:
    for seen in replayed(policy, moments):
        for decision in seen.plan:
            if disturbed_at(Identity(seen.scanned.boot_id, *decision.tree.key), seen) is not None:
                assert decision.standing.due is not Action.TERMINATE
            if seen.policy.mode is Mode.OBSERVE:
                assert decision.standing.due is Action.KEEP
        assert seen.policy.mode is not Mode.OBSERVE or not (seen.ended or seen.shares)


@given(POLICIES, MOMENTS)
def test_no_run_ends_more_than_the_limits(policy: Policy, moments: list[Moment]) -> None:
    limits = policy.terminate
    for seen in replayed(policy, moments):
        users = [each.user for each in seen.ended]
        assert len(users) <= limits.max_trees_per_run
        assert len(set(users)) <= limits.max_users_per_run
        assert all(users.count(user) <= limits.max_trees_per_user for user in users)


@given(POLICIES, MOMENTS)
def test_whoever_comes_back_after_an_end_is_regretted(
    policy: Policy, moments: list[Moment]
) -> None:
    rehearsal, story, now = Rehearsal(policy), Story(), NOW
    came: dict[Identity, float] = {}
    back = Moment(HOUR, Mode.ENFORCE, (Situation.CLIENT,) * len(PLACES), None, False)
    for moment in (*moments, back, back):
        now += moment.step
        scanned, situations = story.scan(moment, now)
        for identity, what in situations.items():
            if what is Situation.CLIENT and identity in rehearsal.ended:
                came.setdefault(identity, now)
        rehearsal.scan(scanned)
    assert {k: e.client_at for k, e in rehearsal.ended.items() if e.client_at} == came


def test_random_stories_do_come_to_an_end() -> None:
    """Or the properties above would hold because nothing ever happens."""
    quick = settings(max_examples=500, database=None, phases=[Phase.generate])
    for what in ("ended", "refused", "shares"):
        found = find(
            st.tuples(POLICIES, MOMENTS),
            lambda case: any(getattr(seen, what) for seen in replayed(*case)),  # noqa: B023
            settings=quick,
        )
        assert found


# Plans: how many, and who hears of it.


def decision(pid: int, user: int, standing: Standing, age: int, action: Action) -> Decision:
    uid = 1001 + user
    return Decision(
        tree=tree(root=launcher(pid, uid=uid, age=age), started_at=NOW - age),
        owner=Owner(uid, NAMES[user]),
        verdict=Verdict(State.ABANDONED, ()),
        action=action,
        wanted=action,
        rule="a",
        is_forecast=False,
        findings=(),
        held_back=(),
        steps=(),
        standing=standing,
    )


DUE = Standing(Rung.DUE, Action.TERMINATE, 0)
CONFIRMED = Standing(Rung.CONFIRMED, Action.NOTIFY)
TOLD = Standing(Rung.TOLD, Action.KEEP, NOW + DAY)
NAMES = ["ada", "bob", "cleo", "dan", "../eve", "", "fay\nBcc: all", None]


def plans(*standings: Standing, most: int) -> st.SearchStrategy[Plan]:
    one = st.tuples(
        st.integers(0, len(NAMES) - 1),
        st.sampled_from(standings),
        st.integers(0, 9 * DAY),
        st.sampled_from([Action.NOTIFY, Action.TERMINATE]),
    )
    return st.lists(one, max_size=most).map(
        lambda some: tuple(decision(pid, *each) for pid, each in enumerate(some, 5000))
    )


def ripe(plan: Plan) -> dict[int, list[Decision]]:
    """Return what is due by user, the oldest first."""
    found: dict[int, list[Decision]] = {}
    for each in sorted(plan, key=lambda one: (one.tree.root.start_ticks, one.tree.root.pid)):
        if each.standing.due is Action.TERMINATE:
            found.setdefault(each.owner.uid, []).append(each)
    return found


@given(plans(DUE, DUE, CONFIRMED, NOWHERE, most=30), POLICIES)
def test_a_plan_is_approved_within_the_limits_or_refused_whole(plan: Plan, policy: Policy) -> None:
    limits = policy.terminate
    oldest = {uid: each[: limits.max_trees_per_user] for uid, each in ripe(plan).items()}
    count = sum(map(len, oldest.values()))
    fits = count <= limits.max_trees_per_run and len(oldest) <= limits.max_users_per_run
    plan_hash = hash_of(share(plan, limits).ends, BOOT)
    if fits:
        found = approve(plan, policy, BOOT)
    else:
        with pytest.raises(PlanRefusedError) as refused:
            approve(plan, policy, BOOT)
        assert refused.value.plan_hash == plan_hash
        found = approve(plan, policy, BOOT, plan_hash)
    assert ripe(found.ends) == oldest, "a user's share holds for an approved plan as well"
    assert len(found.ends) + len(found.waiting) == sum(map(len, ripe(plan).values()))


@given(plans(DUE, CONFIRMED, most=12).flatmap(lambda plan: st.tuples(
    st.just(plan), st.permutations(plan))), POLICIES)  # fmt: skip
def test_a_plans_hash_does_not_depend_on_its_order(
    both: tuple[Plan, list[Decision]], policy: Policy
) -> None:
    plan, shuffled = both
    one, other = (share(each, policy.terminate) for each in (plan, tuple(shuffled)))
    assert hash_of(one.ends, BOOT) == hash_of(other.ends, BOOT)
    assert (hash_of(one.ends, BOOT) == "") == (not one.ends)
    if one.ends:
        assert hash_of(one.ends[1:], BOOT) != hash_of(one.ends, BOOT)
        assert hash_of(one.ends, "another boot") != hash_of(one.ends, BOOT)


STEPS = st.lists(st.sampled_from([0, MINUTE, HOUR, DAY - 1, DAY]), min_size=1, max_size=8)


@given(plans(CONFIRMED, CONFIRMED, CONFIRMED, DUE, TOLD, most=60), POLICIES, STEPS)
def test_nobody_gets_two_messages_in_time_or_more_than_twenty_trees(
    plan: Plan, policy: Policy, steps: list[int]
) -> None:
    written: dict[str, list[float]] = {}
    for now in accumulate(steps, initial=NOW):
        last = {user: times[-1] for user, times in written.items()}
        for each in chosen(plan, last, policy, now):
            assert is_regular(each.user)
            assert 0 < len(each.told) <= MOST_TREES
            due = [d for d in plan if d.owner.name == each.user and d.standing is CONFIRMED]
            assert len(each.told) + each.more == len(due)
            assert {d.tree.key for d, _ in each.told} <= {d.tree.key for d in due}
            written.setdefault(each.user, []).append(now)
    for times in written.values():
        assert all(b - a >= policy.notify.every for a, b in pairwise(times))


@given(plans(CONFIRMED, most=6), POLICIES)
def test_an_announced_end_leaves_time_and_is_allowed(plan: Plan, policy: Policy) -> None:
    notices = {rule.name: rule.notice or 0 for rule in policy.rules}
    for each in chosen(plan, {}, policy, NOW):
        for found, end in each.told:
            assert (end is None) == (found.action is not Action.TERMINATE)
            if end is None:
                continue
            assert end >= NOW + notices.get(found.rule or "", 0)
            assert not is_quiet(end, policy.terminate.quiet_hours)
