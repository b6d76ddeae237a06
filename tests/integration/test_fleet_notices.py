"""The ladder over several nodes: one message for a user, and no end without one.

Stores, snapshots and the mail server are real; trees and the clock are invented.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.fleet_nodes import EVERY, HOUR, MINUTE, ROUND, Clock, LoginNode, Nodes
from tests.integration.office import Office
from vscadmin.cleanup.records import Delivery
from vscadmin.cleanup.turns import sender
from vscadmin.model import Owner
from vscadmin.policy.settings import (
    Action,
    Fleet,
    Keep,
    Mode,
    Rule,
    Seconds,
    State,
    When,
)

NAMES = ("login1", "login2", "login3", "login4")
SENDER = sender("ada", NAMES[:2])
OTHER = next(name for name in NAMES[:2] if name != SENDER)


@pytest.fixture
def nodes(office: Office) -> Iterator[Nodes]:
    with TemporaryDirectory(dir="/dev/shm") as folder, Clock().ticking() as clock:
        found = Nodes(Path(folder), office, clock)
        yield found
        found.close()


def two(nodes: Nodes, **facts: Any) -> tuple[LoginNode, LoginNode]:
    """Return the node that writes to ada, and another; each has a server that nobody uses."""
    found = tuple(nodes.add(name, **facts) for name in (SENDER, OTHER))
    nodes.rounds(1)
    for node in found:
        node.leave(4100)
    return found[0], found[1]


def both_due(first: LoginNode, second: LoginNode) -> bool:
    return first.due == second.due == [4100]


def snapshot_of(nodes: Nodes, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((nodes.shared / f"{name}.json").read_bytes())
    return found


def test_a_user_with_servers_on_four_nodes_gets_one_message(nodes: Nodes) -> None:
    for name in NAMES:
        nodes.add(name)
    nodes.rounds(1)
    for node in nodes.nodes.values():
        node.leave(4100)
    nodes.until(3 * HOUR)
    (message,) = nodes.sent
    assert message.about == {(name, 4100) for name in NAMES}
    nodes.until(EVERY)
    assert len(nodes.sent) == 1
    assert [node.due for node in nodes.nodes.values()] == [[4100]] * 4


def test_every_node_ends_its_own_after_the_notice_that_one_of_them_delivered(nodes: Nodes) -> None:
    first, second = two(nodes)
    nodes.until(3 * HOUR)
    (message,) = nodes.sent
    nodes.until(EVERY - HOUR / 2 - (nodes.clock.now - message.at))
    assert first.due == second.due == []
    nodes.until(HOUR)
    assert both_due(first, second)
    taken = second.store.notices("ada")
    assert [each.delivery for each in taken] == [Delivery.DELIVERED]
    assert taken[0].not_before is not None
    assert taken[0].not_before >= message.at + EVERY
    assert taken[0].identity.boot_id == second.boot_id


def test_the_store_of_the_sender_knows_all_that_it_said(nodes: Nodes) -> None:
    first, _ = two(nodes)
    nodes.until(3 * HOUR)
    boots = {each.identity.boot_id for each in first.store.notices("ada")}
    assert boots == {"b00710ad", f"{OTHER}/b00710ad"}


def test_where_the_sender_has_no_server_of_the_user_it_writes_all_the_same(nodes: Nodes) -> None:
    first, second = two(nodes)
    del first.trees[4100]
    nodes.until(3 * HOUR)
    assert [each.about for each in nodes.sent] == [{(OTHER, 4100)}]
    assert first.store.last_message_to("ada") == nodes.sent[0].at
    nodes.until(EVERY)
    assert second.due == [4100]


def test_when_the_sender_dies_another_node_takes_over(nodes: Nodes) -> None:
    _, second = two(nodes)
    nodes.until(1 * HOUR)
    gone = frozenset({SENDER})
    nodes.until(4 * HOUR, without=gone)
    assert [each.about for each in nodes.sent] == [{(OTHER, 4100)}]
    nodes.until(EVERY, without=gone)
    assert second.due == [4100]


def test_a_sender_that_died_after_its_message_is_believed(nodes: Nodes) -> None:
    """What was delivered stands in its file, however old that gets."""
    _, second = two(nodes)
    while not nodes.sent:
        nodes.rounds(1)
    nodes.until(EVERY, without=frozenset({SENDER}))
    assert len(nodes.sent) == 1
    nodes.until(2 * HOUR, without=frozenset({SENDER}))
    assert second.due == [4100]


def test_a_sender_that_cannot_deliver_leaves_nobody_waiting(nodes: Nodes) -> None:
    """Its mail relay refuses it alone: the other node writes once it has waited long enough."""
    first, second = two(nodes)
    first.policy = replace(
        first.policy, notify=replace(first.policy.notify, smtp="127.0.0.1:1", admins=())
    )
    nodes.until(4 * HOUR)
    assert len(nodes.sent) == 1
    assert nodes.sent[0].about == {(SENDER, 4100), (OTHER, 4100)}
    nodes.until(EVERY)
    assert second.due == [4100]
    assert first.due == [4100]


def test_a_node_that_the_sender_cannot_read_of_writes_itself(nodes: Nodes) -> None:
    two(nodes)
    for _ in range(6 * 10):
        nodes.clock.now += ROUND
        nodes.run(SENDER, blind_to=frozenset({OTHER}))
        nodes.clock.now += MINUTE
        nodes.run(OTHER)
    assert [each.about for each in nodes.sent] == [{(SENDER, 4100)}, {(OTHER, 4100)}]


def test_without_the_directory_each_node_acts_alone_and_says_so_once(nodes: Nodes) -> None:
    first, second = two(nodes)
    os.rename(nodes.shared, nodes.folder / "unmounted")
    nodes.until(4 * HOUR)
    assert sorted(map(sorted, (each.about for each in nodes.sent))) == [
        [("login1", 4100)],
        [("login2", 4100)],
    ]
    assert len(first.problems) == 1
    assert "No such file or directory: this node acts alone" in first.problems[0]
    nodes.until(EVERY)
    assert both_due(first, second)


def test_a_node_whose_snapshot_does_not_last_relies_on_nobody(nodes: Nodes) -> None:
    """The sender may never have read it, so what it would wait for may never come."""
    two(nodes)
    for _ in range(6 * 4):
        nodes.clock.now += ROUND
        nodes.run(SENDER)
        (nodes.shared / f"{OTHER}.json").unlink(missing_ok=True)
        nodes.run(OTHER)
    assert (OTHER, 4100) in {each for sent in nodes.sent for each in sent.about}


def test_two_machines_of_one_name_rely_on_nobody_and_say_so(nodes: Nodes) -> None:
    """Each replaces what the other wrote, so neither knows what the fleet has read."""
    first, second = two(nodes)
    nodes.rounds(2)
    written = snapshot_of(nodes, OTHER) | {"boot_id": "another", "written_at": nodes.clock.now}
    (nodes.shared / f"{OTHER}.json").write_text(json.dumps(written), encoding="ascii")
    nodes.run(OTHER)
    words = f"another machine writes as {OTHER} as well: each needs a name of its own"
    assert second.problems == [f"fleet.snapshot: {words}"]
    assert first.problems == []


def test_a_client_in_between_takes_the_notice_back(nodes: Nodes) -> None:
    _, second = two(nodes)
    while not nodes.sent:
        nodes.rounds(1)
    second.connect(4100)
    nodes.rounds(2)
    second.disconnect(4100)
    nodes.until(EVERY + HOUR)
    assert second.due == []
    assert (OTHER, 4100) in nodes.sent[-1].about
    assert len(nodes.sent) == 2
    nodes.until(EVERY)
    assert second.due == [4100]


def test_a_clock_that_is_behind_makes_no_notice_shorter(nodes: Nodes) -> None:
    first, second = two(nodes)
    second.ahead = -4 * MINUTE
    nodes.until(3 * HOUR)
    while second.due == []:
        nodes.rounds(1)
    (message,) = [each for each in nodes.sent if (OTHER, 4100) in each.about]
    assert nodes.clock.now - message.at >= EVERY
    assert first.problems == second.problems == []


def test_a_node_with_a_clock_far_ahead_is_not_heard_and_is_named(nodes: Nodes) -> None:
    first, second = two(nodes)
    second.ahead = 3 * HOUR
    nodes.rounds(3)
    (words,) = first.problems
    assert words.startswith(f"fleet.snapshot: the clock of {OTHER} is ")
    assert words.endswith("h ahead: not heard")
    nodes.until(3 * HOUR)
    assert {each for sent in nodes.sent for each in sent.about} == {(SENDER, 4100), (OTHER, 4100)}


def test_one_message_a_day_over_the_fleet(nodes: Nodes) -> None:
    first, second = two(nodes)
    nodes.until(3 * HOUR)
    first.leave(4200)
    second.leave(4300)
    nodes.until(3 * HOUR)
    assert len(nodes.sent) == 1
    nodes.until(4 * HOUR)
    assert [len(each.about) for each in nodes.sent] == [2, 2]
    assert nodes.sent[1].at - nodes.sent[0].at >= EVERY
    assert nodes.sent[1].about == {(SENDER, 4200), (OTHER, 4300)}


def test_a_message_names_twenty_and_the_rest_waits(nodes: Nodes) -> None:
    first, second = two(nodes)
    for pid in range(5000, 5015):
        first.leave(pid)
        second.leave(pid)
    nodes.until(3 * HOUR)
    assert [len(each.about) for each in nodes.sent] == [20]
    nodes.until(EVERY + HOUR)
    assert [len(each.about) for each in nodes.sent] == [20, 12]
    assert not nodes.sent[0].about & nodes.sent[1].about


def test_a_node_in_mode_observe_shows_its_trees_and_takes_no_turn(nodes: Nodes) -> None:
    first, _ = two(nodes)
    first.policy = replace(first.policy, mode=Mode.OBSERVE)
    nodes.until(3 * HOUR)
    assert [each.about for each in nodes.sent] == [{(OTHER, 4100)}]
    assert [each["pid"] for each in snapshot_of(nodes, SENDER)["trees"]] == [4100]


def test_another_person_of_the_same_name_is_not_told_of_it(nodes: Nodes) -> None:
    _, second = two(nodes)
    second.owner = Owner(1002, "ada")
    second.trees.clear()
    second.leave(4100)
    nodes.until(EVERY + 3 * HOUR)
    assert not [each for each in nodes.sent if len(each.about) > 1]
    assert {each for sent in nodes.sent for each in sent.about} == {(SENDER, 4100), (OTHER, 4100)}


def test_a_snapshot_that_is_not_roots_alone_is_not_believed(nodes: Nodes) -> None:
    """Whoever could write it could make notices up."""
    _, second = two(nodes)
    nodes.rounds(4)
    (nodes.shared / f"{SENDER}.json").chmod(0o666)
    nodes.run(OTHER)
    assert second.problems == [
        f"fleet.snapshot: {nodes.shared}/{SENDER}.json: its group or others can write it"
    ]


@pytest.mark.parametrize("what", ["asked_at", "boot_id", "start_ticks", "user", "node"])
def test_an_invented_delivery_ends_nothing(nodes: Nodes, what: str) -> None:
    """The notice of another tree, another owner, another boot or another time is none."""
    _, second = two(nodes)
    nodes.until(1 * HOUR)
    nodes.rounds(20, without=frozenset({SENDER}))
    found = snapshot_of(nodes, SENDER)
    told = {
        "node": OTHER,
        "boot_id": "b00710ad",
        "pid": 4100,
        "start_ticks": second.trees[4100].root.start_ticks,
        "user": "ada",
        "product": "vscode",
        "rule": "abandoned",
        "action": "terminate",
        "address": "ada@example.edu",
        "asked_at": nodes.clock.now,
        "delivered_at": nodes.clock.now,
        "not_before": nodes.clock.now,
    }
    wrong = {
        "asked_at": second.trees[4100].started_at,
        "boot_id": "another",
        "start_ticks": 1,
        "user": "bob",
        "node": "login9",
    }
    found["told"] = [told | {what: wrong[what]}]
    (nodes.shared / f"{SENDER}.json").write_text(json.dumps(found), encoding="ascii")
    before = len(second.store.notices())
    nodes.run(OTHER)
    told_now = [each for each in second.store.notices() if each.created_at != nodes.clock.now]
    assert len(told_now) == before


def test_servers_are_counted_over_the_fleet_and_the_newest_stay(nodes: Nodes) -> None:
    rule = Rule(
        "too-many",
        When(state=State.ABANDONED, user_sessions_over=2),  # type: ignore[arg-type]
        Action.TERMINATE,
        notice=Seconds(3600),
        keep=Keep.NEWEST,
    )
    policy = nodes.policy(rules=(rule,))
    names = NAMES[:3]
    for name in names:
        nodes.add(name, policy=policy)
    nodes.rounds(1)
    for age, name in enumerate(reversed(names)):
        nodes.nodes[name].leave(4100, age=(50 + age) * HOUR)
    nodes.until(3 * HOUR)
    assert [node.due for node in nodes.nodes.values()] == [[4100], [], []]
    (decision,) = nodes.nodes["login1"].plan
    assert "servers of ada on 3 nodes: 3, limit 2" in {each.words for each in decision.findings}


def test_the_servers_of_a_node_that_is_not_live_do_not_count(nodes: Nodes) -> None:
    rule = Rule(
        "too-many",
        When(state=State.ABANDONED, user_sessions_over=1),  # type: ignore[arg-type]
        Action.TERMINATE,
        notice=Seconds(3600),
    )
    two(nodes, policy=nodes.policy(rules=(rule,)))
    nodes.rounds(2)
    nodes.until(3 * HOUR, without=frozenset({SENDER}))
    assert nodes.nodes[OTHER].due == []
    (decision,) = nodes.nodes[OTHER].plan
    assert "servers of ada here: 1, limit 1" in {
        each.words for match in decision.checked for each in match.findings
    }


def test_with_a_shorter_stale_another_node_takes_over_sooner(nodes: Nodes) -> None:
    taken = []
    for stale in (1200, 7200):
        found = Fleet(snapshot=str(nodes.shared), stale=Seconds(stale))
        for node in two(nodes, policy=nodes.policy(fleet=found)):
            node.trees.clear()
            node.leave(4100 + stale)
        begun, before = nodes.clock.now, len(nodes.sent)
        nodes.rounds(1)
        while len(nodes.sent) == before:
            nodes.rounds(1, without=frozenset({SENDER}))
        taken.append(nodes.clock.now - begun)
        nodes.until(EVERY + HOUR)
    assert taken[0] < taken[1]


@pytest.mark.parametrize("who_tells", [SENDER, OTHER])
def test_what_was_told_by_a_clock_that_was_ahead_is_told_again_after_a_client(
    nodes: Nodes, who_tells: str
) -> None:
    """Whether its own node told of it, or the sender for that one."""
    two(nodes)
    ahead = nodes.nodes[who_tells]
    ahead.ahead = 2 * HOUR
    while (who_tells, 4100) not in {about for each in nodes.sent for about in each.about}:
        nodes.rounds(1)
    ahead.ahead = 0.0
    nodes.rounds(1)
    ahead.connect(4100)
    nodes.rounds(1)
    ahead.disconnect(4100)
    client_at = nodes.clock.now
    while not ahead.due:
        nodes.rounds(1)
        assert nodes.clock.now < client_at + 5 * EVERY
    told = [each.at for each in nodes.sent if (who_tells, 4100) in each.about]
    assert max(told) > client_at
