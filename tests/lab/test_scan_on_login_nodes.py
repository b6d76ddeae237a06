"""`vscadmin scan` and `report` on a login node, over real ssh, of what users really left there."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.integration.vscode import server
from tests.lab.cluster import Cluster
from tests.lab.editor import Editor, killed_after, lay_out
from tests.lab.node import Node
from tests.lab.remote_ssh.scripts import Layout
from tests.run import eventually

pytestmark = pytest.mark.usefixtures("vscode_server_installed")

Tree = dict[str, Any]
LAYOUTS = [Layout.LEGACY, Layout.EXEC]


def as_admin(cluster: Cluster, host: str, *command: str, user: str = "root") -> dict[str, Any]:
    """Return the JSON of a command that somebody runs over ssh on *host*."""
    done = cluster.ssh(user, host, "vscadmin", *command, "--json", check=False)
    assert done.returncode in (0, 10), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def trees(cluster: Cluster, host: str, user: str) -> list[Tree]:
    found: list[Tree] = as_admin(cluster, host, "scan")["trees"]
    return [tree for tree in found if tree["user"] == user]


def the_tree(cluster: Cluster, host: str, user: str) -> Tree:
    (found,) = trees(cluster, host, user)
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_live_window_is_in_use(cluster: Cluster, layout: Layout) -> None:
    with Editor(cluster, "alice", "login1", layout) as editor, editor.window():
        found = the_tree(cluster, "login1", "alice")
        assert (found["state"], len(found["clients"])) == ("connected", 2)
        assert found["orphan"] is False, "the editor's own shell is still its parent"
        assert trees(cluster, "login2", "alice") == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_link_that_died_leaves_a_server_that_is_not_in_use(
    cluster: Cluster, layout: Layout
) -> None:
    with Editor(cluster, "bob", "login2", layout) as editor, editor.window() as window:
        window.kill()
        editor.lose()
        found = eventually(
            lambda: the_tree(cluster, "login2", "bob"),
            lambda tree: tree["state"] == "grace" and tree["orphan"],
        )
        assert found["clients"] == []
        assert found["processes"] >= 3, "its extension host waits for the window to come back"
        row = cluster["login2"].run("ps", "-o", "ppid=", "-p", str(found["pid"])).stdout
        assert row.strip() == "1", "a real orphan"


def test_an_orphan_in_use_is_in_use(cluster: Cluster) -> None:
    """A second connection finds the first one's server, whose shell is gone."""
    with Editor(cluster, "carol", "login1") as first:
        first.lose()
        with Editor(cluster, "carol", "login1") as second, second.window():
            assert second.result.endpoint == first.result.endpoint
            found = eventually(
                lambda: the_tree(cluster, "login1", "carol"), lambda tree: bool(tree["orphan"])
            )
            assert found["state"] == "connected"


def test_users_of_the_round_robin_name_are_found_where_they_are(cluster: Cluster) -> None:
    with Editor(cluster, "alice", "login"), Editor(cluster, "bob", "login"):
        for user in ("alice", "bob"):
            (there,) = (
                node.name for node in cluster.login_nodes if node.pids("server-main.js", user=user)
            )
            found = [host for host in ("login1", "login2") if trees(cluster, host, user)]
            assert found == [there]


def test_a_server_in_a_job_is_out_of_scope_where_users_log_in_and_compute(
    cluster: Cluster,
) -> None:
    folder = server_folder(cluster, "alice")
    with started_by_ssh(
        cluster, "alice", "login1", f"srun -pmixed {server_command(folder)}", "login2"
    ):
        found = eventually(lambda: trees(cluster, "login2", "alice"), bool)[0]
        assert found["state"] == "out-of-scope"
        assert "Slurm job" in " ".join(found["evidence"])
        cluster.ssh("alice", "login2", "nohup", server_command(folder), ">/dev/null", "2>&1", "&")
        both = eventually(lambda: trees(cluster, "login2", "alice"), lambda seen: len(seen) == 2)
        assert sorted(tree["state"] for tree in both) == ["grace", "out-of-scope"]


