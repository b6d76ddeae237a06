"""A message that has to wait for notify.every: what is said of it is what a run does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import ADA, CONFIRMED, NOW, tree
from vscadmin.cleanup import events
from vscadmin.cleanup.recipients import chosen, waiting
from vscadmin.cleanup.turns import ALONE, Fleet
from vscadmin.policy.decide import Decision, Scene, decide
from vscadmin.policy.ladder import Rung
from vscadmin.policy.quiet import parse_quiet_hours
from vscadmin.policy.settings import Action, Mode, Policy, Terminate
from vscadmin.policy.states import History, Told

HOUR, DAY = 3600.0, 86400.0
ENFORCE = Policy(mode=Mode.ENFORCE)
MOMENTS = st.none() | st.floats(NOW - 2 * DAY, NOW + DAY)


def decision(
    last: float | None = None,
    failed: float | None = None,
    *,
    policy: Policy = ENFORCE,
    fleet: Fleet = ALONE,
    history: History = CONFIRMED,
) -> Decision:
    """Return what becomes of a tree whose owner, ada, got a message at *last*."""
    found = tree(started_at=NOW - 100 * HOUR)
    waits = waiting({"ada": last}, {"ada": failed}, policy, NOW, fleet=fleet)
    scene = Scene({1001: ADA}, histories={found.key: history}, messages=waits)
    (only,) = decide([found], scene, policy, NOW)
    return only


def dates(found: Decision) -> dict[Action, float]:
    return {step.action: step.at - NOW for step in found.steps}


def test_who_got_no_message_is_told_now() -> None:
    found = decision()
    assert found.due is Action.NOTIFY
    assert dates(found) == {Action.NOTIFY: 0, Action.TERMINATE: DAY}


def test_a_message_of_late_puts_off_the_next_and_the_end_with_it() -> None:
    found = decision(last=NOW - HOUR)
    assert found.due is Action.KEEP
    assert dates(found) == {Action.NOTIFY: 23 * HOUR, Action.TERMINATE: 47 * HOUR}
    assert found.standing.rung is Rung.CONFIRMED


def test_the_end_that_is_put_off_lies_outside_the_quiet_hours() -> None:
    quiet = Terminate(quiet_hours=(parse_quiet_hours("00:00-24:00"),))
    found = decision(last=NOW - HOUR, policy=replace(ENFORCE, terminate=quiet))
    assert dates(found)[Action.TERMINATE] > 47 * HOUR


def test_a_message_that_failed_is_tried_again_after_an_hour() -> None:
    assert dates(decision(failed=NOW - HOUR / 2))[Action.NOTIFY] == HOUR / 2


def test_a_message_from_another_node_counts_as_well() -> None:
    found = decision(fleet=Fleet(written={"ada": NOW - 2 * HOUR}))
    assert dates(found)[Action.NOTIFY] == 22 * HOUR


def test_who_is_told_already_ends_when_that_was_announced() -> None:
    """The next message has no say in it."""
    told = replace(CONFIRMED, told=Told(NOW - HOUR, NOW + 5 * HOUR))
    assert dates(decision(last=NOW - HOUR, history=told)) == {Action.TERMINATE: 23 * HOUR}


def test_a_notice_that_is_over_is_carried_out_whatever_the_owner_got_since() -> None:
    told = replace(CONFIRMED, told=Told(NOW - 2 * DAY, NOW - DAY))
    assert decision(last=NOW - HOUR, history=told).due is Action.TERMINATE


@pytest.mark.parametrize(("last", "outcome"), [(NOW - HOUR, "keep"), (None, "notify")])
def test_the_log_says_what_the_run_does(last: float | None, outcome: str) -> None:
    (event,) = events.decisions((decision(last),), "b00710ad")
    assert event["outcome"] == outcome


@given(last=MOMENTS, failed=MOMENTS, written=MOMENTS)
def test_it_is_due_exactly_where_a_run_tells(
    last: float | None, failed: float | None, written: float | None
) -> None:
    fleet = Fleet(written={} if written is None else {"ada": written})
    found = decision(last, failed, fleet=fleet)
    told = chosen((found,), {"ada": last}, ENFORCE, NOW, {"ada": failed}, fleet=fleet)
    assert [each.user for each in told] == (["ada"] if found.due is Action.NOTIFY else [])


@given(last=MOMENTS, failed=MOMENTS)
def test_what_a_run_may_do_does_not_come_from_what_is_said(
    last: float | None, failed: float | None
) -> None:
    found, free = decision(last, failed), decision()
    assert (found.standing, found.action, found.memory) == (
        free.standing,
        free.action,
        free.memory,
    )


@given(last=MOMENTS, failed=st.none() | st.floats(NOW - 2 * DAY, NOW))
def test_the_date_that_is_named_is_when_a_run_tells(
    last: float | None, failed: float | None
) -> None:
    """Not a second before it, and at that moment; unless the clock went back after a failure."""
    at = NOW + dates(decision(last, failed))[Action.NOTIFY]
    plan, facts = (decision(),), ({"ada": last}, ENFORCE)
    assert chosen(plan, *facts, at, {"ada": failed})
    assert at == NOW or not chosen(plan, *facts, at - 1, {"ada": failed})
