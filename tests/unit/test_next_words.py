"""The last column of a report: what happens next, or why nothing does."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from tests.builders import ADA, CONFIRMED, NOW, tree
from vscadmin.cli import render_fleet
from vscadmin.cli.render import next_words
from vscadmin.model import Connections
from vscadmin.policy.decide import Scene, decide
from vscadmin.policy.settings import Action, Mode, Policy, Rule, Seconds, State, When
from vscadmin.policy.states import History

DAY = 86400
TODAY = date.fromtimestamp(NOW)
ENDS = Rule("abandoned", When(), Action.TERMINATE, notice=Seconds(DAY))
TELLS = replace(ENDS, action=Action.NOTIFY)
TOLD = replace(CONFIRMED, notified=frozenset({"abandoned"}), notified_at=NOW)
IN_USE = replace(TOLD, state=State.CONNECTED)


def words(
    mode: Mode = Mode.NOTIFY, rule: Rule = ENDS, history: History = TOLD, *, in_use: bool = False
) -> str:
    clients = Connections(("127.0.0.1:1",), ("10.1.2.3:4",)) if in_use else Connections()
    found = tree(started_at=NOW - 4 * DAY, connections=clients)
    scene = Scene({1001: ADA}, histories={found.key: history})
    (only,) = decide([found], scene, Policy(mode=mode, rules=(rule,)), NOW)
    return next_words(only, NOW)


def test_a_rule_that_holds_is_never_no_rule() -> None:
    assert words() == f"told {TODAY}; mode notify ends nothing"
    assert words(rule=TELLS) == f"told {TODAY}; the rule asks for no more"
    assert words(Mode.ENFORCE, TELLS) == f"told {TODAY}; the rule asks for no more"
    said = words(Mode.ENFORCE, history=IN_USE, in_use=True)
    assert said == f"told {TODAY}; connected is not ended"


@pytest.mark.parametrize("mode", [Mode.NOTIFY, Mode.ENFORCE])
def test_who_is_not_told_yet_is_told_first(mode: Mode) -> None:
    assert words(mode, history=CONFIRMED) == "tell owner now, end in 24h"


def test_a_rule_may_ask_to_keep() -> None:
    assert words(Mode.ENFORCE, replace(ENDS, action=Action.KEEP)) == "kept: by the rule"


def test_where_no_rule_holds_there_is_none() -> None:
    never = replace(ENDS, when=When(product="cursor"))
    assert words(rule=never) == "kept: no rule"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"rung": "told", "rule": "abandoned"}, "told; nothing follows"),
        ({"rung": "none", "rule": "keep-mine"}, "kept: by the rule"),
        ({"rung": "none", "rule": None}, "kept: no rule"),
    ],
)
def test_a_fleet_says_so_too(facts: dict[str, Any], said: str) -> None:
    found = {"next": [], "state": "abandoned", "held_back": [], "notes": [], **facts}
    assert render_fleet.next_words(found, None) == said
