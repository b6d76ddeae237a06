"""The whole of cleanup on both login nodes: real cron, real servers, real mail, real ends."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.lab import site as lab_site
from tests.lab.cluster import Cluster
from tests.lab.editor import Editor
from tests.lab.leftovers import bystanders, with_root_shell, with_tmux
from tests.lab.node import Node
from tests.lab.remote_ssh.scripts import Layout
from tests.lab.site import alive, asked, body, mails, metric
from tests.lab.test_scan_on_login_nodes import (
    hidepid,
    server_command,
    server_folder,
    started_by_ssh,
)
from tests.run import eventually

pytestmark = pytest.mark.usefixtures("vscode_server_installed")

# Real cron knows minutes; three lines make three runs of each.
CRON = "PATH=/usr/local/bin:/usr/bin:/bin\n" + "".join(
    f"* * * * * root sleep {second}; vscadmin cleanup >>/var/log/cleanup.out 2>&1\n"
    for second in (0, 20, 40)
)
DYING = "10.78.0.101"
"""The laptop's second address: a network that dies is one that this is taken from."""
_CLI = "command-shell --cli-data-dir"
WAYS = [
    ("bob", "clean close", Layout.EXEC),
    ("bob", "clean close", Layout.EXEC),
    ("bob", "killed client", Layout.EXEC),
    ("bob", "killed client", Layout.EXEC),
    ("carol", "clean close", Layout.LEGACY),
    ("carol", "killed client", Layout.LEGACY),
    ("carol", "killed client", Layout.EXEC),
    ("carol", "dead network", Layout.EXEC),
]


@pytest.fixture
def site(cluster: Cluster) -> Iterator[Cluster]:
    with lab_site.site(cluster) as made:
        yield made


@contextmanager
def dying_network(cluster: Cluster) -> Iterator[None]:
    """Give the laptop a second address for the block."""
    cluster.laptop.run("ip", "address", "add", f"{DYING}/24", "dev", "outside")
    try:
        yield
    finally:
        cut(cluster)


def cut(cluster: Cluster) -> None:
    """Let that network die: nothing that was sent from its address gets an answer any more."""
    cluster.laptop.run("ip", "address", "del", f"{DYING}/24", "dev", "outside", check=False)


def where(cluster: Cluster, editor: Editor) -> tuple[Node, int]:
    """Return the node that the common name has led to, and the root of the server there."""
    assert isinstance(editor.result.endpoint, tuple)
    listener = f"127.0.0.1:{editor.result.endpoint[1]}"
    (found,) = [
        (node, tree["pid"])
        for node in cluster.login_nodes
        for tree in asked(node, "scan")["trees"]
        if tree["user"] == editor.user and listener in tree["listeners"]
    ]
    return found


def leave(cluster: Cluster, user: str, how: str, layout: Layout) -> tuple[Node, int]:
    """Connect by the common name, open a window, and leave in one of the ways links end.

    Returns the server's main process: the root above it, its CLI, ends with the link.
    """
    options = ("-b", DYING) if how == "dead network" else ()
    with Editor(cluster, user, "login", layout, ssh_options=options) as editor:
        with editor.window() as window:
            node, root = where(cluster, editor)
            (tree,) = asked(node, "explain", str(root))["trees"]
            main = [each for each in tree["members"] if "/out/server-main.js" in each["command"]]
            if how == "dead network":
                cut(cluster)
            if how != "clean close":
                window.kill()
        editor.lose()
    return node, int(main[-1]["pid"])


def root_of(node: Node, pid: int) -> tuple[Node, int]:
    """Return the root of the tree that *pid* is in, once what ends with a link has ended."""
    for user in ("bob", "carol"):
        eventually(lambda of=user: node.pids(_CLI, user=of), lambda left: not left, 60)  # type: ignore[misc]
    (tree,) = asked(node, "explain", str(pid))["trees"]
    return node, int(tree["pid"])


def in_use(cluster: Cluster, stack: ExitStack) -> list[tuple[Node, int]]:
    """Keep windows open on both login nodes: two of the ten connections."""
    found = []
    for layout in (Layout.LEGACY, Layout.EXEC):
        editor = stack.enter_context(Editor(cluster, "alice", "login", layout))
        stack.enter_context(editor.window())
        found.append(where(cluster, editor))
    assert {node.name for node, _ in found} == {"login1", "login2"}
    return found


