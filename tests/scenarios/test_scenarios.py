"""Every recorded process table gives the trees, states and decisions that its file expects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.scenarios import ladder
from tests.scenarios.table import Scenario, load
from vscadmin.policy.decide import Decision

HERE = Path(__file__).parent
LADDERS = sorted((HERE / "ladder").glob("*.toml"))
FILES = [path for path in sorted(HERE.rglob("*.toml")) if path not in LADDERS]


def seen(decision: Decision) -> dict[str, Any]:
    """Say of a decision everything that a scenario may expect."""
    tree = decision.tree
    return {
        "root": tree.root.pid,
        "product": tree.product,
        "layout": tree.layout,
        "state": str(decision.verdict.state),
        "members": sorted(each.pid for each in tree.members),
        "orphan": tree.orphan,
        "clients": len(tree.connections.clients),
        "internal": tree.connections.internal,
        "foreign": sorted(each.pid for each in tree.foreign),
        "agents": list(tree.agents),
        "servers": tree.servers,
        "verified": tree.verified,
        "wanted": str(decision.wanted),
        "action": str(decision.action),
        "rule": decision.rule,
        "held_back": list(decision.held_back),
        "notes": list(decision.notes),
        "grace": decision.verdict.grace,
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_scenario_comes_out_as_recorded(path: Path) -> None:
    scenario = load(path)
    found = {each.tree.root.pid: seen(each) for each in scenario.plan()}
    expected = {each["root"]: each for each in scenario.expected}
    assert sorted(found) == sorted(expected), "these roots, and no others"
    for root, wanted in expected.items():
        assert {"product", "state", "members"} <= wanted.keys(), "say at least these"
        assert {key: found[root][key] for key in wanted} == wanted


@pytest.mark.parametrize("path", LADDERS, ids=lambda path: path.stem)
def test_the_ladder_is_climbed_as_told(path: Path) -> None:
    for scan in ladder.scans(path):
        found = {d.tree.root.pid: ladder.seen(d, scan.ended) for d in scan.plan}
        expected = {each["root"]: each for each in scan.expected}
        assert sorted(found) == sorted(expected), f"at {scan.at}: these roots, and no others"
        for root, wanted in expected.items():
            assert {"state", "rung", "due"} <= wanted.keys(), "say at least these"
            assert {key: found[root][key] for key in wanted} == wanted, f"at {scan.at}"


def test_there_are_scenarios_for_every_family() -> None:
    """A family without a recorded table would be a guess."""
    from tests.builders import CATALOGUE  # noqa: PLC0415

    told = {each["product"] for path in FILES for each in load_expected(path)}
    assert told == {family.name for family in CATALOGUE.families}


def load_expected(path: Path) -> list[dict[str, Any]]:
    scenario: Scenario = load(path)
    return scenario.expected
