"""The ladder: seen, confirmed, told, due; and what puts a tree back to its start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.builders import ADA, NOW, TICKS, tree
from vscadmin.model import Connections
from vscadmin.policy.ladder import Rung, Standing, after_clock_step, climb, remember
from vscadmin.policy.quiet import parse_quiet_hours
from vscadmin.policy.rules import Case
from vscadmin.policy.settings import (
    Action,
    Count,
    Mode,
    Policy,
    Rule,
    Seconds,
    Session,
    State,
    Terminate,
    When,
)
from vscadmin.policy.states import History, Told, Verdict

HOUR, DAY = 3600, 86400
RULE = Rule("abandoned", When(state=State.ABANDONED), Action.TERMINATE, notice=Seconds(DAY))
POLICY = Policy(mode=Mode.ENFORCE, session=Session(confirm=Count(2), confirm_span=Seconds(600)))
SEEN_BEFORE = History(
    first_seen=NOW - 9 * DAY,
    last_client=NOW - 8 * DAY,
    previous_scan=NOW - 600,
    state=State.ABANDONED,
    state_since=NOW - 7 * DAY,
    clear_since=NOW - 7 * DAY,
    clear_scans=1000,
)
TOLD = replace(SEEN_BEFORE, told=Told(NOW - 2 * DAY, NOW - DAY))


def case(history: History, state: State = State.ABANDONED, **facts: Any) -> Case:
    return Case(tree(**facts), ADA, Verdict(state, ()), history, 1, 0, TICKS)


def standing(
    history: History, action: Action = Action.TERMINATE, policy: Policy = POLICY, **facts: Any
) -> Standing:
    return climb(RULE, action, case(history, **facts), policy, NOW)


def test_a_tree_seen_for_the_first_time_is_only_seen() -> None:
    assert standing(History()) == Standing(Rung.SEEN)


@pytest.mark.parametrize(("scans", "since", "rung"), [
    (1, 600, Rung.CONFIRMED),
    (1, 599, Rung.SEEN),
    (9, 599, Rung.SEEN),
])  # fmt: skip
def test_enough_scans_far_enough_apart_confirm(scans: int, since: int, rung: Rung) -> None:
    history = replace(SEEN_BEFORE, clear_scans=scans, clear_since=NOW - since)
    assert standing(history).rung is rung


def test_the_owner_of_a_confirmed_tree_is_told() -> None:
    assert standing(SEEN_BEFORE) == Standing(Rung.CONFIRMED, Action.NOTIFY)


def test_a_tree_is_due_when_the_notice_is_over() -> None:
    assert standing(TOLD) == Standing(Rung.DUE, Action.TERMINATE, NOW)


def test_a_tree_is_kept_until_the_notice_is_over() -> None:
    history = replace(TOLD, told=Told(NOW - HOUR, NOW + 23 * HOUR))
    assert standing(history) == Standing(Rung.TOLD, Action.KEEP, NOW + 23 * HOUR)


def test_a_promised_date_holds_whatever_another_rule_says() -> None:
    quick = replace(RULE, name="runaway", notice=Seconds(60))
    history = replace(TOLD, told=Told(NOW - HOUR, NOW + 23 * HOUR))
    found = climb(quick, Action.TERMINATE, case(history), POLICY, NOW)
    assert (found.rung, found.end_at) == (Rung.TOLD, NOW + 23 * HOUR)


def test_a_longer_notice_than_promised_holds_too() -> None:
    slow = replace(RULE, notice=Seconds(7 * DAY))
    found = climb(slow, Action.TERMINATE, case(TOLD), POLICY, NOW)
    assert (found.rung, found.end_at) == (Rung.TOLD, NOW + 5 * DAY)


def test_quiet_hours_hold_an_end_back() -> None:
    quiet = Terminate(quiet_hours=(parse_quiet_hours("00:00-24:00"),))
    found = standing(TOLD, policy=replace(POLICY, terminate=quiet))
    assert (found.rung, found.due) == (Rung.TOLD, Action.KEEP)


def test_without_a_delivered_notice_nothing_is_due() -> None:
    assert standing(replace(TOLD, told=None)).due is Action.NOTIFY


@pytest.mark.parametrize("history", [
    replace(TOLD, state=State.CONNECTED),
    replace(TOLD, state=State.UNKNOWN),
    replace(TOLD, clear_since=None, clear_scans=0),
])  # fmt: skip
def test_a_broken_run_starts_again_and_its_notice_is_void(history: History) -> None:
    assert standing(history) == Standing(Rung.SEEN)


def test_a_client_between_two_scans_breaks_the_run() -> None:
    assert standing(TOLD, host_started_at=NOW - 60) == Standing(Rung.SEEN)


def test_a_gap_of_days_breaks_the_run() -> None:
    """Whoever came and went while nobody looked is not known of."""
    silent = replace(TOLD, previous_scan=NOW - 2 * DAY - 1)
    assert standing(silent) == Standing(Rung.SEEN)
    assert standing(replace(TOLD, previous_scan=NOW - 2 * DAY)).rung is Rung.DUE


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_clock_that_was_set_voids_the_notice_and_moves_no_duration(step: float) -> None:
    known = after_clock_step(TOLD, step)
    found = climb(RULE, Action.TERMINATE, case(known), POLICY, NOW + step)
    assert found == Standing(Rung.SEEN)
    assert (known.told, known.state) == (None, State.ABANDONED)
    assert TOLD.state_since is not None
    assert TOLD.last_client is not None
    assert known.state_since == TOLD.state_since + step
    assert known.last_client == TOLD.last_client + step


def test_keep_asks_for_nothing() -> None:
    assert standing(TOLD, Action.KEEP) == Standing(Rung.NONE)


def test_in_mode_notify_an_owner_is_told_once() -> None:
    told = replace(SEEN_BEFORE, notified=frozenset({"abandoned"}))
    assert standing(SEEN_BEFORE, Action.NOTIFY).due is Action.NOTIFY
    assert standing(told, Action.NOTIFY) == Standing(Rung.TOLD)


def test_a_notice_that_announced_no_end_justifies_none() -> None:
    told = replace(SEEN_BEFORE, notified=frozenset({"abandoned"}))
    assert standing(told) == Standing(Rung.CONFIRMED, Action.NOTIFY)


class TestMemory:
    def test_a_first_scan(self) -> None:
        found = remember(case(History()), is_held_back=False, now=NOW)
        assert found == History(
            first_seen=NOW,
            previous_scan=NOW,
            state=State.ABANDONED,
            state_since=NOW,
            clear_since=NOW,
            clear_scans=1,
        )

    def test_one_more_scan_that_agrees(self) -> None:
        found = remember(case(TOLD), is_held_back=False, now=NOW)
        assert found == replace(TOLD, previous_scan=NOW, clear_scans=1001)

    def test_a_client_is_remembered_and_starts_a_state(self) -> None:
        used = case(TOLD, State.CONNECTED, connections=Connections(clients=("10.0.0.1:5",)))
        found = remember(used, is_held_back=False, now=NOW)
        assert (found.last_client, found.state_since, found.told) == (NOW, NOW, None)

    def test_a_client_between_two_scans_is_remembered(self) -> None:
        """The next scan is later than it, and could not tell any more."""
        found = remember(case(TOLD, host_started_at=NOW - 60), is_held_back=False, now=NOW)
        assert (found.last_client, found.state_since, found.told) == (NOW - 60, NOW, None)

    def test_a_hit_keeps_the_state_and_breaks_the_run(self) -> None:
        found = remember(case(TOLD), is_held_back=True, now=NOW)
        assert (found.state_since, found.clear_since, found.told) == (NOW - 7 * DAY, None, None)