def out_of_scope(cluster: Cluster, stack: ExitStack) -> list[tuple[Node, int]]:
    """Run a server in a job on a login node, and one in a pid namespace of its own."""
    server = server_command(server_folder(cluster, "bob"))
    enter = "setpriv --reuid bob --regid bob --init-groups env HOME=/home/bob"
    namespace = f"unshare --pid --fork --kill-child --mount-proc {enter} {server}"
    stack.enter_context(
        started_by_ssh(cluster, "bob", "login1", f"srun -pmixed {server}", "login2")
    )
    stack.enter_context(started_by_ssh(cluster, "root", "login1", namespace))
    return [
        (node, tree["pid"])
        for node in cluster.login_nodes
        for tree in asked(node, "scan")["trees"]
        if tree["state"] == "out-of-scope"
    ]


def test_cron_tells_and_ends_what_is_abandoned_and_touches_nothing_else(site: Cluster) -> None:
    login1, login2 = site.login_nodes
    with ExitStack() as stack:
        kept = in_use(site, stack)
        outside = out_of_scope(site, stack)
        assert len(outside) == 2
        stack.enter_context(dying_network(site))
        left = [leave(site, *way) for way in WAYS]
        assert Counter(node.name for node, _ in left) == {"login1": 4, "login2": 4}
        spared = [(login1, with_tmux(site, "alice", "login1"))]
        rooted, root_shell = with_root_shell(site, "carol", "login2")
        innocent = [(login1, pid) for pid in bystanders(site, "bob", "login1")]
        stack.enter_context(hidepid(login1))
        gone = [*(root_of(node, pid) for node, pid in left), (login2, rooted)]
        assert len(set(gone)) == 9
        scheduled(site)
        for node in site.login_nodes:
            pids = {pid for each, pid in gone if each is node}
            ended(node, pids, seconds=200)
        eventually(lambda: len(mails(site, "ops")), lambda count: count >= 4, 30)
        for node in site.login_nodes:
            node.run("rm", "/etc/cron.d/vscadmin-cleanup")
        for node in site.login_nodes:  # some wait for their part of the minute
            eventually(lambda of=node: of.pids("vscadmin cleanup"), lambda left: not left, 70)  # type: ignore[misc]
        for node, pid in kept + outside + spared + innocent + [(login2, root_shell)]:
            assert alive(node, pid), f"{node.name} {pid}"
        said = "".join(node.read("/var/log/cleanup.out") for node in site.login_nodes)
        assert "Traceback" not in said
    accounts_agree(site, gone)
    assert f"pid {root_shell}" in "".join(body(mail) for mail in mails(site, "ops"))


def ended(node: Node, pids: set[int], seconds: float) -> None:
    """Wait until all of *pids* have ended; say what is known of those that live on."""
    deadline = time.monotonic() + seconds
    while left := {pid for pid in pids if alive(node, pid)}:
        trees = [tree for tree in asked(node, "report")["trees"] if tree["pid"] in left]
        assert time.monotonic() < deadline, (node.name, left, trees)
        time.sleep(1)


def scheduled(site: Cluster) -> None:
    for node in site.login_nodes:
        node.write("/etc/cron.d/vscadmin-cleanup", CRON)


def accounts_agree(site: Cluster, gone: list[tuple[Node, int]]) -> None:
    """Check that store, mailboxes and metrics tell of the same ends, and of no others."""
    for node in site.login_nodes:
        pids = sorted(pid for each, pid in gone if each is node)
        history = asked(node, "history")
        ended = [each for each in history["terminations"] if each["result"] == "ended"]
        assert sorted(each["pid"] for each in ended) == pids
        assert metric(node, "vscadmin_terminations_in_history", result="ended") == len(pids)
        told = [each for each in history["notices"] if each["delivery"] == "delivered"]
        assert sorted(each["pid"] for each in told) == pids
        written = "".join(body(mail) for user in ("bob", "carol") for mail in mails(site, user))
        for pid in pids:
            assert f"{node.name}, pid {pid}\n" in written
    assert mails(site, "alice") == []
