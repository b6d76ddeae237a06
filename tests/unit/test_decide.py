from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from tests.builders import ADA, NOW, launcher, process, tree
from vscadmin.model import Connections, Owner, Tree
from vscadmin.policy.decide import Decision, Scene, decide, is_regular
from vscadmin.policy.quiet import parse_quiet_hours
from vscadmin.policy.settings import (
    Action,
    Count,
    Exemption,
    Mode,
    Policy,
    Protect,
    Scope,
    State,
    Terminate,
)
from vscadmin.policy.states import History

HOUR = 3600
ENFORCE = Policy(mode=Mode.ENFORCE)
OLD = History(
    first_seen=NOW - 90 * HOUR,
    last_client=NOW - 80 * HOUR,
    state=State.ABANDONED,
    state_since=NOW - 77 * HOUR,
)
TODAY = datetime.fromtimestamp(NOW).date()


def scene(*trees: Tree, owner: Owner = ADA, history: History = OLD) -> Scene:
    return Scene(owners={owner.uid: owner}, histories={each.key: history for each in trees})


def decision(policy: Policy, found: Tree | None = None, **surroundings: Any) -> Decision:
    one = found or tree()
    (only,) = decide([one], scene(one, **surroundings), policy, NOW)
    return only


@pytest.mark.parametrize(
    ("mode", "action"),
    [
        (Mode.OBSERVE, Action.KEEP),
        (Mode.NOTIFY, Action.NOTIFY),
        (Mode.ENFORCE, Action.TERMINATE),
    ],
)
def test_the_mode_bounds_every_rule(mode: Mode, action: Action) -> None:
    found = decision(Policy(mode=mode))
    assert (found.wanted, found.action, found.rule) == (Action.TERMINATE, action, "abandoned")
    assert [step.allowed for step in found.steps] == [
        mode is not Mode.OBSERVE,
        mode is Mode.ENFORCE,
    ]


def test_every_tree_gets_one_decision_in_order() -> None:
    trees = [tree(root=launcher(pid)) for pid in (4100, 4200, 4300)]
    plan = decide(trees, scene(*trees), ENFORCE, NOW)
    assert [each.tree for each in plan] == trees


def test_only_abandoned_trees_can_be_terminated() -> None:
    rules = tuple(replace(rule, when=replace(rule.when, state=None)) for rule in ENFORCE.rules[2:3])
    used = tree(connections=Connections(clients=("somebody",)))
    history = replace(OLD, state=State.CONNECTED)
    found = decision(replace(ENFORCE, rules=rules), used, history=history)
    assert (found.wanted, found.action) == (Action.TERMINATE, Action.NOTIFY)
    assert [step.action for step in found.steps] == [Action.NOTIFY]


@pytest.mark.parametrize(
    ("change", "owner", "said"),
    [
        ({"protect": Protect(users=("ada",))}, ADA, "protect.users"),
        ({"exempt": (Exemption("ada", TODAY, "T-1"),)}, ADA, "exempt until"),
        ({}, Owner(1001, "ada smith@x"), "unusual characters"),
    ],
)
def test_what_holds_a_rule_back_is_said(change: dict[str, Any], owner: Owner, said: str) -> None:
    found = decision(replace(ENFORCE, **change), owner=owner)
    assert (found.wanted, found.action) == (Action.TERMINATE, Action.KEEP)
    assert said in found.held_back[0]
    assert found.steps == ()


def test_an_exemption_ends_with_its_day() -> None:
    ended = Exemption("ada", TODAY - timedelta(days=1), "T-1")
    other = Exemption("bob", date(2099, 1, 1), "T-2")
    assert decision(replace(ENFORCE, exempt=(ended, other))).action is Action.TERMINATE


def test_an_exemption_near_its_end_is_pointed_out() -> None:
    near = Exemption("ada", TODAY + timedelta(days=7), "T-1")
    far = Exemption("ada", TODAY + timedelta(days=8), "T-1")
    found = decision(replace(ENFORCE, exempt=(near, far)))
    assert found.notes == (f"the exemption of ada ends on {near.until}",)


def test_a_product_out_of_scope_has_no_rule_unless_one_names_it() -> None:
    narrow = replace(ENFORCE, scope=Scope(products=("cursor",)))
    found = decision(narrow)
    assert (found.action, found.rule) == (Action.KEEP, None)
    assert found.notes == ("vscode is not in scope.products",)
    naming = tuple(replace(r, when=replace(r.when, product="vscode")) for r in narrow.rules)
    assert decision(replace(narrow, rules=naming)).action is Action.TERMINATE


def test_a_report_only_product_has_no_rule_at_all() -> None:
    found = decision(ENFORCE, tree(report_only=True))
    assert (found.action, found.rule, found.checked) == (Action.KEEP, None, ())


def test_notes_tell_of_unverified_entries_and_foreign_processes() -> None:
    root_shell = process(9, "-bash", uid=0)
    found = decision(ENFORCE, tree(verified=False, foreign=(root_shell,)))
    assert len(found.notes) == 2
    assert found.notes[1].endswith("never signalled: pid 9")


def test_a_failed_look_up_is_unknown_and_kept() -> None:
    found = decide([tree()], Scene(owners={}), ENFORCE, NOW)[0]
    assert found.verdict.state is State.UNKNOWN
    assert found.action is Action.KEEP


def test_without_history_the_earliest_dates_are_told() -> None:
    found = decide([tree()], Scene(owners={1001: ADA}), ENFORCE, NOW)[0]
    assert (found.rule, found.is_forecast, found.wanted) == ("abandoned", True, Action.KEEP)
    told, ended = found.steps
    assert (told.action, told.at) == (Action.NOTIFY, NOW + 27 * HOUR)
    assert (ended.action, ended.at) == (Action.TERMINATE, NOW + 51 * HOUR)


def test_the_first_scan_alone_confirms_nothing() -> None:
    recent = replace(OLD, first_seen=NOW)
    assert decision(ENFORCE, history=recent).steps[0].at == NOW + 600
    thrice = replace(ENFORCE, session=replace(ENFORCE.session, confirm=Count(3)))
    assert decision(thrice, history=recent).steps[0].at == NOW + 1200


def test_terminations_wait_for_the_end_of_quiet_hours() -> None:
    lunch = parse_quiet_hours("12:00-13:00")
    noisy = decision(replace(ENFORCE, terminate=Terminate(quiet_hours=(lunch,))))
    over = datetime.fromtimestamp(noisy.steps[1].at)
    assert not 12 <= over.hour < 13


def test_of_four_servers_the_oldest_is_too_many() -> None:
    trees = [tree(root=launcher(pid, age=9000 - pid)) for pid in (4100, 4200, 4300, 4400)]
    fresh = replace(OLD, state_since=NOW - 60)
    plan = decide(trees, scene(*trees, history=fresh), ENFORCE, NOW)
    assert [each.rule for each in plan if not each.is_forecast] == ["too-many"]
    assert plan[0].action is Action.TERMINATE


@pytest.mark.parametrize(
    ("name", "regular"),
    [("ada", True), ("a.b-c_1", True), ("", False), ("-x", False), ("Ada", False), ("a\n", False)],
)
def test_a_regular_user_name(name: str, regular: bool) -> None:
    assert is_regular(name) is regular
