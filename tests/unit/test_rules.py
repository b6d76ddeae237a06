from __future__ import annotations

from typing import Any

import pytest

from tests.builders import ADA, NOW, process, tree
from vscadmin.model import Owner
from vscadmin.policy.rules import Case, Match, conditions, match
from vscadmin.policy.settings import Action, Keep, Rule, State, When
from vscadmin.policy.states import CpuSample, History, Verdict

HOUR = 3600
ABANDONED = Verdict(State.ABANDONED, (), abandoned_at=NOW - HOUR)
GRACE = Verdict(State.GRACE, (), abandoned_at=NOW + HOUR)
CONNECTED = Verdict(State.CONNECTED, ())


def case(verdict: Verdict = ABANDONED, **facts: Any) -> Case:
    known: dict[str, Any] = {
        "tree": tree(),
        "owner": ADA,
        "history": History(state=State.ABANDONED, state_since=NOW - 10 * HOUR),
        "trees": 1,
        "younger": 0,
        "ticks": 100,
    }
    return Case(verdict=verdict, **{**known, **facts})


def checked(when: dict[str, Any], found: Case, keep: Keep | None = None) -> Match:
    return match(Rule("r", When(**when), Action.TERMINATE, keep=keep), found, NOW)


@pytest.mark.parametrize(
    ("when", "holds", "later"),
    [
        ({"state": State.ABANDONED}, True, 0),
        ({"state": State.CONNECTED}, False, None),
        ({"orphan": True}, True, 0),
        ({"orphan": False}, False, None),
        ({"age_over": HOUR - 1}, True, 0),
        ({"age_over": HOUR}, False, 0),
        ({"age_over": 5 * HOUR}, False, 4 * HOUR),
        ({"lasting": 10 * HOUR}, True, 0),
        ({"lasting": 12 * HOUR}, False, 2 * HOUR),
        ({"rss_over": (1 << 20) - 1}, True, 0),
        ({"rss_over": 1 << 20}, False, None),
        ({"product": "vscode"}, True, 0),
        ({"product": "cursor"}, False, None),
        ({"user": "ada"}, True, 0),
        ({"user": "bob"}, False, None),
        ({"group": "physics"}, True, 0),
        ({"group": "hpc-staff"}, False, None),
        ({"user_sessions_over": 1}, False, None),
        ({"cpu_over": 80, "cpu_for": 1800}, False, None),
        ({"state": State.ABANDONED, "lasting": 12 * HOUR, "age_over": 6 * HOUR}, False, 5 * HOUR),
        ({"age_over": 5 * HOUR, "user": "bob"}, False, None),
    ],
)
def test_a_condition_says_whether_and_when_it_holds(
    when: dict[str, Any], holds: bool, later: float | None
) -> None:
    found = checked(when, case())
    assert found.holds is holds
    assert found.at == (None if later is None else NOW + later)


def test_waiting_leads_from_grace_to_abandoned_and_no_further() -> None:
    when = {"state": State.ABANDONED, "lasting": 24 * HOUR}
    assert checked(when, case(GRACE)).at == NOW + 25 * HOUR
    assert checked(when, case(CONNECTED)).at is None


def test_for_counts_from_the_first_stored_scan_in_that_state() -> None:
    other = History(state=State.GRACE, state_since=NOW - 99 * HOUR)
    found = checked({"lasting": 2 * HOUR}, case(history=other))
    assert found.at == NOW + 2 * HOUR
    assert checked({"lasting": 0}, case(history=other)).holds


@pytest.mark.parametrize(
    ("younger", "keep", "holds"),
    [(0, None, True), (0, Keep.NEWEST, False), (2, Keep.NEWEST, False), (3, Keep.NEWEST, True)],
)
def test_of_too_many_the_newest_stay(younger: int, keep: Keep | None, holds: bool) -> None:
    found = checked({"user_sessions_over": 3}, case(trees=5, younger=younger), keep)
    assert found.holds is holds


@pytest.mark.parametrize(("used", "holds"), [(3600 * 0.9, True), (3600 * 0.7, False)])
def test_cpu_is_measured_between_stored_scans(used: float, holds: bool) -> None:
    root = process(4100, "sh", cpu_ticks=int(100 * (50 + used)))
    history = History(
        cpu=(CpuSample(NOW - 7200, 0), CpuSample(NOW - 3600, 50), CpuSample(NOW - 60, 99))
    )
    found = case(tree=tree(root=root), history=history)
    assert checked({"cpu_over": 80, "cpu_for": 1800}, found).holds is holds


def test_a_group_look_up_that_failed_holds_nothing() -> None:
    found = checked({"group": "physics"}, case(owner=Owner(1001, "ada", None)))
    assert not found.holds
    assert "could not be looked up" in found.findings[0].words


def test_a_rule_knows_what_it_asks_for() -> None:
    when = When(state=State.ABANDONED, lasting=None, group="x")
    assert conditions(when) == ("state", "group")