def test_a_server_in_another_pid_namespace_is_only_reported(cluster: Cluster) -> None:
    folder = server_folder(cluster, "bob")
    inside = (
        f"setpriv --reuid bob --regid bob --init-groups env HOME=/home/bob {server_command(folder)}"
    )
    with started_by_ssh(
        cluster, "root", "login1", f"unshare --pid --fork --kill-child --mount-proc {inside}"
    ):
        found = eventually(lambda: trees(cluster, "login1", "bob"), bool)[0]
        assert found["state"] == "out-of-scope"
        assert "another pid namespace" in " ".join(found["evidence"])
        report = as_admin(cluster, "login1", "report")
        (reported,) = (tree for tree in report["trees"] if tree["user"] == "bob")
        assert (reported["wanted"], reported["action"]) == ("keep", "keep")


def test_hidepid_hides_others_from_users_and_nothing_from_root(cluster: Cluster) -> None:
    with Editor(cluster, "alice", "login1"), hidepid(cluster["login1"]):
        assert the_tree(cluster, "login1", "alice")["state"] == "grace"
        by_owner = as_admin(cluster, "login1", "scan", user="alice")
        assert [tree["user"] for tree in by_owner["trees"]] == ["alice"]
        by_other = as_admin(cluster, "login1", "scan", user="bob")
        assert by_other["trees"] == []
        said = cluster.ssh("root", "login1", "vscadmin", "doctor", check=False).stdout
        assert "hidepid" in said


def test_the_report_is_readable_over_ssh(cluster: Cluster) -> None:
    with Editor(cluster, "alice", "login1") as editor, editor.window():
        said = cluster.ssh("root", "login1", "vscadmin", "report").stdout
        assert "1 server of 1 user" in said
        (row,) = (
            line for line in said.splitlines() if line.startswith("alice") and "vscode" in line
        )
        assert "connected" in row
        assert "kept: in use" in row


def test_a_window_reads_files_and_survives_a_second_one(cluster: Cluster) -> None:
    cluster["login1"].write("/home/carol/notes.txt", "abc", user="carol")
    with (
        Editor(cluster, "carol", "login1", Layout.EXEC) as editor,
        editor.window("--read", "/home/carol/notes.txt") as first,
        editor.window(),
    ):
        assert first.process.stdout is not None
        digest = hashlib.sha256(b"abc").hexdigest()
        assert first.process.stdout.readline().decode() == f"read 3 {digest}\n"
        assert len(the_tree(cluster, "login1", "carol")["clients"]) == 4
        editor.session.expect_blanks(2)


def server_folder(cluster: Cluster, user: str) -> str:
    """Put a server into the user's home, and return its folder as the nodes see it."""
    return str(lay_out(cluster, user, Layout.LEGACY))


def server_command(folder: str) -> str:
    return (
        f"sh {folder}/bin/code-server --start-server --host=127.0.0.1 --port=0 "
        "--accept-server-license-terms --telemetry-level off --without-connection-token"
    )


@contextmanager
def started_by_ssh(
    cluster: Cluster, user: str, host: str, command: str, node: str = ""
) -> Iterator[None]:
    """Keep *command* running over ssh until its server listens, and for the block."""
    argv = cluster.ssh_argv(user, host, command)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            with killed_after(process, 60):
                if not any(b"agent listening on" in line for line in process.stdout):
                    pytest.fail(f"{command}: no server")
            yield
        finally:
            process.kill()
            cluster[node or host].tidy()


@contextmanager
def hidepid(node: Node) -> Iterator[None]:
    node.run("mount", "-o", "remount,hidepid=2", "/proc")
    try:
        yield
    finally:
        node.run("mount", "-o", "remount,hidepid=0", "/proc")


def test_the_server_is_the_real_one(cluster: Cluster) -> None:
    with Editor(cluster, "alice", "login1") as editor:
        assert isinstance(editor.result.endpoint, tuple)
        port = editor.result.endpoint[1]
        said = cluster.ssh("alice", "login1", f"curl -s http://127.0.0.1:{port}/version").stdout
        assert said == server.commit()
