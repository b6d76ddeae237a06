"""scan says the right thing of a real VS Code server in every state of its life."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.vscode import server
from tests.integration.vscode.fixtures import EditorUser, stopped_afterwards, window
from tests.run import eventually, json_of

Tree = dict[str, Any]


def start_socket(home: Path, uid: int, gid: int, *extra: str) -> server.RunningServer:
    return server.start_legacy_socket(home, uid, gid, home / "s.sock", *extra)


STARTERS = {
    "tcp": server.start_legacy,
    "unix": start_socket,
    "exec-server": server.start_exec_server,
}


@pytest.fixture(params=STARTERS)
def running(
    request: pytest.FixtureRequest, vscode_server_installed: Path, vscode_user: EditorUser
) -> Iterator[server.RunningServer]:
    uid, gid, home = vscode_user
    with stopped_afterwards(STARTERS[request.param](home, uid, gid)) as started:
        yield started


def trees(running: server.RunningServer) -> list[Tree]:
    """Return the trees that scan finds among the processes of *running*."""
    mine = {each.pid for each in running.processes()}
    return [tree for tree in json_of("scan")["trees"] if tree["pid"] in mine]


def the_tree(running: server.RunningServer) -> Tree:
    (found,) = trees(running)
    return found


def test_nobody_has_come_yet(running: server.RunningServer) -> None:
    found = the_tree(running)
    assert found["pid"] == running.launcher.pid
    assert found["product"] == "vscode"
    assert found["state"] == "grace"
    assert found["clients"] == []
    eventually(
        lambda: the_tree(running)["processes"] - len(running.processes()),
        lambda difference: difference == 0,  # a starting server has brief children
    )
    assert len(found["listeners"]) == (2 if running.backend else 1)
    assert found["rss_bytes"] > 20 << 20


def test_a_window_is_a_client_until_it_is_closed(running: server.RunningServer) -> None:
    with window(running) as program:
        found = the_tree(running)
        assert (found["state"], len(found["clients"])) == ("connected", 2)
        eventually(
            lambda: the_tree(running)["processes"] - len(running.processes()),
            lambda difference: difference == 0,  # a starting extension host has brief children
        )
        program.communicate(b"", timeout=30)
    left = eventually(lambda: the_tree(running), lambda tree: tree["state"] != "connected")
    assert (left["state"], left["clients"]) == ("grace", [])
    eventually(running.extension_hosts, lambda hosts: not hosts)


def test_a_killed_window_is_no_client_though_all_of_its_processes_stay(
    running: server.RunningServer,
) -> None:
    with window(running) as program:
        program.send_signal(signal.SIGKILL)
        program.wait(10)
    left = eventually(lambda: the_tree(running), lambda tree: tree["state"] != "connected")
    assert (left["state"], left["clients"]) == ("grace", [])
    assert running.extension_hosts(), "the server waits for the window to come back"


def test_a_killed_root_leaves_an_orphan_that_is_still_told_from_an_unused_one(
    running: server.RunningServer,
) -> None:
    running.launcher.kill()
    running.launcher.wait(10)
    idle = eventually(lambda: the_tree(running), lambda tree: tree["orphan"])
    assert (idle["state"], idle["clients"]) == ("grace", [])
    if running.backend is None:
        with window(running):
            used = the_tree(running)
            assert (used["orphan"], used["state"]) == (True, "connected")


def test_what_a_killed_server_leaves_is_one_tree_until_it_ends(
    running: server.RunningServer,
) -> None:
    """Its extension host notices within seconds; scan never calls the rest anybody's else."""
    with window(running):
        (host,) = running.extension_hosts()
        (node,) = (each for each in running.processes() if each.pid == running.node_pid)
        host.suspend()
        node.kill()
        eventually(running.processes, lambda left: running.node_pid not in [p.pid for p in left])
        found = {each["pid"]: each for each in trees(running)}
        assert found[host.pid]["layout"] == "server, server gone"
        assert found[host.pid]["state"] == "connected", "it holds the window's socket"
        host.resume()
    eventually(running.extension_hosts, lambda hosts: not hosts)
    eventually(lambda: trees(running), lambda left: all(t["pid"] != host.pid for t in left))


def test_of_two_orphans_the_one_in_use_is_known(
    vscode_server_installed: Path, vscode_user: EditorUser
) -> None:
    uid, gid, home = vscode_user
    homes = home / "a", home / "b"  # two servers in one home would share their token's file
    for each_home in homes:
        each_home.mkdir()
        os.chown(each_home, uid, gid)
    with (
        stopped_afterwards(server.start_legacy(homes[0], uid, gid)) as used,
        stopped_afterwards(server.start_legacy(homes[1], uid, gid)) as idle,
    ):
        for each in (used, idle):
            each.launcher.kill()
            each.launcher.wait(10)
        with window(used):
            eventually(lambda: the_tree(used), lambda tree: tree["orphan"])
            eventually(lambda: the_tree(idle), lambda tree: tree["orphan"])
            assert the_tree(used)["state"] == "connected"
            assert the_tree(idle)["state"] == "grace"


def test_report_and_explain_tell_the_owner_and_the_next_steps(
    running: server.RunningServer,
) -> None:
    found = json_of("explain", str(running.node_pid))
    (tree,) = found["trees"]
    assert tree["pid"] == running.launcher.pid
    assert tree["rule"] == "abandoned"
    assert [step["action"] for step in tree["next"]] == ["notify", "terminate"]
    assert [step["allowed"] for step in tree["next"]] == [False, False]
    assert tree["unique_bytes"] > 10 << 20
    users = {each["user"]: each for each in json_of("report")["users"]}
    assert users[tree["user"]]["trees"] >= 1
