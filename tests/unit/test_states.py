from __future__ import annotations

from typing import Any

import pytest

from tests.builders import ADA, NOW, tree
from vscadmin.model import Connections, Owner, Place, Uids
from vscadmin.policy.settings import Policy, State
from vscadmin.policy.states import NOTHING_KNOWN, History, Verdict, judge

HOUR = 3600.0
POLICY = Policy()


def verdict(history: History = NOTHING_KNOWN, owner: Owner = ADA, **facts: Any) -> Verdict:
    return judge(tree(**facts), owner, history, POLICY, NOW)


def gone(hours: float, **more: Any) -> History:
    return History(first_seen=NOW - 99 * HOUR, last_client=NOW - hours * HOUR, **more)


IN_USE = Connections(clients=("127.0.0.1:51000 is connected to 127.0.0.1:42179",))
UNREADABLE = Connections(clients=IN_USE.clients, unreadable=("the sockets of pid 1 ...",))


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({"place": Place.JOB, "connections": UNREADABLE}, State.OUT_OF_SCOPE),
        ({"root_facts": {"uid": 998}}, State.OUT_OF_SCOPE),
        ({"uids": Uids(1001, 0, 1001, 1001)}, State.OUT_OF_SCOPE),
        ({"connections": UNREADABLE}, State.UNKNOWN),
        ({"unreadable": ("the cgroup ...",), "connections": IN_USE}, State.UNKNOWN),
        ({"owner": Owner(1001, None, None), "connections": IN_USE}, State.UNKNOWN),
        ({"uids": Uids(1001, 1002, 1001, 1001)}, State.UNKNOWN),
        ({"connections": IN_USE}, State.CONNECTED),
        ({}, State.GRACE),
        ({"history": gone(4)}, State.ABANDONED),
    ],
)
def test_the_first_state_that_applies_is_the_answer(facts: dict[str, Any], state: State) -> None:
    assert verdict(**facts).state is state


def test_without_history_nobody_is_abandoned_however_old() -> None:
    found = verdict(started_at=NOW - 99 * 24 * HOUR)
    assert found.state is State.GRACE
    assert found.since is None
    assert found.abandoned_at == NOW + 3 * HOUR
    assert "no client now; since when unknown: no earlier scan has seen it" in found.evidence


def test_a_server_that_waits_for_nobody_is_not_abandoned_at_first_sight() -> None:
    assert verdict(grace=(0, "argv")).state is State.GRACE
    assert verdict(History(first_seen=NOW), grace=(0, "argv")).state is State.ABANDONED


def test_time_counts_from_the_first_scan_where_no_client_was_ever_seen() -> None:
    seen = History(first_seen=NOW - 2 * HOUR)
    assert verdict(seen).state is State.GRACE
    assert verdict(seen).abandoned_at == NOW + HOUR
    assert verdict(History(first_seen=NOW - 3 * HOUR)).state is State.ABANDONED


@pytest.mark.parametrize(
    ("stated", "grace"),
    [(None, 3), ((600, "catalogue"), 1 / 6), ((30 * 86400, "argv"), 24)],
)
def test_the_grace_is_what_was_stated_up_to_a_limit(
    stated: tuple[int, str] | None, grace: float
) -> None:
    assert verdict(grace=stated).grace == grace * HOUR
    assert verdict(gone(grace - 0.01), grace=stated).state is State.GRACE
    assert verdict(gone(grace), grace=stated).state is State.ABANDONED


def test_an_extension_host_younger_than_the_last_scan_proves_a_client() -> None:
    history = gone(40, previous_scan=NOW - 600)
    assert verdict(history, host_started_at=NOW - 700).state is State.ABANDONED
    assert verdict(history, host_started_at=NOW - 500).state is State.GRACE


def test_since_is_the_first_scan_of_an_unbroken_run() -> None:
    known = gone(40, state=State.ABANDONED, state_since=NOW - 30 * HOUR)
    assert verdict(known).since == NOW - 30 * HOUR
    assert verdict(known, connections=IN_USE).since is None
    left_job = History(state=State.OUT_OF_SCOPE, state_since=NOW - 7)
    assert verdict(left_job, place=Place.JOB).since == NOW - 7


def test_the_evidence_names_listeners_and_own_connections() -> None:
    idle = Connections(listeners=("127.0.0.1:42179",), internal=2)
    assert (
        "listens on 127.0.0.1:42179; 2 connections are the tree's own"
        in verdict(connections=idle).evidence
    )
    assert "no member listens for clients" in verdict(connections=Connections()).evidence
