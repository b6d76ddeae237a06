"""A real VS Code server is ended whole in every state of its life, its neighbours left alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.builders import CATALOGUE
from tests.integration.ending import eyes, order, planted, states
from tests.integration.vscode import server
from tests.integration.vscode.fixtures import EditorUser, stopped_afterwards, window
from tests.run import eventually
from vscadmin.cleanup.execute import Ended, terminate
from vscadmin.cleanup.records import Result
from vscadmin.model import Tree
from vscadmin.procs.scan import take_snapshot
from vscadmin.procs.trees import find_trees

STARTERS = {"legacy": server.start_legacy, "exec-server": server.start_exec_server}


@pytest.fixture(params=STARTERS)
def running(
    request: pytest.FixtureRequest, vscode_server_installed: Path, vscode_user: EditorUser
) -> Iterator[server.RunningServer]:
    uid, gid, home = vscode_user
    with stopped_afterwards(STARTERS[request.param](home, uid, gid)) as started:
        yield started


def trees(running: server.RunningServer) -> list[Tree]:
    mine = {each.pid for each in running.processes()}
    found = find_trees(take_snapshot(CATALOGUE), CATALOGUE).trees
    return [tree for tree in found if tree.root.pid in mine]


def end(tree: Tree) -> Ended:
    return terminate(order(tree.key, term_wait=5), eyes(tree.key))


def unused(running: server.RunningServer) -> list[Tree]:
    """Wait until nobody is connected, and return the trees."""
    return eventually(
        lambda: trees(running),
        lambda found: bool(found) and not any(tree.connections.clients for tree in found),
    )


def test_nobody_has_come_yet(running: server.RunningServer, vscode_user: EditorUser) -> None:
    with planted(vscode_user) as neighbour:
        before = neighbour.members(2)
        (tree,) = unused(running)
        done = end(tree)
        assert (done.result, done.survivors) == (Result.ENDED, ())
        assert running.processes() == []
        assert [each.key for each in neighbour.members(2).members] == [
            each.key for each in before.members
        ]
        assert set(states(neighbour).values()) == {"S"}


def test_its_window_was_killed(running: server.RunningServer) -> None:
    with window(running):
        assert running.extension_hosts()
    (tree,) = unused(running)
    assert running.extension_hosts(), "it waits for the window to come back"
    done = end(tree)
    assert (done.result, done.survivors) == (Result.ENDED, ())
    assert running.processes() == []


def test_its_root_was_killed(running: server.RunningServer) -> None:
    running.launcher.kill()
    running.launcher.wait(10)
    (tree,) = eventually(lambda: unused(running), lambda found: all(t.orphan for t in found))
    assert end(tree).result is Result.ENDED
    assert running.processes() == []


def test_its_main_process_was_killed(running: server.RunningServer) -> None:
    """What it leaves notices that and ends within seconds; here it cannot."""
    with window(running):
        (host,) = running.extension_hosts()
    host.suspend()
    os.kill(running.node_pid, signal.SIGKILL)
    eventually(lambda: psutil.pid_exists(running.node_pid), lambda lives: not lives)
    found = unused(running)
    assert host.pid in {member.pid for tree in found for member in tree.members}
    assert {end(tree).result for tree in found} <= {Result.ENDED, Result.GONE}
    assert running.processes() == []


def test_its_window_comes_back_before_the_first_signal(running: server.RunningServer) -> None:
    (tree,) = unused(running)
    with window(running):
        before = {each.pid for each in running.processes()}
        done = end(tree)
        assert (done.result, done.asked) == (Result.SPARED, 0)
        assert any(words.startswith("client: ") for words in done.words)
        assert {member.pid for member in tree.members} <= before
        for each in running.processes():
            with suppress(psutil.NoSuchProcess):  # extension hosts have brief children
                assert each.status() != psutil.STATUS_STOPPED
