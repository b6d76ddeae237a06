"""Whose turn it is to write, and which notices of others count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.test_snapshot_json import ASK, TOLD, TREE
from vscadmin.cleanup.peers import Peer, foreign_boot, node_and_boot
from vscadmin.cleanup.turns import (
    AHEAD,
    fleet_of,
    is_live,
    is_our_turn,
    is_ours_to_take,
    sender,
)
from vscadmin.policy.decide import Abroad
from vscadmin.policy.states import History

NOW, STALE = 1_790_000_000.0, 2400.0
ADA = ("ada", 1001)
NODES = ("login1", "login2")
SENDER = sender("ada", NODES)
OTHER = next(name for name in NODES if name != SENDER)


def peer(node: str, **facts: Any) -> Peer:
    known: dict[str, Any] = {
        "boot_id": "b00710ad",
        "taken_at": NOW - 60,
        "written_at": NOW - 59,
        "sends": True,
    }
    return Peer(node, **{**known, **facts})


def asking(node: str, since: float = NOW - 700, **facts: Any) -> Peer:
    return peer(node, asks=(ASK._replace(since=since, clear_since=NOW - 9000),), **facts)


@pytest.mark.parametrize(
    ("age", "live"), [(0, True), (STALE - 1, True), (STALE, False), (-AHEAD, True), (-301, False)]
)
def test_a_node_is_live_by_its_last_snapshot(age: float, live: bool) -> None:
    assert is_live(peer("login2", written_at=NOW - age), NOW, STALE) is live


def test_the_sender_waits_until_every_node_had_a_look() -> None:
    """So that one message names the servers of all of them."""
    own = peer(SENDER)
    early = fleet_of(SENDER, [asking(OTHER, since=NOW - 60)], own, NOW, STALE)
    assert is_our_turn(early, ADA, None, 0.0, NOW)
    late = fleet_of(SENDER, [asking(OTHER, since=NOW - 59)], own, NOW, STALE)
    assert not is_our_turn(late, ADA, None, 0.0, NOW)


def test_a_server_found_in_this_very_run_waits_for_the_others_look() -> None:
    fleet = fleet_of(SENDER, [peer(OTHER)], peer(SENDER), NOW, STALE)
    assert not is_our_turn(fleet, ADA, NOW, 0.0, NOW)
    assert is_our_turn(fleet, ADA, NOW - 60, 0.0, NOW)


def test_a_node_that_is_not_the_sender_waits_for_as_long_as_stale_and_then_writes() -> None:
    fleet = fleet_of(OTHER, [peer(SENDER)], peer(OTHER), NOW, STALE)
    assert not is_our_turn(fleet, ADA, NOW - STALE, 0.0, NOW)
    assert is_our_turn(fleet, ADA, NOW - STALE - 1, 0.0, NOW)


def test_it_waits_from_when_a_message_may_go_out() -> None:
    fleet = fleet_of(OTHER, [peer(SENDER)], peer(OTHER), NOW, STALE)
    assert not is_our_turn(fleet, ADA, NOW - 80_000, NOW - 10, NOW)


def test_a_node_that_does_not_send_is_no_sender_and_nobody_waits_for_it() -> None:
    silent = peer(SENDER, sends=False, taken_at=NOW - 2000)
    fleet = fleet_of(OTHER, [silent], peer(OTHER), NOW, STALE)
    assert is_our_turn(fleet, ADA, NOW - 600, 0.0, NOW)


def test_whoever_the_others_cannot_hear_relies_on_nobody() -> None:
    fleet = fleet_of(OTHER, [peer(SENDER)], None, NOW, STALE)
    assert is_our_turn(fleet, ADA, NOW, 0.0, NOW)


def test_a_tree_that_a_message_has_named_is_not_asked_for_again() -> None:
    told = TOLD._replace(node=OTHER, asked_at=NOW - 800)
    own = peer(SENDER, told=(told,))
    assert fleet_of(SENDER, [asking(OTHER)], own, NOW, STALE).asks == {}
    third = peer("login9", told=(told,))
    assert fleet_of(SENDER, [asking(OTHER), third], None, NOW, STALE).asks == {}


@pytest.mark.parametrize(
    "other",
    [
        {"asked_at": NOW - 9001},
        {"rule": "runaway"},
        {"user": "bob"},
        {"pid": 4101},
        {"boot_id": "another"},
        {"node": "login9"},
    ],
)
def test_a_message_about_something_else_answers_nothing(other: dict[str, Any]) -> None:
    """One of before the client that came in between neither."""
    known: dict[str, Any] = {"node": OTHER, "asked_at": NOW - 800}
    told = TOLD._replace(**{**known, **other})
    own = peer(SENDER, told=(told,))
    assert list(fleet_of(SENDER, [asking(OTHER)], own, NOW, STALE).asks) == [ADA]


def test_what_a_stale_node_says_is_not_heard() -> None:
    old = replace(asking(OTHER), written_at=NOW - STALE, trees=(TREE,), written={"ada": NOW - 9})
    fleet = fleet_of(SENDER, [old], peer(SENDER), NOW, STALE)
    assert (fleet.peers, fleet.asks, fleet.written, fleet.trees) == ((), {}, {}, {})


def test_trees_count_by_uid_and_name_of_their_owner() -> None:
    seen = peer(OTHER, trees=(TREE, TREE._replace(user="eve"), TREE._replace(uid=7)))
    fleet = fleet_of(SENDER, [seen], None, NOW, STALE)
    assert fleet.trees[1001, "ada"] == (Abroad(OTHER, TREE.started_at),)
    assert set(fleet.trees) == {(1001, "ada"), (1001, "eve"), (7, "ada")}


def test_the_latest_message_of_any_node_counts() -> None:
    peers = [peer(OTHER, written={"ada": NOW - 50}), peer("login9", written={"ada": NOW - 90})]
    assert fleet_of(SENDER, peers, None, NOW, STALE).written == {"ada": NOW - 50}


@pytest.mark.parametrize(
    ("clear_since", "asked_at", "taken"),
    [
        (NOW - 900, NOW - 800, True),
        (NOW - 900, NOW - 900, True),
        (NOW - 700, NOW - 800, False),
        (None, NOW - 800, False),
        (NOW - 900, NOW + 1, False),
    ],
)
def test_a_notice_counts_only_for_the_run_of_scans_that_asked_for_it(
    clear_since: float | None, asked_at: float, taken: bool
) -> None:
    told = TOLD._replace(asked_at=asked_at)
    assert is_ours_to_take(told, History(clear_since=clear_since), NOW) is taken


def test_no_server_of_another_node_is_ever_taken_for_one_of_ours() -> None:
    assert foreign_boot("login2", "b00710ad") == "login2/b00710ad"
    assert node_and_boot("login2/b00710ad") == ("login2", "b00710ad")
    assert node_and_boot("b00710ad") == ("", "b00710ad")
